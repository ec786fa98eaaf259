# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples as tensors, as a training step takes them.

Everything that needs Python for each sample (resize, encode, pack the points) happens once, in
`prepare`; a batch is then rows of tensors. Images are kept as bytes: a twelfth of the memory of
a step's tensors, and the paper's own normals were 8-bit images too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
import torch

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.prompt import Point, fractions_of
from diception_ros.datasets.sample import Sample, fit_label
from diception_ros.system import safe_load
from diception_ros.system.files import atomic_file
from diception_ros.tasks import BUILTIN, TaskRegistry

# Augmentation of a whole sample: image, label, points and intrinsics together.


class Window(NamedTuple):
    """A part of an image: its first row and column, and its size, pixels."""

    top: int
    left: int
    height: int
    width: int


def crop(sample: Sample, window: Window) -> Sample:
    """The sample of a part of the image; it has neither pose nor intrinsics.

    Raises:
        ValueError: the window is not inside the image, or the sample has points.
    """
    top, left, height, width = window
    high, wide = sample.frame.size
    if not (0 <= top < top + height <= high and 0 <= left < left + width <= wide):
        raise ValueError(f'crop: {window} is no part of an image of {(high, wide)} (H, W)')
    if sample.prompt.points:
        raise ValueError(f'crop: sample {sample.name} has points')
    rows, columns = slice(top, top + height), slice(left, left + width)
    frame = sample.frame
    return Sample(
        Frame(np.ascontiguousarray(frame.image[rows, columns]), frame.stamp_ns, frame.frame_id),
        sample.prompt,
        sample.label.crop(rows, columns),
        None,
        f'{sample.name}/{left},{top},{width}x{height}',
    )


def flip(sample: Sample) -> Sample:
    """The sample of the left-right mirrored scene.

    Each kind of label has its own rule: a normal negates x, a left wrist becomes a right one. It
    has no pose: no camera saw the mirrored scene.
    """
    frame, width = sample.frame, sample.frame.size[1]
    intrinsics = frame.intrinsics
    # A point on the left rim, x = -0.5, would come to lie on the right one, which is outside.
    inside = float(np.nextafter(width - 0.5, 0))
    points = tuple(Point(min(width - 1 - x, inside), y) for x, y in sample.prompt.points)
    return Sample(
        Frame(
            np.ascontiguousarray(frame.image[:, ::-1]),
            frame.stamp_ns,
            frame.frame_id,
            None if intrinsics is None else intrinsics.flip(width),
        ),
        replace(sample.prompt, points=points),
        sample.label.flip(),
        None,
        f'{sample.name}/flipped',
    )


_WORDS = ('texts', 'tasks', 'names')  # of Prepared: what is no tensor

