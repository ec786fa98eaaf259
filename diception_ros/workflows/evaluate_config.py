# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Config of `diception evaluate`: the tasks, the data and the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diception_ros import tasks
from diception_ros.core.settings import (
    ComputeSettings,
    PredictSettings,
    Settings,
    again,
    declared,
    setting,
)
from diception_ros.datasets import benchmarks
from diception_ros.system import engines
from diception_ros.workflows.adapt import LabelSource
from diception_ros.workflows.simulate import SimulateConfig, parse_size

# Protocols that read one's own recordings or annotations, beside those of the paper's data sets.
COCO, RGBD = 'coco', 'rgbd'
PROTOCOLS = tuple(sorted([*benchmarks.names(), COCO, RGBD]))
_SHARED = ('jobs', 'engine')


@dataclass(frozen=True)
class RoomSettings(Settings):
    """Simulated rooms on which a model is scored."""

    scenes: int = setting(200, 'number of rooms, one image each', low=1, metavar='N')
    split: str = setting(
        'test',
        'split of the rooms; no room is in two of them',
        choices=('train', 'validation', 'test'),
    )
    tasks: tuple[str, ...] = setting(
        tuple(tasks.names()), 'tasks to run', choices=tuple(tasks.names()), metavar='TASK'
    )
    size: str = setting(
        '', "size of the images, pixels (default: as high as the model's input, 4/3 as wide)",
        metavar='WxH',
    )  # fmt: skip
    scene_seed: int = setting(0, 'random seed of the rooms', low=0, metavar='S')
    mean_scenes: int = setting(
        50, 'rooms of the training split, four images each, that make the mean image', low=1,
        metavar='N',
    )  # fmt: skip
    gl: str | None = again(SimulateConfig, 'gl')

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tasks:
            raise ValueError('tasks is empty; expected one or more')
        if self.size:
            parse_size(self.size)


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """What is scored, and on what: `labels` with adapters, else `dataset`, else rooms.

    Raises:
        ValueError: a value that its declaration does not allow, or values that exclude each other.
    """

    dataset: Path | None = setting(
        None, 'folder of a data set, or a bag with depth (protocol rgbd)', kind=Path,
        metavar='DATASET', flag='dataset',
    )  # fmt: skip
    model: str | None = setting(
        None, "model folder, or 'builtin' (default: builtin)", kind=str, metavar='DIR'
    )
    out: Path | None = setting(None, 'folder for the result files', kind=Path, metavar='DIR')
    protocol: str | None = setting(
        None, f'how DATASET is read and scored: {", ".join(PROTOCOLS)}', kind=str,
        choices=PROTOCOLS, metavar='NAME',
    )  # fmt: skip
    list: Path | None = setting(
        None, 'text file with the path of one image per line, below DATASET (default: all images)',
        kind=Path,
        metavar='FILE',
    )  # fmt: skip
    predictions: Path | None = setting(
        None, 'score the predictions in this folder, which diception predict wrote', kind=Path,
        metavar='DIR',
    )  # fmt: skip
    adapters: tuple[str, ...] = setting(
        (), 'folders that diception adapt wrote, whose tasks are scored on --data', metavar='DIR'
    )
    labels: LabelSource = field(default_factory=LabelSource)
    rooms: RoomSettings = field(default_factory=RoomSettings)
    num_inference_steps: tuple[int, ...] = setting(
        (1,), "numbers of denoising steps to compare; the paper's tables used 28", item=int,
        name='compared_steps', flag='--num-inference-steps', metavar='S',
    )  # fmt: skip
    jobs: int = setting(
        1, 'processes that share the images of DATASET; with --engine ray, processors of each',
        low=1, metavar='N',
    )  # fmt: skip
    engine: str = setting(
        'local', 'where images of DATASET are processed: on this machine, or on a Ray cluster',
        choices=engines.ENGINES,
    )  # fmt: skip
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        engines.check_device(self.engine, self.compute.device)
        if not self.num_inference_steps:
            raise ValueError('num_inference_steps is empty; expected one or more numbers')
        for steps in self.num_inference_steps:
            replace(self.predict, num_inference_steps=steps)  # raises where it is not allowed
        if self.predictions is not None and self.model is not None:
            raise ValueError('give --model or --predictions, not both')
        if self.labels.data is not None or self.adapters:
            self._check_labels()
        elif self.dataset is not None:
            if self.protocol is None:
                raise ValueError(f'DATASET needs --protocol, one of {", ".join(PROTOCOLS)}')
            if self.protocol in (COCO, RGBD):
                why = f'does not go with {self.protocol}'
                self._refuse(EvaluateConfig, why, ('list', 'predictions', *_SHARED))
            elif self.shared:
                self._check_shared()
            self._refuse(RoomSettings, 'is for rooms, without DATASET')
        else:
            only = ('protocol', 'list', 'predictions', *_SHARED)
            self._refuse(EvaluateConfig, 'needs DATASET', only)

    @property
    def shared(self) -> bool:
        """Whether several processes share the images, here or on a cluster."""
        return self.jobs > 1 or self.engine == engines.RAY

    def _check_shared(self) -> None:
        if self.out is None:
            raise ValueError('--jobs and --engine need --out, where all processes write')
        if self.predictions is not None:
            raise ValueError('--predictions are there already; leave out --jobs and --engine')
        if benchmarks.get(str(self.protocol)).window is not None:
            raise ValueError(
                f'protocol {self.protocol} shows the model a part of each image; leave out --jobs '
                'and --engine'
            )

    def _check_labels(self) -> None:
        if self.dataset is not None:
            raise ValueError('--adapters are scored on --data, so leave DATASET out')
        if self.labels.data is None:
            raise ValueError(
                '--adapters needs --data LABELS, images with labels as for diception adapt, best '
                'some that it was not trained on'
            )
        if not self.adapters:
            raise ValueError('--data needs --adapters DIR, whose tasks are scored on it')
        why = 'does not go with --adapters'
        self._refuse(EvaluateConfig, why, ('protocol', 'list', 'predictions', *_SHARED))
        self._refuse(RoomSettings, why)

    def _refuse(self, kind: type, why: str, only: Sequence[str] = ()) -> None:
        group = self.rooms if kind is RoomSettings else self
        for item in declared(kind):
            is_set = (item.name in only or not only) and getattr(
                group, item.attribute
            ) != item.default
            if is_set:
                raise ValueError(f'{item.option} {why}')

    @property
    def column_settings(self) -> dict[str, PredictSettings]:
        """Settings by column of the table, which is a number of steps."""
        return {
            str(steps): replace(self.predict, num_inference_steps=steps)
            for steps in self.num_inference_steps
        }
