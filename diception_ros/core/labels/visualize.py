# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drawing of labels: colour tables, translucent regions with outlines, skeletons."""

from __future__ import annotations

import colorsys
import functools

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.images import drawable

Rgb = NDArray[np.uint8]

# The eleven colours of ColorBrewer's "Spectral" (Cynthia Brewer, Apache-2.0), red to violet. The
# official visualisation uses matplotlib's table of this name, which interpolates the same eleven.
SPECTRAL = (
    (158, 1, 66), (213, 62, 79), (244, 109, 67), (253, 174, 97), (254, 224, 139), (255, 255, 191),
    (230, 245, 152), (171, 221, 164), (102, 194, 165), (50, 136, 189), (94, 79, 162),
)  # fmt: skip

UNKNOWN = (96, 96, 96)
BACKDROP = (40, 40, 40)
MIDDLE, LEFT, RIGHT = (245, 245, 245), (64, 160, 255), (255, 150, 40)


def spectral(values: NDArray[np.float32]) -> Rgb:
    """Colour a map, (H, W) float32 in [0, 1]: 0 red, 1 violet blue, NaN grey; uint8 RGB."""
    unknown = np.isnan(values)
    index = np.where(unknown, 0, values * 255 + np.float32(0.5)).astype(np.uint8)
    out: Rgb = np.take(_spectral_table(), index, axis=0)
    out[unknown] = UNKNOWN
    return out


@functools.cache
def _spectral_table() -> Rgb:
    stops = np.linspace(0, 255, len(SPECTRAL))
    channels = [np.interp(np.arange(256), stops, c) for c in np.array(SPECTRAL).T]
    table: Rgb = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return table


def normal_colors(vectors: NDArray[np.float32]) -> Rgb:
    """Colour normals as usual: red = right, green = up, blue = to the camera; NaN black.

    Args:
        vectors: (H, W, 3) float32 unit, camera optical frame (x right, y down, z forward).
    """
    height, width = vectors.shape[:2]
    # Whole rows: numpy walks a last axis of three at less than half the speed.
    signs = np.tile(np.array([1, -1, -1], np.float32), width)
    shades = vectors.reshape(height, 3 * width) * signs
    shades += 1
    shades *= np.float32(127.5)
    # Of a number and NaN `fmax` is the number, at a third of the cost of nan_to_num.
    np.fmin(np.fmax(shades, 0, out=shades), 255, out=shades)
    out: Rgb = np.rint(shades, out=shades).astype(np.uint8).reshape(vectors.shape)
    return out


def backdrop(size: tuple[int, int], image: Rgb | None) -> Rgb:
    """A fresh canvas (H, W, 3) uint8 RGB: a copy of the image, or dark grey."""
    if image is not None:
        return np.array(image, order='C')
    return np.full((*size, 3), BACKDROP, np.uint8)


