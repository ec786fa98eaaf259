# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a machine: what is missing, what does not fit together, and how to fix it.

Imports that may crash the process (a numpy that a library was not built for, a driver) run in
another process. Nothing is changed and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator

from diception_ros.doctor.checks import Finding


def check_machine(model: str, device: str) -> Iterator[Finding]:
    """Run all checks, one after the other.

    Args:
        model: a model folder, or 'builtin'.
        device: where it will run: cpu, cuda or cuda:N.
    """
    from diception_ros.doctor import checks, ros

    yield checks.interpreter()
    yield from checks.packages()
    yield from checks.opencv()
    found = checks.device(device)
    yield found
    if found.about != 'torch':  # without it the folder cannot be checked
        yield checks.model(model)
    yield from ros.ros()
    yield from ros.clashes()
    yield from checks.graphics()
    yield checks.space()
    yield from checks.shared_memory()
