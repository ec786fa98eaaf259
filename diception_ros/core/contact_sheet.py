# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: images side by side, each with its name above it."""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np
from numpy.typing import NDArray

_BAR = 22  # height of the line of text above each image, pixels
_GAP = 4
_WIDEST = 640  # a wider image is shrunk, so that a sheet of six fits a screen


def contact_sheet(
    images: Sequence[NDArray[np.uint8]], names: Sequence[str], columns: int = 0
) -> NDArray[np.uint8]:
    """Lay images out in a grid.

    Args:
        images: each (H, W, 3) uint8 RGB, all of one size.
        names: one for each image.
        columns: of the grid; 0 for one that makes the sheet about as wide as a screen.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: no images, of several sizes, or not as many names.
    """
    shapes = {image.shape for image in images}
    if len(shapes) != 1 or len(names) != len(images):
        raise ValueError(
            f'contact_sheet: expected images of one size and a name for each, got '
            f'{sorted(shapes)} and {len(names)} names for {len(images)} images'
        )
    height, width = images[0].shape[:2]
    shrink = min(1.0, _WIDEST / width)
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    # Text needs room, also over an image of a few pixels.
    cell = max(width, 10 * max(len(name) for name in names))
    if not columns:
        columns = max(1, min(len(images), round(math.sqrt(1.8 * len(images) * height / cell))))
    rows = math.ceil(len(images) / columns)
    sheet = np.full(
        (rows * (height + _BAR + _GAP) + _GAP, columns * (cell + _GAP) + _GAP, 3), 24, np.uint8
    )
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        top = _GAP + (i // columns) * (height + _BAR + _GAP)
        left = _GAP + (i % columns) * (cell + _GAP)
        cv2.putText(
            sheet,
            name,
            (left + 2, top + _BAR - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.48,
            (235, 235, 235),
            1,
            cv2.LINE_AA,
        )
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        sheet[top + _BAR : top + _BAR + height, left : left + width] = small
    return sheet
