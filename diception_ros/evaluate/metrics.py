# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From many pairs of labels to the numbers of a data set.

Every function takes pairs (predicted, truth) one after the other, so that a data set need not fit
into memory, and returns a flat dict. A number is NaN where nothing could be counted; `images` says
how many pairs took part and `skipped` how many had nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from diception_ros.evaluate import pools
from diception_ros.labels import Disparity, Instances, Keypoints, Label, Mask, Normals
from diception_ros.tasks import Task

LabelT = TypeVar('LabelT', bound=Label)
Pairs = Iterable[tuple[LabelT, LabelT]]


def aggregate(task: Task[Any], pairs: Iterable[tuple[Any, Any]]) -> dict[str, float]:
    """The numbers of a data set by the protocol for the task's kind of label.

    Args:
        task: whose label decides, and whose `score` is averaged where the protocol averages
            images.
        pairs: predicted and true labels of that kind (for depth the truth may be MetricDepth).

    Returns:
        What `depth`, `normals`, `masks`, `instances` or `keypoints` returns.

    Raises:
        ValueError: there is no protocol for this kind of label, or a pair differs in size.
    """
    if task.label in (Disparity, Mask):
        return mean_over_images(task.score(*pair) for pair in pairs)
    pooled: dict[type, Callable[[Iterable[tuple[Any, Any]]], dict[str, float]]] = {
        Normals: normals,
        Instances: instances,
        Keypoints: keypoints,
    }
    if task.label not in pooled:
        raise ValueError(f'no protocol for data sets of {task.label.__name__}')
    return pooled[task.label](pairs)


def mean_over_images(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    """Average each number over the images, every image counting the same.

    This is the protocol for depth (of Marigold and GenPercept) and for masks (mean IoU; for many
    data sets, the mean of these means).

    Args:
        scores: what `score` of a task returned for each image. NaN takes no part.

    Returns:
        The means by the same names; `images`, with at least one number besides `coverage`; and
        `skipped`, without.
    """
    means = pools.Means()
    for score in scores:
        means.add(score)
    return means.result()


def normals(pairs: Pairs[Normals]) -> dict[str, float]:
    """Angles between normals, the pixels of all images pooled.

    Args:
        pairs: predicted and true normals.

    Returns:
        The names of the task's `score`, `images` and `skipped`. The median is exact to half a
        thousandth of a degree.

    Raises:
        ValueError: a pair differs in size.

    Source: the protocol of StableNormal and DSINE.
    """
    angles = pools.Angles()
    for predicted, truth in pairs:
        angles.add(predicted, truth)
    return angles.result()


def instances(pairs: Pairs[Instances], by_category: bool = False) -> dict[str, float]:
    """Average precision and recall of instances by COCO's rules.

    Args:
        pairs: predicted and true instances. True ones that own no pixel are left out: nothing can
            find them.
        by_category: False looks at masks alone, as for entities; True matches within a category
            and averages over the categories that occur in the truth.

    Returns:
        `ap`, `ap50`, `ap75`, `ar` (at 100 per image), `ar_small` (below 32^2 pixels),
        `ar_medium`, `ar_large` (above 96^2), `images`, `skipped` (neither side has an instance)
        and `instances`, the number of true ones. An image without true instances still counts:
        what is predicted there is wrong.

    Raises:
        ValueError: a pair differs in size.
        ModuleNotFoundError: pycocotools is not installed.
    """
    things = pools.Things(by_category)
    for predicted, truth in pairs:
        things.add(predicted, truth)
    return things.result()


def keypoints(
    pairs: Pairs[Keypoints],
    areas: Iterable[np.ndarray[Any, np.dtype[Any]]] | None = None,
    alpha: float = 0.2,
) -> dict[str, float]:
    """Average precision of people by object keypoint similarity, and the share of right joints.

    PCK, pooled over the joints that are labelled in the truth: a joint is right if the prediction
    has it within `alpha` times the longer side of the box around the person's labelled joints;
    predicted and true people are paired so that as many joints as possible are right. Points of
    unknown type take no part in either number. People with a single labelled joint have no box
    and take no part in PCK.

    Args:
        pairs: predicted and true keypoints.
        areas: for each pair, (P,) square pixels covered by each true person, which is the scale
            that COCO uses; None estimates it from the joints.
        alpha: tolerance of PCK.

    Returns:
        `ap`, `ap50`, `ap75`, `ar` (at 20 people per image), `pck`, `images`, `skipped` (neither
        side has a person), and `people`, the true ones, of which `ignored` have one labelled joint
        or none and no area: no scale to judge them by.

    Raises:
        ValueError: a pair differs in size, or areas do not fit the pairs or the people.
        ModuleNotFoundError: pycocotools is not installed.
    """
    people = pools.People(alpha)
    given = ((pair, None) for pair in pairs) if areas is None else zip(pairs, areas, strict=True)
    for (predicted, truth), area in given:
        people.add(predicted, truth, area)
    return people.result()
