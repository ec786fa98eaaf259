# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Teaches a model a new task from a few labelled images: `diception adapt`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diception_ros.core.adapter_card import KINDS
from diception_ros.core.settings import REQUIRED, Settings, setting
from diception_ros.system import files
from diception_ros.system.progress import SILENT, Progress
from diception_ros.training.settings import AdaptSettings

if TYPE_CHECKING:
    from diception_ros.core.adapter_card import Card
    from diception_ros.datasets.labelled import Labelled


@dataclass(frozen=True)
class LabelSource(Settings):
    """Where labels are, and which of them."""

    data: Path | None = setting(
        None, 'folder with images/ and labels/, COCO or LabelMe JSON, or a bag', kind=Path,
        metavar='LABELS',
    )  # fmt: skip
    category: str = setting('', 'category to use, where several are labelled', metavar='NAME')
    image_topic: str = setting('', 'topic of the images, in a bag', metavar='TOPIC')
    label_topic: str = setting('', 'topic of the labels, in a bag', metavar='TOPIC')
    images: Path | None = setting(
        None, 'folder of the images of COCO or LabelMe files, where it is not a usual one',
        kind=Path, metavar='DIR',
    )  # fmt: skip
    skip_bad: bool = setting(
        False, 'leave out images with an annotation that cannot be read, instead of failing'
    )

    def read(self, kind: str, task: str) -> Labelled:
        """The labels for a task; raises what `datasets.labelled.read` does."""
        from diception_ros.datasets import labelled

        if self.data is None:
            raise ValueError('data is missing; give labelled images')
        options = {name: value for name, value in vars(self).items() if name != 'data'}
        return labelled.read(self.data, kind, task, **options)


@dataclass(frozen=True)
class AdaptConfig(Settings):
    """What is learned, and from what."""

    task: str = setting(
        REQUIRED, 'name of the new task: small letters, digits and _', kind=str, metavar='NAME'
    )
    kind: str = setting(REQUIRED, 'type of its label', kind=str, choices=KINDS)
    out: Path = setting(REQUIRED, 'folder of the adapter', kind=Path, metavar='DIR')
    labels: LabelSource = field(default_factory=LabelSource)
    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')
    prompt: str | None = setting(
        None, "text that the network gets (default: '[[image2segmentation]] NAME')", kind=str,
        metavar='TEXT',
    )  # fmt: skip
    resume: bool = setting(False, 'continue from the last checkpoint in DIR')
    learning: AdaptSettings = field(default_factory=AdaptSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels.data is None:
            raise ValueError('give --data LABELS, images with labels to learn from')


@dataclass(frozen=True)
class AdaptResult:
    """An adapter.

    Attributes:
        adapter: its folder.
        card: its metadata, with its metrics on the images held back.
    """

    adapter: Path
    card: Card


def adapt(config: AdaptConfig, progress: Progress = SILENT) -> AdaptResult:
    """Train an adapter: about 1 % of the model's parameters, for one new task.

    Raises:
        FileExistsError: `out` is not empty, and `resume` isn't given.
        FileNotFoundError: no labels or no model, or nothing to resume.
        ValueError: labels that don't fit, or a run to resume that began differently.

    Examples:
        >>> from diception_ros import AdaptConfig, adapt
        >>> result = adapt(AdaptConfig(
        ...     task='floor', kind='mask', out='adapter', model='small_model',
        ...     labels={'data': 'labels'}, learning={'max_steps': 2},
        ... ))
        >>> result.card.name
        'floor'
    """
    labels = config.labels.read(config.kind, config.task)
    for text in labels.warnings:
        progress.log(f'{config.labels.data}: {text}')
    from diception_ros.model import folder
    from diception_ros.training.adapt import describe, fit_adapter, prepare_adaptation

    folder.silence_library_logging()
    prompt = config.prompt
    if prompt is None:
        prompt = f'[[image2segmentation]] {config.task}'
    plan = prepare_adaptation(
        config.model, config.task, prompt, config.kind, labels, config.learning
    )
    progress.log(describe(plan))
    with files.exclusive_folder(config.out):
        card = fit_adapter(plan, config.learning, config.out, config.resume, progress.shown)
    return AdaptResult(config.out, card)
