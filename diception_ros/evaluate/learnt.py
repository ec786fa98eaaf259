# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the tasks of adapters are judged: by what their answers are, whatever they are called."""

from __future__ import annotations

from diception_ros import tasks
from diception_ros.labels import Disparity, Instances, Mask, Normals, Picture

# The kind of question whose numbers suit each kind of answer.
_LIKE = {
    Mask: 'segmentation',
    Instances: 'entity',
    Normals: 'normal',
    Disparity: 'depth',
    Picture: 'rgb',
}


def like(question: str) -> str:
    """The kind of question whose numbers and directions hold for one.

    Args:
        question: its name.

    Returns:
        The name itself, but for a task that an adapter brought: 'segmentation', 'entity',
        'normal', 'depth' or 'rgb'.
    """
    return _LIKE[tasks.get(question).label] if tasks.added(question) else question
