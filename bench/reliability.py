# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether scores mean something: of predictions with a score near s, the share that is right.

    python bench/reliability.py --rooms 100 [--coco FOLDER] [--write diception_ros/model/builtin]

Rooms are of the validation split, half of them with the settings of `simulate --realism`; images
of `--coco` are annotated photographs. A fifth of the category prompts name something that is not
there. Right is an instance or mask with an IoU of 0.5 or more with one of the truth, and a
keypoint within a tenth of its person's box from the true one. Printed are number, mean score and
share right by bins, and the expected calibration error, with the tables of the model folder. With
`--write` a fit to all images is written as `score_calibration.json`, and one to every other image
is printed on those between.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

TASKS = ('segmentation', 'entity', 'semantic', 'pose')
ABSENT = 0.2


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--rooms', type=int, default=100)
    parser.add_argument('--coco', type=Path)
    parser.add_argument('--write', type=Path)
    parser.add_argument('--tasks', nargs='*', choices=TASKS, default=TASKS,
                        help='calibrated by --write; others keep their scores')  # fmt: skip
    parser.add_argument('--least', nargs='*', default=[], metavar='TASK=SCORE',
                        help='calibrated scores below which predictions are dropped')  # fmt: skip
    args = parser.parse_args()

    import numpy as np

    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.score_calibration import (
        FILE,
        MIN_SCORE_KEY,
        ScoreCalibration,
        calibration_error,
        fit,
        reliability,
    )
    from diception_ros.system import files

    predictor = Predictor.load(args.model)
    stored, predictor.calibration = predictor.calibration, ScoreCalibration()
    found: dict[str, list[tuple[float, float, int, bool]]] = {task: [] for task in TASKS}
    for number, (real, frame, prompts, truths) in enumerate(images(args, predictor)):
        for prediction, truth in zip(predictor.predict([frame], prompts), truths, strict=True):
            pairs = judge(prediction.label, truth)
            found[prediction.prompt.task] += [(s, r, number, real) for s, r in pairs]

    tables = {}
    for task, rows in found.items():
        if not rows:
            continue
        scores, right, number, real = (np.array(column) for column in zip(*rows, strict=True))
        tables[task] = np.round(fit(scores, right), 4)
        calibration, asked = stored, np.ones(len(scores), bool)
        if args.write:
            asked = number % 2 == 1
            calibration = ScoreCalibration({task: fit(scores[~asked], right[~asked])})
        for name, mine in (('rooms', asked & ~real), ('photographs', asked & real)):
            if not mine.any():
                continue
            before, after = scores[mine], calibration.scores(task, scores[mine])
            errors = [calibration_error(one, right[mine]) for one in (before, after)]
            print(f'\n{task}, {name}, {mine.sum()} predictions: expected calibration error '
                  f'{errors[0]:.3f}, calibrated {errors[1]:.3f}')  # fmt: skip
            print('| number | mean score | share right |\n|---|---|---|')
            for count, score, share in reliability(after, right[mine]):
                print(f'| {count} | {score:.2f} | {share:.2f} |')
    if args.write:
        content: dict[str, Any] = {task: tables[task].tolist() for task in args.tasks}
        content[MIN_SCORE_KEY] = {
            task: float(score) for task, _, score in (one.partition('=') for one in args.least)
        }
        text = json.dumps(content).replace('], "', '],\n"')
        files.write_text(args.write / FILE, text + '\n')


def images(args: Any, predictor: Any) -> Iterator[tuple[bool, Any, list[Any], list[Any]]]:
    """Whether it is a photograph, the frame, and its prompts with their truths."""
    from itertools import groupby, islice

    import numpy as np

    from diception_ros.core.prompt import Prompt
    from diception_ros.datasets import coco
    from diception_ros.evaluation import dataset_scores
    from diception_ros.simulation import sample_stream
    from diception_ros.simulation.assets import COCO
    from diception_ros.simulation.realism import Realism

    side = predictor.resolution * predictor.input_scale
    for realism in (Realism(), Realism(cameras=1, textures=1, lighting=1, reflections=1)):
        samples = sample_stream.samples(
            0, (side, round(side * 4 / 3)), TASKS, split='validation', views=1, absent=ABSENT,
            realism=realism,
        )  # fmt: skip
        views = groupby(samples, key=lambda sample: sample.name.rsplit('/', 1)[0])
        for _, mine in islice(views, args.rooms // 2):
            group = list(mine)
            yield False, group[0].frame, [s.prompt for s in group], [s.label for s in group]
    if args.coco:
        names = ('segmentation_1', 'entity', 'semantic', 'pose')
        for taken in coco.find_set(args.coco).frames():
            items = dataset_scores.coco_items(taken, names)
            prompts, truths = [one.prompt for one in items], [one.truth for one in items]
            rng = np.random.default_rng(taken.seed)
            missing = [name for name in COCO if name not in taken.objects.categories]
            prompts.append(Prompt('semantic', missing[rng.integers(len(missing))]))
            empty = np.zeros_like(taken.objects.ids)
            truths.append(type(taken.objects)(empty, (), np.zeros(0, np.float32)))
            yield True, taken.frame, prompts, truths


def judge(label: Any, truth: Any) -> list[tuple[float, float]]:
    """Score and rightness of each instance, mask or keypoint."""
    import numpy as np

    from diception_ros.core.labels import Instances, Mask, resize_label
    from diception_ros.tasks.pose import PCK_FRACTION

    label = resize_label(label, truth.size)
    if isinstance(label, Mask):
        either = (label.values | truth.values).sum()
        iou = (label.values & truth.values).sum() / max(either, 1)
        return [(label.score, float(iou >= 0.5))]
    if isinstance(label, Instances):
        best = label.iou(truth).max(axis=1, initial=0)
        return [(float(s), float(i >= 0.5)) for s, i in zip(label.scores, best, strict=True)]
    out = []
    for joints, seen, scores in zip(label.joints, label.visibility > 0, label.scores, strict=True):
        right = np.zeros(len(joints))
        for there, known in zip(truth.joints, truth.visibility > 0, strict=True):
            if known.any():
                reach = PCK_FRACTION * max(np.ptp(there[known], axis=0).max(), 1)
                near = np.linalg.norm(joints - there, axis=1) <= reach
                right = max(right, near & known, key=lambda one: one.sum())
        out += [(float(s), float(r)) for s, r in zip(scores[seen], right[seen], strict=True)]
    return out


if __name__ == '__main__':
    main()
