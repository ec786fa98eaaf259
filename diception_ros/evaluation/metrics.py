# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metric accumulators: `update` takes one predicted and one true label, `compute` the data set.

A number is NaN where nothing could be counted; `images` counts the pairs that took part and
`skipped` those that had nothing to compare. `compute` may be called at any time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
import contextlib
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Instances, Keypoints, Label, Normals
from diception_ros.tasks.normal import THRESHOLDS_DEG, angles_deg

# Width of the bins from which the pooled median is read, degrees: two hundred million angles of a
# data set would fill a gigabyte, their histogram at a thousandth of a degree a megabyte.
BIN_DEG = 1e-3
# Share of the box around a person that the person covers, where only the box is known; as in the
# evaluations of CrowdPose and AI Challenger (xtcocotools, use_area=False).
COVER = 0.53
# Predictions per image that count, the best by score; COCO's own limits.
MAX_INSTANCES, MAX_PEOPLE = 100, 20

_NAN = float('nan')


class MeanMetric:
    """Mean of each number over the images, every image counting the same.

    This is the protocol for depth (of Marigold and GenPercept) and for masks (mean IoU; for many
    data sets, the mean of these means).
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = defaultdict(list)
        self._images = self._skipped = 0

    def update(self, score: Mapping[str, float]) -> None:
        """Count what `score` of a task returned for one image; NaN is left out."""
        counted = {name: value for name, value in score.items() if not np.isnan(value)}
        useful = bool(counted.keys() - {'coverage'})
        self._images, self._skipped = self._images + useful, self._skipped + (not useful)
        for name in score:
            self._columns[name] += [counted[name]] if name in counted else []

    def compute(self) -> dict[str, float]:
        """The means by name; `images`, with at least one number besides `coverage`; `skipped`."""
        means = {n: float(np.mean(c)) if c else _NAN for n, c in self._columns.items()}
        return {**means, 'images': self._images, 'skipped': self._skipped}


class AngularError:
    """Angles between normals, the pixels of all images pooled.

    Source: the protocol of StableNormal and DSINE.

    Args:
        check_axes: compute also `mean_deg_x`, `_y` and `_z`, the mean angle if that axis of the
            truth pointed the other way: data sets disagree about their axes.
    """

    def __init__(self, check_axes: bool = False) -> None:
        self._bins = np.zeros(round(180 / BIN_DEG) + 1, np.int64)
        self._below = dict.fromkeys(THRESHOLDS_DEG, 0)
        self._total, self._known, self._images, self._skipped = 0.0, 0, 0, 0
        self._mirrored = {axis: [0.0, 0] for axis in 'xyz' if check_axes}

    def update(self, predicted: Normals, truth: Normals) -> None:
        """Count the pixels of one image.

        Raises:
            ValueError: the labels differ in size.
        """
        angles = angles_deg(predicted, truth)
        self._images += angles.size > 0
        self._skipped += angles.size == 0
        self._known += int(truth.valid.sum())
        self._total += float(angles.sum())
        self._bins += np.bincount((angles / BIN_DEG).astype(np.int64), minlength=len(self._bins))
        for name, limit in THRESHOLDS_DEG.items():
            self._below[name] += int((angles < limit).sum())
        for axis, sums in self._mirrored.items():
            signs = np.where(np.array(list('xyz')) == axis, -1, 1).astype(np.float32)
            mirrored = angles_deg(predicted, Normals(truth.vectors * signs))
            sums[0] += float(mirrored.sum())
            sums[1] += mirrored.size

    def compute(self) -> dict[str, float]:
        """The names of the task's `score`, `images` and `skipped`.

        The median is exact to half a thousandth of a degree.
        """
        count = int(self._bins.sum())
        return {
            'mean_deg': self._total / count if count else _NAN,
            'median_deg': self._median() if count else _NAN,
            **{name: self._below[name] / count if count else _NAN for name in THRESHOLDS_DEG},
            'coverage': count / self._known if self._known else _NAN,
            'images': self._images,
            'skipped': self._skipped,
            **{
                f'mean_deg_{axis}': total / number if number else _NAN
                for axis, (total, number) in self._mirrored.items()
            },
        }

    def _median(self) -> float:
        upto = np.cumsum(self._bins)
        middle = ((upto[-1] - 1) // 2, upto[-1] // 2)  # the same twice where the count is odd
        places = np.searchsorted(upto, middle, side='right')
        return float(np.mean(places + 0.5)) * BIN_DEG


class CategoryIoU:
    """Pixels of a queried category, whatever instance they belong to."""

    def __init__(self) -> None:
        self._each: list[float] = []
        self._both: dict[str, int] = defaultdict(int)
        self._either: dict[str, int] = defaultdict(int)
        self._true: dict[str, int] = defaultdict(int)
        self._absent = self._right = 0

    def update(self, predicted: Instances, truth: Instances, category: str) -> dict[str, float]:
        """Count one query; returns its `iou`, NaN where the category is absent."""
        predicted_mask, there = predicted.ids > 0, truth.ids > 0
        both, either = int((predicted_mask & there).sum()), int((predicted_mask | there).sum())
        self._both[category] += both
        self._either[category] += either
        self._true[category] += int(there.sum())
        if not there.any():
            self._absent += 1
            self._right += not predicted_mask.any()
            return {'iou': _NAN}
        self._each.append(both / either)
        return {'iou': both / either}

    def categories(self) -> dict[str, float]:
        """IoU of each category that is somewhere in the truth."""
        return {
            name: self._both[name] / self._either[name]
            for name in sorted(self._true)
            if self._true[name]
        }

    def compute(self) -> dict[str, float]:
        """The numbers of all queries.

        `iou` is the mean over the queries whose category is in the image. `category_iou` first
        adds up intersections and unions of all queries for one category, those for which it is
        absent too, and then averages over the categories that are somewhere in the truth.
        `true_negative_rate` is the share of the queries for an absent category that returned
        nothing.
        """
        each = list(self.categories().values())
        return {
            'iou': float(np.mean(self._each)) if self._each else _NAN,
            'category_iou': float(np.mean(each)) if each else _NAN,
            'true_negative_rate': self._right / self._absent if self._absent else _NAN,
            'categories': len(each),
        }


class _CocoMetric:
    """Predictions and truths as COCO annotations, matched by pycocotools in `compute`.

    pycocotools is imported with the first mask, so that nothing else has to wait for it.
    """

    def __init__(self) -> None:
        self._truths: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._categories: dict[str, int] = {}
        self._images = self._empty = 0

    def _begin(self, predicted: Label, truth: Label) -> None:
        if predicted.size != truth.size:
            raise ValueError(
                f'expected two labels of one size, got predicted {predicted.size} '
                f'and true {truth.size} (H, W)'
            )
        self._images += 1

    def _write(self, sink: list[dict[str, Any]], category: str, **fields: Any) -> None:
        sink.append(
            {
                'id': len(sink) + 1,  # pycocotools takes 0 for "not matched"
                'image_id': self._images,
                'category_id': self._categories.setdefault(category, len(self._categories) + 1),
                'iscrowd': 0,
                **fields,
            }
        )

    def _coco(self, annotations: list[dict[str, Any]]) -> Any:
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {
            'images': [{'id': k + 1, 'height': 0, 'width': 0} for k in range(self._images)],
            'categories': [{'id': k, 'name': name} for name, k in self._categories.items()],
            'annotations': annotations,
        }
        coco.createIndex()
        return coco

    def _evaluate(self, kind: Literal['segm', 'keypoints'], limit: int) -> dict[str, float]:
        """`ap`, `ap50`, `ap75`, `ar`, and `ar_RANGE` for each of COCO's ranges of area."""
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
            run = COCOeval(self._coco(self._truths), self._coco(self._found), kind)
            run.params.maxDets = [limit]
            run.evaluate()
            run.accumulate()
        precision = run.eval['precision'][..., 0]  # (thresholds, recalls, categories, ranges)
        recall = run.eval['recall'][..., 0]  # (thresholds, categories, ranges)
        ranges = run.params.areaRngLbl
        return {
            'ap': _coco_mean(precision[..., 0]),
            'ap50': _coco_mean(precision[0, ..., 0]),
            'ap75': _coco_mean(precision[5, ..., 0]),
            'ar': _coco_mean(recall[..., 0]),
            **{
                f'ar_{name}': _coco_mean(recall[..., k])
                for k, name in enumerate(ranges)
                if name != 'all'
            },
        }