@functools.cache
def color(k: int) -> tuple[int, int, int]:
    """The k-th of an endless list of colours; neighbours in the list differ clearly."""
    # Steps of the golden angle never repeat a hue; brightness alternates for more contrast.
    hue = (0.58 + k * 0.61803398875) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.6)[k // 2 % 2], (1.0, 0.8)[k % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_regions(ids: NDArray[np.int32], image: Rgb | None) -> Rgb:
    """Lay one translucent colour per id over the image, with a white outline.

    Args:
        ids: (H, W) int32, 0 = leave the image as it is, 1..N.
        image: (H, W, 3) uint8 RGB, or None for dark grey.
    """
    canvas = backdrop((ids.shape[0], ids.shape[1]), image)
    table = np.array([(0, 0, 0)] + [color(k) for k in range(int(ids.max()))], np.float32)
    inside = ids > 0
    canvas[inside] = np.rint(0.45 * canvas[inside] + 0.55 * table[ids[inside]])
    canvas[_outline(ids, thickness(canvas))] = 255
    return canvas


def _outline(ids: NDArray[np.int32], width: int) -> NDArray[np.bool_]:
    # Inside the regions, so that the outline never covers a neighbour that has no colour.
    import cv2

    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    floats = ids.astype(np.float32)  # exact: ids stay far below 2**24
    least, most = cv2.erode(floats, kernel), cv2.dilate(floats, kernel)
    out: NDArray[np.bool_] = (least != most) & (ids > 0)
    return out


def thickness(canvas: Rgb) -> int:
    """Width of a line, pixels, that looks the same on canvases of any size."""
    return max(1, round(int(min(canvas.shape[:2])) / 400))


def draw_texts(canvas: Rgb, ids: NDArray[np.int32], texts: tuple[str, ...]) -> None:
    """Write a text ('': none) into the middle of each region k of ids, (H, W) int32."""
    import cv2

    scale = max(0.35, min(canvas.shape[:2]) / 1200)
    for k, text in enumerate(map(drawable, texts), 1):
        region = np.pad(ids == k, 1).astype(np.uint8) if text else np.zeros(0, np.uint8)
        if not region.any():
            continue
        # The pixel farthest from the outline, since the middle of a ring lies outside of it.
        depth = cv2.distanceTransform(region, cv2.DIST_L2, 3)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        x = max(1, min(int(column) - 1 - width // 2, canvas.shape[1] - width - 1))
        y = max(height + 1, min(int(row) - 1 + height // 2, canvas.shape[0] - below - 1))
        cv2.rectangle(canvas, (x - 1, y - height - 1), (x + width, y + below), (0, 0, 0), -1)
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, MIDDLE, 1, cv2.LINE_AA)


def draw_skeleton(
    canvas: Rgb,
    joints: NDArray[np.float32],
    visible: NDArray[np.bool_],
    limbs: tuple[tuple[int, int], ...],
    sides: tuple[int, ...],
) -> None:
    """Draw one person: limbs with a dark rim, discs on the joints.

    Args:
        canvas: (H, W, 3) uint8 RGB, drawn upon.
        joints: (J, 2) float32, x right, y down, pixels; NaN = not there.
        visible: (J,) bool; a joint that is there but hidden is drawn hollow.
        limbs: pairs of joints.
        sides: J sides of the body, 0 middle, 1 left, 2 right.
    """
    import cv2

    colors = (MIDDLE, LEFT, RIGHT)
    width = 2 * thickness(canvas)
    here: NDArray[np.bool_] = np.isfinite(joints[:, 0])
    lines = [(a, b) for a, b in limbs if here[a] and here[b]]
    for rim in (True, False):
        for a, b in lines:
            # A limb is of one side if either end is and the other does not disagree.
            side = (
                max(sides[a], sides[b]) if sides[a] == sides[b] or not sides[a] * sides[b] else 0
            )
            paint = (0, 0, 0) if rim else colors[side]
            cv2.line(
                canvas, _pixel(joints[a]), _pixel(joints[b]), paint,
                width + 2 * rim, cv2.LINE_AA,
            )  # fmt: skip
    for joint in np.flatnonzero(here).tolist():
        place = _pixel(joints[joint])
        cv2.circle(canvas, place, width + 2, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(canvas, place, width + 1, colors[sides[joint]], -1, cv2.LINE_AA)
        if not visible[joint]:
            cv2.circle(canvas, place, max(1, width), (0, 0, 0), -1, cv2.LINE_AA)


def draw_points(canvas: Rgb, points: NDArray[np.float32]) -> None:
    """Draw a white ring with a dark rim around each of (M, 2) float32 points in pixels."""
    import cv2

    width = 2 * thickness(canvas)
    for point in points:
        cv2.circle(canvas, _pixel(point), width + 2, (0, 0, 0), width + 1, cv2.LINE_AA)
        cv2.circle(canvas, _pixel(point), width + 2, MIDDLE, max(1, width - 1), cv2.LINE_AA)


def _pixel(point: NDArray[np.float32]) -> tuple[int, int]:
    # OpenCV takes 16-bit coordinates; a joint far outside must not wrap around into the image.
    x, y = np.rint(np.clip(point, -30000, 30000)).astype(int).tolist()
    return x, y