# What `DiceptionPointEncoder.pack` does: lists of (x, y) shares to (N, 5, 2) and (N, 5).
Pack = Callable[[Sequence[Sequence[tuple[float, float]]], int], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step takes.

    Attributes:
        image: (B, 3, D, D) float32 in [-1, 1], the camera images; D is S times the input scale.
        frame: (B,) int64, index of each image among `Prepared.images`.
        target: (B, 3, S, S) float32 in [-1, 1], the images that the model should generate.
        valid: (B, 1, S, S) bool, the pixels of the target that are known.
        texts: B texts that the model reads.
        points: (B, 5, 2) float32 in [0, 1], laid out as the model's point encoder takes them.
        point_labels: (B, 5) bool, True where a point was given.
        tasks: B names of tasks.
        names: B names of samples, for messages.
    """

    image: torch.Tensor
    frame: torch.Tensor
    target: torch.Tensor
    valid: torch.Tensor
    texts: tuple[str, ...]
    points: torch.Tensor
    point_labels: torch.Tensor
    tasks: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """N samples at the model's size, in memory.

    Attributes:
        images: (F, 3, D, D) uint8, 0..255 RGB; samples of one frame share its image. D is S
            times the input scale.
        frame: (N,) int64, which of the F images a sample is about.
        targets: (N, 3, S, S) uint8, 0..255 RGB.
        valid: (N, 1, S, S) bool, the pixels of the target that are known.
        texts: N texts that the model reads.
        points: (N, 5, 2) float32, see Batch.
        point_labels: (N, 5) bool, see Batch.
        tasks: N names of tasks.
        names: N names of samples.
    """

    images: torch.Tensor
    frame: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor
    texts: tuple[str, ...]
    points: torch.Tensor
    point_labels: torch.Tensor
    tasks: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, task: str) -> torch.Tensor:
        """(K,) int64, the samples of this task."""
        return torch.tensor([i for i, name in enumerate(self.tasks) if name == task])

    def batch(self, rows: torch.Tensor, device: torch.device | str = 'cpu') -> Batch:
        """The batch of samples `rows`, (B,) int64; images travel to the device as bytes."""
        which = rows.tolist()
        return Batch(
            self.images[self.frame[rows]].to(device).float() / 127.5 - 1,
            self.frame[rows],
            self.targets[rows].to(device).float() / 127.5 - 1,
            self.valid[rows].to(device),
            tuple(self.texts[i] for i in which),
            self.points[rows].to(device),
            self.point_labels[rows].to(device),
            tuple(self.tasks[i] for i in which),
            tuple(self.names[i] for i in which),
        )


def prepare(
    samples: Iterable[Sample],
    resolution: int,
    pack: Pack,
    mirrored: bool = False,
    registry: TaskRegistry = BUILTIN,
    input_scale: int = 1,
) -> Prepared:
    """Bring samples to the model's size and encode their labels.

    Args:
        samples: at least one.
        resolution: S, side of the model's square, pixels.
        pack: of the model's point encoder.
        mirrored: keep each sample a second time, left-right mirrored.
        registry: holds the samples' tasks.
        input_scale: camera images are kept at this multiple of the resolution.

    Raises:
        ValueError: no samples, an unknown task, or a sample that its task cannot ask.
    """
    rgb_images: list[NDArray[np.uint8]] = []
    rows: list[tuple[Any, ...]] = []
    seen: dict[bool, tuple[Any, int]] = {}
    for original in samples:
        for turned in (False, True) if mirrored else (False,):
            sample = flip(original) if turned else original
            last, place = seen.get(turned, (None, -1))
            if last is not original.frame:
                place = len(rgb_images)
                rgb_images.append(images.resize(sample.frame.image, input_scale * resolution)[0])
                seen[turned] = original.frame, place
            task = registry.get(sample.prompt.task)
            label = fit_label(sample, resolution, registry)
            target = np.rint(task.encode(label) * 255).astype(np.uint8)
            text = task.text(sample.prompt)
            shares = fractions_of(sample.prompt.points, sample.frame.size)
            rows.append((place, target, label.valid, text, shares, task.name, sample.name))
    if not rows:
        raise ValueError('prepare: expected at least one sample, got none')
    frame, targets, valid, texts, points, task_names, names = zip(*rows, strict=True)
    packed, used = pack(points, len(points))
    return Prepared(
        _planes(rgb_images),
        torch.tensor(frame),
        _planes(targets),
        torch.from_numpy(np.stack(valid))[:, None],
        texts,
        packed,
        used,
        task_names,
        names,
    )


def join(parts: Sequence[Prepared]) -> Prepared:
    """Several lots as one, in their order; of one resolution and one point order."""
    starts = np.cumsum([0, *(len(part.images) for part in parts)]).tolist()
    return Prepared(
        torch.cat([part.images for part in parts]),
        torch.cat([part.frame + start for part, start in zip(parts, starts, strict=False)]),
        torch.cat([part.targets for part in parts]),
        torch.cat([part.valid for part in parts]),
        tuple(text for part in parts for text in part.texts),
        torch.cat([part.points for part in parts]),
        torch.cat([part.point_labels for part in parts]),
        tuple(task for part in parts for task in part.tasks),
        tuple(name for part in parts for name in part.names),
    )


def write(prepared: Prepared, path: Path) -> None:
    """Keep samples in a safetensors file; it appears under its name when it is complete."""
    tensors = {
        field.name: getattr(prepared, field.name).contiguous()
        for field in fields(prepared)
        if field.name not in _WORDS
    }
    words = {name: json.dumps(getattr(prepared, name)) for name in _WORDS}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        save_file(tensors, partial, words)


def read(path: Path) -> Prepared:
    """The samples that `write` kept.

    Raises:
        ValueError: the file is damaged or not such a file.
    """
    try:
        with safe_load.tensors_file(path) as file:
            words = {
                name: tuple(safe_load.json_text(file.metadata()[name], name)) for name in _WORDS
            }
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Prepared(**tensors, **words)
    except (ValueError, *safe_load.MALFORMED) as error:
        raise ValueError(
            f'{path}: no file of prepared samples ({error}); delete it to have it made again'
        ) from error


def _planes(rgb_images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """(N, 3, S, S) of N images (S, S, 3)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(rgb_images).transpose(0, 3, 1, 2)))
