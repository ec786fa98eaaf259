# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One map of things from the answers about several categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diception_ros.labels import Instances


def combine(labels: Sequence[Instances]) -> Instances:
    """Put the things of several answers about one frame into one label.

    A pixel that several answers claim goes to the thing with the highest score, and among equals
    to the answer that comes first. A thing that so loses all its pixels is left out.

    Args:
        labels: at least one, all of one size.

    Returns:
        The things, numbered in the order of the answers.

    Raises:
        ValueError: no labels, or of several sizes.
    """
    sizes = {label.size for label in labels}
    if len(sizes) != 1:
        raise ValueError(f'combine: expected labels of one size, came {sorted(sizes)}')
    size = sizes.pop()
    ids, best = np.zeros(size, np.int32), np.full(size, -1, np.float32)
    before = 0
    for label in labels:
        # Nothing is worth less than a thing of score 0.
        score = np.concatenate([np.array([-1], np.float32), label.scores])[label.ids]
        wins = score > best
        ids[wins] = label.ids[wins] + before
        best[wins] = score[wins]
        before += len(label.scores)
    names = tuple(name for label in labels for name in label.categories)
    return Instances(ids, names, np.concatenate([label.scores for label in labels])).present()
