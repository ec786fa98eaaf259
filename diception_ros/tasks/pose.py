# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Human poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Keypoints
from diception_ros.tasks import Task, check_output_image, check_same_size, check_square
from diception_ros.tasks.codecs import pose_decode, pose_skeleton

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt

# Tolerance of each joint as a part of the root of a person's area: twice the standard deviation
# between annotators. Source: COCO's keypoint evaluation, in the order of COCO_JOINTS.
TOLERANCE = 2 * np.array(
    [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
     0.087, 0.087, 0.089, 0.089],
)  # fmt: skip
# PCK@0.1: a joint is right within this part of the larger side of the box around the person.
PCK_FRACTION = 0.1


class Pose(Task[Keypoints]):
    """Red discs on limbs whose colours encode the joints: see `codecs.pose_skeleton`."""

    def encode(self, label: Keypoints) -> NDArray[np.float32]:
        """Hidden joints are drawn as visible ones; absent and untyped ones are not drawn."""
        return pose_skeleton.encode_keypoints(label.joints, check_square(label))

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Keypoints:
        """People, and untyped points without limbs: see `codecs.pose_decode`.

        In images with other limb colours than ours all joints are points without a type.
        """
        check_output_image(rgb)
        return pose_decode.decode_keypoints(rgb)

    def score(self, predicted: Keypoints, truth: Keypoints) -> dict[str, float]:
        """Compare the people of one image.

        The similarity of a predicted and a true person is COCO's OKS over the joints that the true
        one has, with the area of the box around these, and 0 for joints that the predicted one
        lacks. People are matched greedily, the most similar pair first, while the similarity is
        above 0. `oks` is the mean over true people, 0 for those without a match; `pck` the share
        of true joints whose match has the joint within a tenth of the larger side of that box;
        both are NaN without people. `precision` is the share of predicted people with an OKS of
        0.5 or more, NaN where none is predicted. `untyped_pck` is the share of true joints
        within that same tenth of any predicted point, typed or not.

        Raises:
            ValueError: the sizes differ.
        """
        check_same_size(predicted, truth)
        here = truth.visibility > 0
        people = np.flatnonzero(here.any(axis=1))
        similar = np.zeros((len(predicted.joints), len(people)))
        extents = np.zeros((len(people), 2))
        for column, k in enumerate(people):
            there = truth.joints[k][here[k]].astype(np.float64)
            # A person of one joint has no extent; one pixel keeps the division defined.
            extents[column] = np.maximum(np.ptp(there, axis=0), 1)
            off = np.square(predicted.joints[:, here[k]] - there).sum(axis=2)
            scale = 2 * extents[column].prod() * TOLERANCE[here[k]] ** 2
            similar[:, column] = np.nan_to_num(np.exp(-off / scale)).mean(axis=1)

        oks = np.zeros(len(people))
        match = np.full(len(people), -1)
        rest = similar.copy()
        while rest.size and rest.max() > 0:
            row, column = divmod(int(rest.argmax()), rest.shape[1])
            oks[column], match[column] = rest[row, column], row
            rest[row] = 0
            rest[:, column] = 0
        right = untyped = 0
        predicted_joints = np.concatenate(
            [predicted.joints[predicted.visibility > 0], predicted.untyped]
        )
        for column, k in enumerate(people):
            near = PCK_FRACTION * extents[column].max()
            there = truth.joints[k][here[k]]
            if match[column] >= 0:
                off = predicted.joints[match[column]][here[k]] - there
                right += int((np.linalg.norm(off, axis=1) <= near).sum())
            off = np.linalg.norm(predicted_joints[:, None] - there[None], axis=2)
            untyped += int((off.min(axis=0, initial=np.inf) <= near).sum())
        total = int(here.sum())
        nan = float('nan')
        return {
            'oks': float(oks.mean()) if total else nan,
            'pck': right / total if total else nan,
            'precision': float((oks >= 0.5).sum() / len(similar)) if len(similar) else nan,
            'untyped_pck': untyped / total if total else nan,
        }


TASK = Pose('pose', '[[image2pose]]', Keypoints)
