# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training or evaluation sample: a prompt on a frame, and its true label."""

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
    """Pose of a camera.

    Attributes:
        position: (3,) float64, metres, world (z up).
        rotation: (3, 3) float64, from the camera's optical frame (x right, y down, z forward) to
            the world.

    Raises:
        ValueError: wrong dtype or shape, or the matrix is no rotation.
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
    """A frame, a prompt on it, and the true label in physical units.

    Attributes:
        frame: the image.
        prompt: the query.
        label: the true label, of the frame's size.
        pose: of the camera, where it is known.
        name: identifies the sample in its source, for messages.

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