class InstanceAP(_CocoMetric):
    """Average precision and recall of instances by COCO's rules.

    Args:
        by_category: False compares masks alone, as for entities; True matches within a category
            and averages over the categories that occur in the truth.
    """

    def __init__(self, by_category: bool = False) -> None:
        super().__init__()
        self._by_category = by_category

    def update(
        self, predicted: Instances, truth: Instances, crowds: Instances | None = None
    ) -> None:
        """Count the instances of one image.

        True ones that own no pixel are left out: nothing can find them. An image without true
        instances still counts: whatever is predicted there is wrong.

        Args:
            predicted: the prediction.
            truth: of the same size.
            crowds: regions of several objects that are not told apart (COCO's iscrowd);
                predictions inside them count neither as right nor as wrong.

        Raises:
            ValueError: the labels differ in size.
            ModuleNotFoundError: pycocotools is not installed.
        """
        self._begin(predicted, truth)
        before = len(self._truths) + len(self._found)
        self._add(truth.present(), self._truths, 0)
        self._add(predicted, self._found, 0)
        self._empty += len(self._truths) + len(self._found) == before
        if crowds is not None:
            self._add(crowds.present(), self._truths, 1)

    def _add(self, label: Instances, sink: list[dict[str, Any]], crowd: int) -> None:
        from pycocotools import mask as coco_mask

        areas, boxes = label.areas.tolist(), label.boxes.tolist()
        for k, name in enumerate(label.categories):
            x0, y0, x1, y1 = boxes[k]
            self._write(
                sink,
                name if self._by_category else '',
                segmentation=coco_mask.encode(np.asfortranarray(label.ids == k + 1, np.uint8)),
                area=areas[k],
                bbox=[x0, y0, x1 - x0, y1 - y0],
                score=float(label.scores[k]),
                iscrowd=crowd,
            )

    def compute(self) -> dict[str, float]:
        """COCO's numbers of all images.

        Returns:
            `ap`, `ap50`, `ap75`, `ar` (at 100 per image), `ar_small` (below 32^2 pixels),
            `ar_medium`, `ar_large` (above 96^2), `images`, `skipped` (neither side has an
            instance) and `instances`, the number of true ones without crowds.
        """
        statistics = self._evaluate('segm', MAX_INSTANCES)
        names = ('ap', 'ap50', 'ap75', 'ar', 'ar_small', 'ar_medium', 'ar_large')
        return {
            **{name: statistics[name] for name in names},
            'images': self._images - self._empty,
            'skipped': self._empty,
            'instances': sum(not truth['iscrowd'] for truth in self._truths),
        }


