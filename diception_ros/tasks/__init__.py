# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks: one file each, found by listing this folder.

A task encodes a label as the RGB image that the network should generate, decodes a generated
image, and scores one label against another. Each file is named after its task and holds one
module-level object `TASK`; putting a file here is all it takes to add a task. Files that begin
with an underscore, and folders, are not tasks. An adapter brings a task, too: a `TaskRegistry`
holds the tasks of this folder and those of the adapters in use.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
import difflib
import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.adapter_card import Card, check_distinct
from diception_ros.core.prompt import Prompt

if TYPE_CHECKING:
    from diception_ros.core.labels import ImageLabel, Label

LabelT = TypeVar('LabelT', bound='Label')


@dataclass(frozen=True)
class Task(Generic[LabelT]):
    """A task: encodes its labels as output images of the network, decodes and scores them.

    Subclasses define `encode`, `decode` and `score`.

    Attributes:
        name: the file's name, and the task's name in every option and parameter.
        prompt: text that the model was trained on, e.g. '[[image2depth]]'.
        label: the kind of label; messages and drawings depend on it. The name counts in one
            place: of tasks whose label is a Disparity, `depth` alone becomes metres.
        takes_points: whether its prompts have points.
        takes_category: whether its prompts name a category.
        categories: whose embeddings a model folder carries; with text encoders any other works.
    """

    name: str
    prompt: str
    label: type[LabelT]
    takes_points: bool = False
    takes_category: bool = False
    categories: tuple[str, ...] = ()

    def text(self, prompt: Prompt) -> str:
        """Text for the network: the task's prompt, and the category if there is one.

        Raises:
            ValueError: the prompt lacks points or a category, or has some that the task does not
                take.
        """
        if prompt.points and not self.takes_points:
            raise ValueError(f'task {prompt.task!r} takes no points, got {len(prompt.points)}')
        if prompt.category is not None and not self.takes_category:
            raise ValueError(f'task {prompt.task!r} takes no category, got {prompt.category!r}')
        if self.takes_points and not prompt.points:
            raise ValueError(f'task {self.name!r} needs 1 to 5 points, got none')
        if not self.takes_category:
            return self.prompt
        if prompt.category is None:
            raise ValueError(f"task {self.name!r} needs a category, e.g. 'person', got none")
        return f'{self.prompt} {prompt.category.strip()}'

    def encode(self, label: LabelT) -> NDArray[np.float32]:
        """The output image for a label of the network's size: (S, S, 3) float32 in [0, 1], RGB."""
        raise NotImplementedError

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> LabelT:
        """The label in an output image, (S, S, 3) float32 RGB, nominally in [0, 1].

        The prompt is used by tasks whose label names the category.
        """
        raise NotImplementedError

    def score(self, predicted: LabelT, truth: LabelT) -> dict[str, float]:
        """Compare two labels of one size; NaN where there is nothing to compare.

        Raises:
            ValueError: the labels differ in size.
        """
        raise NotImplementedError


def check_square(label: Label) -> int:
    """Side S of a label to encode; ValueError unless it is square."""
    height, width = label.size
    if height != width:
        raise ValueError(
            f'{type(label).__name__}: expected the size of the model, (S, S), got '
            f'{label.size}; use to_model_size first'
        )
    return height


def check_output_image(rgb: NDArray[Any]) -> int:
    """Side S of an output image; ValueError unless it is (S, S, 3) float32 and finite."""
    if rgb.dtype != np.float32 or rgb.ndim != 3 or rgb.shape != (len(rgb), len(rgb), 3):
        raise ValueError(f'output image: expected (S, S, 3) float32, got {rgb.shape} {rgb.dtype}')
    if not np.isfinite(rgb).all():
        raise ValueError('output image: expected finite numbers, got NaN or infinity')
    return len(rgb)


def check_same_size(predicted: Label, truth: Label) -> None:
    """Raise ValueError unless both labels are of one size."""
    if predicted.size != truth.size:
        raise ValueError(
            f'expected two labels of one size, got predicted {predicted.size} '
            f'and true {truth.size} (H, W)'
        )


