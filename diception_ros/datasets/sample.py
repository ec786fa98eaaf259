# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training or evaluation sample, and samples in a folder, stored without loss.

FOLDER/samples.json         {"format": 1}: marks a folder of samples
FOLDER/000000/image.png     the image, 8-bit RGB
FOLDER/000000/frame.json    header, intrinsics, camera pose, and the samples of this image
FOLDER/000000/0_depth.npz   the label of sample 0, see `diception_ros.core.labels.save_npz`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path

import numpy as np

from diception_ros.core import images
from diception_ros.core.frame import Frame, Intrinsics, Transform
from diception_ros.core.geometry import to_disparity
from diception_ros.core.labels import Disparity, Label, MetricDepth, load_npz, save_npz
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.annotation import load_json
from diception_ros.system import files, safe_load
from diception_ros.tasks import BUILTIN, TaskRegistry

_TOLERANCE = 1e-6  # of a rotation that went through a file


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame, a prompt on it, and the true label in physical units.

    Attributes:
        frame: the image.
        prompt: the query.
        label: the true label, of the frame's size.
        pose: of the camera's optical frame (x right, y down, z forward) in the world (z up), where
            it is known.
        name: identifies the sample in its source, for messages.

    Raises:
        ValueError: the label is not of the frame's size, or a point lies outside the frame.
    """

    frame: Frame
    prompt: Prompt
    label: Label
    pose: Transform | None = None
    name: str = ''

    def __post_init__(self) -> None:
        if self.label.size != self.frame.size:
            raise ValueError(
                f"Sample {self.name}: expected a label of the frame's size {self.frame.size} "
                f'(H, W), got {self.label.size}'
            )
        self.prompt.check_inside(self.frame.size)


def fit_label(sample: Sample, resolution: int, registry: TaskRegistry = BUILTIN) -> Label:
    """A sample's label at the model's size and of the kind that its task encodes.

    Raises:
        ValueError: the task encodes another kind of label.
    """
    kind = registry.get(sample.prompt.task).label
    label = sample.label.to_model_size(images.ResizeTransform(sample.frame.size, resolution))
    if isinstance(label, MetricDepth) and kind is Disparity:
        label = to_disparity(label)[0]
    if not isinstance(label, kind):
        raise ValueError(
            f'sample {sample.name}: task {sample.prompt.task!r} encodes {kind.__name__}, '
            f'got a label of kind {type(label).__name__}'
        )
    resized: Label = label
    return resized


FORMAT = 1
_MARK = 'samples.json'


def create_folder(root: Path, force: bool = False) -> None:
    """Make an empty folder for samples; `force` deletes samples that are there, nothing else.

    Raises:
        FileExistsError: the folder holds something.
    """
    files.create_folder(root, (root / _MARK).is_file(), 'samples', force)
    files.write_text(root / _MARK, json.dumps({'format': FORMAT}) + '\n')


def write_frame(root: Path, number: int, samples: Sequence[Sample]) -> None:
    """Write all samples of one frame into a folder that `create_folder` made.

    Args:
        root: the folder.
        number: of the frame, 0 to 999999; frames are read in this order.
        samples: one or more, of one frame and pose.

    Raises:
        FileExistsError: there is a frame of this number.
        ValueError: no samples, or of several frames.
    """
    if not samples or any(
        item.frame is not samples[0].frame or item.pose is not samples[0].pose for item in samples
    ):
        raise ValueError(f'{root}: expected samples that share one frame, for frame {number}')
    frame, pose = samples[0].frame, samples[0].pose
    entries = []
    with files.atomic_folder(root / f'{number:06d}') as place:
        images.write(place / 'image.png', frame.image)
        for k, sample in enumerate(samples):
            file = f'{k}_{sample.prompt.task}.npz'
            save_npz(sample.label, place / file)
            entries.append(
                {
                    'name': sample.name,
                    'task': sample.prompt.task,
                    'category': sample.prompt.category,
                    'points': [point._asdict() for point in sample.prompt.points],
                    'label': file,
                }
            )
        about = {
            'stamp_ns': frame.stamp_ns,
            'frame_id': frame.frame_id,
            'intrinsics': frame.intrinsics and asdict(frame.intrinsics),
            'pose': pose
            and {'position': pose.translation.tolist(), 'rotation': pose.rotation.tolist()},
            'samples': entries,
        }
        files.write_text(place / 'frame.json', json.dumps(about, indent=1) + '\n')


def read_folder(root: Path) -> Iterator[Sample]:
    """Read the samples of a folder, in the order of their frames.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: it is not a folder of samples of this format, or a file in it is damaged.
    """
    mark = root / _MARK
    if not mark.is_file():
        raise FileNotFoundError(f'{root} is no folder of samples: it has no {_MARK}')
    version = load_json(mark).get('format')
    if version != FORMAT:
        raise ValueError(f'{mark}: expected format {FORMAT}, got {version}')
    for about in sorted(root.glob('??????/frame.json')):
        yield from _read_frame(about)


def _read_frame(path: Path) -> Iterator[Sample]:
    about = load_json(path)
    try:
        frame = Frame(
            images.read(path.parent / 'image.png'),
            about['stamp_ns'],
            about['frame_id'],
            about['intrinsics'] and Intrinsics(**about['intrinsics']),
        )
        pose = about['pose'] and _pose(about['pose'])
        for entry in about['samples']:
            points = tuple(Point(**point) for point in entry['points'])
            yield Sample(
                frame,
                Prompt(entry['task'], entry['category'], points),
                load_npz(path.parent / Path(entry['label']).name),
                pose,
                entry['name'],
            )
    except safe_load.MALFORMED as error:
        raise ValueError(f'{path}: not a description of a frame ({error!r})') from error
    except ValueError as error:
        if str(path.parent) in str(error):  # of the image or a label
            raise
        raise ValueError(f'{path}: not a description of a frame ({error})') from error


def _pose(values: dict[str, list[float]]) -> Transform:
    rotation, position = (np.array(values[name], np.float64) for name in ('rotation', 'position'))
    if position.shape != (3,) or rotation.shape != (3, 3) or not np.isfinite(position).all():
        raise ValueError(f'pose: expected (3,) and (3, 3), got {position.shape}, {rotation.shape}')
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not off <= _TOLERANCE or np.linalg.det(rotation) < 0:
        raise ValueError(f'pose: expected a rotation, got one off by {off:.3g}')
    return Transform(rotation, position)
