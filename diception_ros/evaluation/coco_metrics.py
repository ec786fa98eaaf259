# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's matching of found things with true ones, through pycocotools.

pycocotools is loaded when the first mask is recorded, so that nothing else has to wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diception_ros.core.labels import Instances, Keypoints, Label

# Share of the box around a person that the person covers, where only the box is known; as in the
# evaluations of CrowdPose and AI Challenger (xtcocotools, use_area=False).
COVER = 0.53


class Recorder:
    """InstanceAP found and things true, written down as COCO annotations.

    Attributes:
        truths: one annotation per true thing.
        found: one annotation per found thing.
        categories: id of each category, from 1.
        images: number of pairs that were added.
        empty: how many of these had neither true nor found things.
    """

    def __init__(self) -> None:
        self.truths: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []
        self.categories: dict[str, int] = {}
        self.images = 0
        self.empty = 0

    def add_instances(self, predicted: Instances, truth: Instances, by_category: bool) -> None:
        """Write down the instances of one image; ValueError if the sizes differ."""
        self._begin(predicted, truth)
        before = len(self.truths) + len(self.found)
        for label, sink in ((truth.present(), self.truths), (predicted, self.found)):
            names = label.categories if by_category else ('',) * len(label.scores)
            areas, boxes = label.areas.tolist(), label.boxes.tolist()
            for k, name in enumerate(names):
                x0, y0, x1, y1 = boxes[k]
                self._write(
                    sink,
                    name,
                    segmentation=_run_lengths(label.ids == k + 1),
                    area=areas[k],
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    score=float(label.scores[k]),
                )
        self.empty += len(self.truths) + len(self.found) == before

    def add_keypoints(
        self, predicted: Keypoints, truth: Keypoints, areas: NDArray[Any] | None
    ) -> None:
        """Write down the people of one image.

        Args:
            predicted: their score is the mean over the joints they have.
            truth: of the same size.
            areas: (P,) square pixels of each true person, or None to estimate them.

        Raises:
            ValueError: the sizes differ, or there is not one area for each true person.
        """
        self._begin(predicted, truth)
        if areas is not None and np.shape(areas) != (len(truth.joints),):
            raise ValueError(
                f'areas: expected one for each of {len(truth.joints)} people, '
                f'got an array of shape {np.shape(areas)}'
            )
        self.empty += len(truth.joints) + len(predicted.joints) == 0
        for label, sink, given in ((truth, self.truths, areas), (predicted, self.found, None)):
            for k, (joints, seen, scores) in enumerate(
                zip(label.joints, label.visibility, label.scores, strict=True)
            ):
                box = _box(joints)
                area = _area(box) if given is None else float(given[k])
                # What is absent lies far from everything, rather than at the corner (0, 0).
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

    def _begin(self, predicted: Label, truth: Label) -> None:
        if predicted.size != truth.size:
            raise ValueError(
                f'expected two labels of one size, got predicted {predicted.size} '
                f'and true {truth.size} (H, W)'
            )
        self.images += 1

    def _write(self, sink: list[dict[str, Any]], category: str, **fields: Any) -> None:
        sink.append(
            {
                'id': len(sink) + 1,  # pycocotools takes 0 for "not matched"
                'image_id': self.images,
                'category_id': self.categories.setdefault(category, len(self.categories) + 1),
                'iscrowd': 0,
                **fields,
            }
        )


def evaluate(
    recorder: Recorder, kind: Literal['segm', 'keypoints'], most: int
) -> dict[str, float]:
    """Average precision and recall over COCO's thresholds.

    Args:
        recorder: what was found and what is true.
        kind: how two things are compared: IoU of masks, or object keypoint similarity.
        most: things per image that count, the best by score.

    Returns:
        `ap`, `ap50`, `ap75`, `ar`, and `ar_<range>` for each of COCO's ranges of area; NaN where
        no true thing falls into the range.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def book(annotations: list[dict[str, Any]]) -> Any:
        coco = COCO()
        coco.dataset = {
            'images': [{'id': k + 1, 'height': 0, 'width': 0} for k in range(recorder.images)],
            'categories': [{'id': k, 'name': name} for name, k in recorder.categories.items()],
            'annotations': annotations,
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        run = COCOeval(book(recorder.truths), book(recorder.found), kind)
        run.params.maxDets = [most]
        run.evaluate()
        run.accumulate()
    precision = run.eval['precision'][..., 0]  # (thresholds, recalls, categories, ranges)
    recall = run.eval['recall'][..., 0]  # (thresholds, categories, ranges)
    ranges = run.params.areaRngLbl
    return {
        'ap': _mean(precision[..., 0]),
        'ap50': _mean(precision[0, ..., 0]),
        'ap75': _mean(precision[5, ..., 0]),
        'ar': _mean(recall[..., 0]),
        **{f'ar_{name}': _mean(recall[..., k]) for k, name in enumerate(ranges) if name != 'all'},
    }


def right_joints(predicted: Keypoints, truth: Keypoints, alpha: float) -> tuple[int, int]:
    """Count the true joints that are predicted closely enough, see `metrics.keypoints`.

    Args:
        predicted: the answer.
        truth: of the same size.
        alpha: tolerance, as a share of the longer side of the box around a person's joints.

    Returns:
        How many are right, and how many are labelled; people with a single labelled joint have no
        box and do not count.
    """
    boxes = np.array([_box(joints) for joints in truth.joints]).reshape(-1, 4)
    reach = alpha * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    labelled = (truth.visibility > 0) & (reach[:, None] > 0)  # (T, 17)
    distance = np.linalg.norm(truth.joints[:, None] - predicted.joints[None], axis=-1)
    # (T, P, 17); NaN, an absent joint, is never within reach.
    right = labelled[:, None] & (distance <= reach[:, None, None])
    hits = right.sum(axis=-1)
    pairs = linear_sum_assignment(hits, maximize=True)
    return int(hits[pairs].sum()), int(labelled.sum())


def _mean(table: NDArray[np.float64]) -> float:
    told = table[table > -1]  # -1: no true thing
    return float(told.mean()) if told.size else float('nan')


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    code: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return code


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
