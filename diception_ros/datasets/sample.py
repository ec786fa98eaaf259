# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One thing to learn from or to be judged by: a question about a frame, and its true answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Prompt

_TOLERANCE = 1e-6  # of a rotation that went through a file


@dataclass(frozen=True, eq=False)
class Pose:
    """Where a camera was.

    Attributes:
        position: (3,) float64, metres, world (z up).
        rotation: (3, 3) float64, from the camera's optical frame (x right, y down, z forward) to
            the world.

    Raises:
        ValueError: wrong dtype or shape, or the rotation is none.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, shape in (('position', (3,)), ('rotation', (3, 3))):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError(
                    f'Pose.{name}: expected {shape} float64, got {array.shape} {array.dtype}'
                )
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        off = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if off > _TOLERANCE or np.linalg.det(self.rotation) < 0:
            raise ValueError(f'Pose.rotation: expected a rotation, got one off by {off:.3g}')


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame, a question about it, and the answer in physical terms.

    Attributes:
        frame: the picture.
        prompt: the question.
        label: the true answer, of the frame's size.
        pose: where the camera was, where that is known.
        name: which sample of its source it is, for messages.

    Raises:
        ValueError: the label is not of the frame's size, or a point lies outside the frame.
    """

    frame: Frame
    prompt: Prompt
    label: Label
    pose: Pose | None = None
    name: str = ''

    def __post_init__(self) -> None:
        if self.label.size != self.frame.size:
            raise ValueError(
                f"Sample {self.name}: expected a label of the frame's size {self.frame.size} "
                f'(H, W), got {self.label.size}'
            )
        self.prompt.check_inside(self.frame.size)
