# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How bright a pixel must be to belong to a mask: half, unless held-out pictures say otherwise.

A network that is not sure paints grey. Of things that cover little of a picture it is rarely more
than half sure, so at a half it would find none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import Mask
from diception_ros.tasks.segmentation import THRESHOLD

TRIED = np.arange(0.05, 0.96, 0.05).round(2)

Numbers = dict[str, dict[str, float]]


def choose(
    painted: Mapping[str, Sequence[NDArray[np.float32]]], truths: Sequence[Mask]
) -> Numbers:
    """The threshold at which answers overlap the truth best, and how well.

    Args:
        painted: by kind of answer N pictures, (S, S, 3) float32 in [0, 1]; those of 'true' choose.
        truths: N true masks, (S, S).

    Returns:
        `best_iou`, mean over pictures of which one of both masks has a pixel (NaN: there is none),
        by kind of answer, all at the same threshold; and that `threshold`, of several that are as
        good the one nearest to a half.
    """
    greys = {name: [one.mean(axis=-1) for one in some] for name, some in painted.items()}

    def mean_iou(name: str, threshold: float) -> float:
        found = []
        for grey, truth in zip(greys[name], truths, strict=True):
            mask = grey > threshold
            union = int((mask | truth.values).sum())
            if union:
                found.append(int((mask & truth.values).sum()) / union)
        return float(np.mean(found)) if found else float('nan')

    order = sorted(TRIED.tolist(), key=lambda one: abs(one - THRESHOLD))
    best = max(order, key=lambda one: np.nan_to_num(mean_iou('true', one)))
    return {
        'best_iou': {name: mean_iou(name, best) for name in greys},
        'threshold': dict.fromkeys(greys, best),
    }
