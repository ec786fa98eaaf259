# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Looks at a machine and says what is missing, what does not fit together, and what to do.

Whatever may take a process down (a numpy that a library was not built for, a driver) is tried in
another process. Nothing is changed and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator

from diception_ros.doctor.checks import Finding


def look(model: str, device: str) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Args:
        model: a model folder, or 'builtin'.
        device: where it is to run: cpu, cuda or cuda:N.
    """
    from diception_ros.doctor import checks, ros
    from diception_ros.doctor import checks as devices
    from diception_ros.doctor import checks as models

    yield checks.interpreter()
    yield from checks.packages()
    yield from checks.opencv()
    found = devices.device(device)
    yield found
    if found.about != 'torch':  # without it the folder cannot be looked at
        yield models.model(model)
    yield from ros.ros()
    yield from ros.clashes()
    yield from checks.graphics()
    yield checks.space()
    yield from checks.shared_memory()