class KeypointAP(_CocoMetric):
    """Average precision of people by object keypoint similarity, and the share of right joints.

    PCK, pooled over the joints that are labelled in the truth: a joint is right if the prediction
    has it within `alpha` times the longer side of the box around the person's labelled joints;
    predicted and true people are paired so that as many joints as possible are right. Points of
    unknown type are not counted. People with a single labelled joint have no box and are left
    out of PCK.

    Args:
        alpha: tolerance of PCK.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha
        self._right = self._labelled = 0

    def update(
        self,
        predicted: Keypoints,
        truth: Keypoints,
        areas: NDArray[np.float64] | None = None,
        ignored: NDArray[np.float64] | None = None,
    ) -> None:
        """Count the people of one image.

        Args:
            predicted: their score is the mean over their joints.
            truth: of the same size.
            areas: (P,) square pixels covered by each true person, which is the scale that COCO
                uses; None estimates it from the joints.
            ignored: (K, 4) boxes x, y, width, height of people without labelled joints and of
                crowds. A predicted person whose joints all lie in such a box, twice as large as
                COCO takes it, and of whom no joint is right for a true person, is left out.
                COCO compares all 17 joints with the box, and ours may be absent.

        Raises:
            ValueError: the labels differ in size, or there is not one area for each true person.
            ModuleNotFoundError: pycocotools is not installed.
        """
        self._begin(predicted, truth)
        if areas is not None and np.shape(areas) != (len(truth.joints),):
            raise ValueError(
                f'areas: expected one for each of {len(truth.joints)} people, '
                f'got an array of shape {np.shape(areas)}'
            )
        if ignored is not None and len(ignored):
            predicted = self._outside(predicted, truth, ignored)
        self._empty += len(truth.joints) + len(predicted.joints) == 0
        for label, sink, known in ((truth, self._truths, areas), (predicted, self._found, None)):
            people = zip(label.joints, label.visibility, label.scores, strict=True)
            for k, (joints, seen, scores) in enumerate(people):
                box = _box(joints)
                area = _area(box) if known is None else float(known[k])
                # Absent joints lie far from everything, rather than at the corner (0, 0).
                places = np.nan_to_num(joints.astype(np.float64), nan=-1e6)
                self._write(
                    sink,
                    'person',
                    keypoints=np.column_stack([places, seen]).ravel().tolist(),
                    num_keypoints=int((seen > 0).sum()) if area > 0 else 0,
                    area=area,
                    bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    score=float(scores[seen > 0].mean()) if seen.any() else 0.0,
                )
        right, labelled = right_joints(predicted, truth, self._alpha)
        self._right, self._labelled = self._right + right, self._labelled + labelled

    def _outside(
        self, predicted: Keypoints, truth: Keypoints, ignored: NDArray[np.float64]
    ) -> Keypoints:
        """The predicted people that are not in an ignored box."""
        middle, size = ignored[:, :2] + ignored[:, 2:] / 2, ignored[:, 2:]
        keep = []
        for k, joints in enumerate(predicted.joints):
            here = joints[np.isfinite(joints[:, 0])]
            inside = (np.abs(here[:, None] - middle) <= size).all(axis=(0, 2)).any()
            person = predicted.select(np.arange(len(predicted.joints)) == k)
            keep.append(not inside or right_joints(person, truth, self._alpha)[0] > 0)
        return predicted.select(np.array(keep, np.bool_))

    def compute(self) -> dict[str, float]:
        """COCO's numbers and PCK of all images.

        Returns:
            `ap`, `ap50`, `ap75`, `ar` (at 20 people per image), `pck`, `images`, `skipped`
            (neither side has a person), and `people`, the true ones, of which `ignored` have one
            labelled joint or none and no area: no scale to judge them by.
        """
        statistics = self._evaluate('keypoints', MAX_PEOPLE)
        people = self._truths
        return {
            **{name: statistics[name] for name in ('ap', 'ap50', 'ap75', 'ar')},
            'pck': self._right / self._labelled if self._labelled else _NAN,
            'images': self._images - self._empty,
            'skipped': self._empty,
            'people': len(people),
            'ignored': sum(person['num_keypoints'] == 0 for person in people),
        }


def right_joints(predicted: Keypoints, truth: Keypoints, alpha: float) -> tuple[int, int]:
    """Number of true joints predicted within `alpha`, see `KeypointAP`, and of all true ones."""
    boxes = np.array([_box(joints) for joints in truth.joints]).reshape(-1, 4)
    reach = alpha * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    labelled = (truth.visibility > 0) & (reach[:, None] > 0)  # (T, 17)
    distance = np.linalg.norm(truth.joints[:, None] - predicted.joints[None], axis=-1)
    # (T, P, 17); NaN, an absent joint, is never within reach.
    right = labelled[:, None] & (distance <= reach[:, None, None])
    hits = right.sum(axis=-1)
    from scipy.optimize import linear_sum_assignment  # for this metric alone

    pairs = linear_sum_assignment(hits, maximize=True)
    return int(hits[pairs].sum()), int(labelled.sum())


def _coco_mean(table: NDArray[np.float64]) -> float:
    known = table[table > -1]  # -1: no true object
    return float(known.mean()) if known.size else _NAN


def _box(joints: NDArray[np.float32]) -> list[float]:
    """Box x0, y0, x1, y1 around the joints that are there, pixels; zeros if none is."""
    here = joints[np.isfinite(joints[:, 0])].astype(np.float64)
    if len(here) == 0:
        return [0.0, 0.0, 0.0, 0.0]
    return [*here.min(axis=0).tolist(), *here.max(axis=0).tolist()]


def _area(box: Iterable[float]) -> float:
    """Estimate of what a person covers, square pixels.

    A person whose joints are in line still has breadth: each side of the box counts as at least
    half of the other.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    return COVER * max(width, height / 2) * max(height, width / 2)
