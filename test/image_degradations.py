# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What may happen to a generated image between the network and the decoder.

Each function takes and returns an image (S, S, 3) float32, RGB, nominally in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.float32]


def eight_bit(rgb: Rgb) -> Rgb:
    """Round to bytes and back, as any image file does."""
    return (np.rint(np.clip(rgb, 0, 1) * 255) / 255).astype(np.float32)


def jpeg(rgb: Rgb, quality: int = 70) -> Rgb:
    """Through a JPEG file, with its usual halving of the colour channels."""
    data = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    done, code = cv2.imencode(
        '.jpg', np.ascontiguousarray(data[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    back = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(back[..., ::-1]).astype(np.float32) / np.float32(255)


def noise(rgb: Rgb, rng: np.random.Generator, sigma: float = 0.05) -> Rgb:
    """Independent Gaussian noise on each channel of each pixel; may leave [0, 1]."""
    return rgb + rng.normal(0, sigma, rgb.shape).astype(np.float32)


def blur(rgb: Rgb, pixels: float = 1.0) -> Rgb:
    """Gaussian blur with this standard deviation in pixels."""
    out: Rgb = cv2.GaussianBlur(rgb, (0, 0), pixels)
    return out
