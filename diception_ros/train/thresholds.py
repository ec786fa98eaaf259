# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How bright a pixel must be to belong to a mask: what held-out pictures say, else a guess.

A network that is not sure paints grey. Of things that cover little of a picture it is rarely more
than half sure, so at a half it would find none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diception_ros.labels import Mask

TRIED = np.arange(0.05, 0.96, 0.05).round(2)
# How sure it must be that another threshold is better: two standard errors, of many pictures. With
# one, pictures that were held back chose worse than the guess in 6 of 11 adaptations and better in
# 3; on the mean the IoU of 60 others was lower by .007.
_SURE = 0.975

Numbers = dict[str, dict[str, float]]


def guess(truths: Sequence[Mask]) -> float:
    """A threshold from labels alone, where no answers are at hand that were not learnt.

    Whoever knows how likely each pixel belongs does best with those above J / (1 + J), where J is
    the IoU that they reach. The J that is sure is that of a network that does not look: the mean
    of the other masks tells a mask, or all pixels do.

    Args:
        truths: masks of one size, one or more.

    Returns:
        in [0.05, 0.5]; a half where no mask has a pixel.

    Source: Z. C. Lipton et al., "Optimal thresholding of classifiers to maximize F1 measure",
    arXiv 1402.1892: above F / 2, and F is 2 J / (1 + J).
    """
    known = [one.values for one in truths if one.values.any()]
    if not known:
        return 0.5
    masks = np.stack(known)
    others = (masks.sum(axis=0, dtype=np.float32) - masks) / max(1, len(masks) - 1)  # (N, S, S)
    reached = max(
        float(np.mean((masks & found).sum(axis=(1, 2)) / (masks | found).sum(axis=(1, 2))))
        for found in (others > level for level in (-1, *TRIED))
    )
    return round(max(float(TRIED[0]), reached / (1 + reached)), 3)


def choose(
    painted: Mapping[str, Sequence[NDArray[np.float32]]], truths: Sequence[Mask]
) -> Numbers:
    """The threshold at which answers overlap the truth best, and how well.

    Args:
        painted: by kind of answer N pictures, (S, S, 3) float32 in [0, 1]; those of 'true' choose.
        truths: N true masks, (S, S).

    Returns:
        `best_iou`, mean over pictures of which one of both masks has a pixel (NaN: there is none),
        by kind of answer, all at the same threshold; and that `threshold`: the one nearest to
        `guess` of those that are no worse than the best by more than chance among so few pictures.

    Source: after the rule of one standard error, L. Breiman et al., "Classification and
    regression trees", 1984, section 3.4.3; here two, and of the difference, since the pictures
    are the same.
    """
    greys = {name: [one.mean(axis=-1) for one in some] for name, some in painted.items()}

    def ious(name: str, threshold: float) -> NDArray[np.float64]:
        """Of each picture; NaN where neither mask has a pixel."""
        found = []
        for grey, truth in zip(greys[name], truths, strict=True):
            mask = grey > threshold
            union = int((mask | truth.values).sum())
            found.append(int((mask & truth.values).sum()) / union if union else np.nan)
        return np.array(found)

    start = guess(truths)
    order = sorted(TRIED.tolist(), key=lambda one: abs(one - start))
    each = {one: ious('true', one) for one in order}
    top = each[max(order, key=lambda one: np.nan_to_num(_mean(each[one])))]
    best = next(one for one in order if not _behind(top - each[one]))
    return {
        'best_iou': {name: _mean(ious(name, best)) for name in greys},
        'threshold': dict.fromkeys(greys, best),
    }


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float('nan')


def _behind(gaps: NDArray[np.float64]) -> bool:
    """Whether gaps to the best are more than chance. NaN says nothing."""
    known = gaps[~np.isnan(gaps)]
    if len(known) < 2:
        return False
    mean = float(known.mean())
    error = float(known.std(ddof=1)) / len(known) ** 0.5
    return bool(mean > error * stdtrit(len(known) - 1, _SURE))
