# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The published way to read instances from an image; bench/decode.py compares ours with it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import find_peaks

from diception_ros.core.labels import Instances

# The best of a scan at 256 pixels, where 0.4 was the least blur tried: bench/decode.py --scan.
TOLERANCE, SOFT = 0.2, 0.4


def algorithm_2(
    rgb: NDArray[np.float32],
    clusters: int | None = None,
    tolerance: float = TOLERANCE,
    soft: float = SOFT,
    most_components: int = 20,
) -> Instances:
    """Masks by clustering colours, as the paper of DICEPTION describes it.

    Args:
        rgb: (S, S, 3) float32.
        clusters: how many colours there are, black included; None: the mean over the channels of
            the number of peaks of the histogram, which is what is described.
        tolerance: a pixel this near to a centre (a length in RGB) is of its mask.
        soft: blur of the histograms before peaks are sought, of 256 bins.
        most_components: a mask of more is dropped.

    Where masks overlap, the pixel goes to the nearest centre; that is kinder than the description,
    which leaves it in both.

    Source: arXiv 2502.17157v3, appendix C.2, Algorithm 2; from its description.
    """
    data = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    if clusters is None:
        peaks = []
        for c in range(3):
            histogram = np.bincount(data[..., c].ravel(), minlength=256).astype(float)
            padded = np.pad(ndimage.gaussian_filter1d(histogram, soft, mode='constant'), 1)
            peaks.append(len(find_peaks(padded, height=1e-4 * data[..., c].size)[0]))
        clusters = max(2, round(float(np.mean(peaks))))
    cv2.setRNGSeed(0)
    some = data[::4, ::4].reshape(-1, 3).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    _, _, centres = cv2.kmeans(some, clusters, None, stop, 3, cv2.KMEANS_PP_CENTERS)
    masks: list[NDArray[np.bool_]] = []
    nearest = np.full(rgb.shape[:2], np.inf)
    ids = np.zeros(rgb.shape[:2], np.int32)
    for centre in centres[centres.max(axis=1) >= 0.15 * 255]:
        off = np.linalg.norm(data.astype(np.float32) - centre, axis=2)
        mask = ndimage.binary_fill_holes(off < tolerance * 255).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        if mask.sum() < 5e-5 * mask.size or cv2.connectedComponents(mask)[0] > most_components + 1:
            continue
        here = mask > 0
        if any((here & m).sum() > 0.5 * (here | m).sum() for m in masks):
            continue
        masks.append(here)
        mine = here & (off < nearest)
        ids[mine], nearest[mine] = len(masks), off[mine]
    return Instances(ids, ('',) * len(masks), np.ones(len(masks), np.float32))