@dataclass(frozen=True)
class TaskRegistry:
    """Tasks by name: those of this folder, and those of some adapters.

    Attributes:
        cards: metadata of the adapters.

    Raises:
        ValueError: two adapters, or an adapter and a task of this folder, have one name.
    """

    cards: tuple[Card, ...] = ()
    _of_adapters: dict[str, Task[Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_distinct(self.cards)
        of_adapters = {card.name: adapter_task(card) for card in self.cards}
        object.__setattr__(self, '_of_adapters', of_adapters)

    def names(self) -> list[str]:
        """Names of the tasks of this folder in alphabetical order, then those of the adapters."""
        return [*names(), *self._of_adapters]

    def is_adapter(self, name: str) -> bool:
        """Whether a task comes with an adapter."""
        return name in self._of_adapters

    def get(self, name: str) -> Task[Any]:
        """The task of this name.

        Raises:
            ValueError: no task has this name; the message lists those that there are.
            TypeError: the file of this name does not hold a TASK that has its name.
        """
        if name in self._of_adapters:
            return self._of_adapters[name]
        # Every prediction asks for its task; a loaded one needs no look into the folder.
        loaded = getattr(sys.modules.get(f'{__name__}.{name}'), 'TASK', None)
        if isinstance(loaded, Task) and loaded.name == name:
            return loaded
        if name not in names():
            known = self.names()
            close = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean {close[0]!r}? ' if close else ''
            raise ValueError(f'no task {name!r}; {hint}known: {", ".join(known)}')
        module = importlib.import_module(f'{__name__}.{name}')
        task: Task[Any] | None = getattr(module, 'TASK', None)
        if task is None or task.name != name:
            got = 'none' if task is None else f'one named {task.name!r}'
            raise TypeError(f'{module.__file__}: expected a TASK named {name!r}, got {got}')
        return task


def names() -> list[str]:
    """Names of the tasks of this folder, in alphabetical order; loads none of them."""
    modules = pkgutil.iter_modules(__path__)
    return sorted(m.name for m in modules if not m.name.startswith('_') and not m.ispkg)


def get(name: str) -> Task[Any]:
    """The task of this folder with this name; errors as of `TaskRegistry.get`."""
    return BUILTIN.get(name)


# Of each kind of label but images, the task that encodes, decodes and scores it.
_TASK_OF_KIND = {
    'mask': 'segmentation', 'instances': 'entity', 'normals': 'normal', 'depth': 'depth'
}  # fmt: skip


def adapter_task(card: Card) -> Task[Any]:
    """The task of an adapter with this card; it takes neither points nor a category.

    Raises:
        ValueError: a task of this folder has the name.
    """
    if card.name in names():
        raise ValueError(
            f'a new task cannot be called {card.name!r}, which is one of {", ".join(names())}'
        )
    if card.kind not in _TASK_OF_KIND:
        from diception_ros.core.labels import ImageLabel

        return ImageTask(card.name, card.prompt, ImageLabel)
    like = importlib.import_module(f'{__name__}.{_TASK_OF_KIND[card.kind]}').TASK
    more = {'threshold': card.threshold} if card.kind == 'mask' else {}
    task: Task[Any] = replace(like, name=card.name, prompt=card.prompt, takes_points=False, **more)
    return task


class ImageTask(Task['ImageLabel']):
    """The label is the output image itself."""

    def encode(self, label: ImageLabel) -> NDArray[np.float32]:
        check_square(label)
        return label.values

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> ImageLabel:
        check_output_image(rgb)
        return self.label(np.clip(rgb, 0, 1))

    def score(self, predicted: ImageLabel, truth: ImageLabel) -> dict[str, float]:
        """`mae`, mean absolute error of the channels, in [0, 1]; `psnr` in dB.

        Raises:
            ValueError: the sizes differ.
        """
        check_same_size(predicted, truth)
        error = predicted.values.astype(np.float64) - truth.values
        square = float(np.mean(error**2))
        psnr = -10 * np.log10(square) if square else float('inf')
        return {'mae': float(np.mean(np.abs(error))), 'psnr': float(psnr)}


# Without adapters.
BUILTIN = TaskRegistry()


def texts() -> list[str]:
    """Every text of the tasks of this folder, whose embeddings a model folder carries."""
    prompts = []
    for name in names():
        task = get(name)
        prompts.append(task.prompt)
        prompts += [task.text(Prompt(name, category)) for category in task.categories]
    return prompts
