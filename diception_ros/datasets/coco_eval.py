# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COCO-format annotations as ground truth: masks of points, entities, categories and people.

DIR/annotations/instances_SPLIT.json and person_keypoints_SPLIT.json with the images beside, or any
one file of that format; see `datasets.coco` for where images are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints
from diception_ros.datasets import annotation, coco, decode
from diception_ros.datasets.annotation import Region, check_sizes, files_in, load_json
from diception_ros.system import safe_load

_INSTANCES, _PEOPLE = 'instances_', 'person_keypoints_'
# Files of COCO's own folder that hold neither.
_OTHERS = ('captions_', 'stuff_', 'panoptic_', 'image_info_')
LAYOUT = (
    'expected a COCO file (.json), or a folder with one or with annotations/instances_SPLIT.json '
    'and person_keypoints_SPLIT.json, and the images'
)


@dataclass(frozen=True, eq=False)
class CocoFrame:
    """One image with its annotations.

    Attributes:
        name: the image's name in the file.
        frame: the image.
        objects: those with a mask, without crowds, overlaps given to the smaller one.
        crowds: regions of several objects, with their categories.
        people: those with a labelled joint; None where the file has no keypoints.
        areas: (P,) square pixels that each of them covers.
        ignored: (K, 4) boxes x, y, width, height of people without labelled joints and of crowds.
        seed: of the choices for this image; depends on its name alone.
    """

    name: str
    frame: Frame
    objects: Instances
    crowds: Instances
    people: Keypoints | None
    areas: NDArray[np.float64]
    ignored: NDArray[np.float64]
    seed: int


@dataclass(frozen=True, eq=False)
class CocoSet:
    """Annotated images.

    Attributes:
        instances: file with masks.
        people: file with keypoints, or None.
        images: folder of the images; None for the usual ones.
        count: number of images.
    """

    instances: coco.CocoFile
    people: coco.CocoFile | None
    images: Path | None
    count: int

    @property
    def has_people(self) -> bool:
        """Whether any image has keypoints."""
        every = () if self.people is None else self.people.annotations.values()
        return any('keypoints' in item for mine in every for item in mine)

    def frames(self) -> Iterator[CocoFrame]:
        """The images in the order of the file.

        Raises:
            FileNotFoundError: an image is missing.
            ValueError: an image or annotation cannot be read.
        """
        loaded = self.instances
        finder = coco.ImageFinder(loaded.path, self.images)
        people = _by_name(self.people) if self.has_people else None
        for entry in loaded.images:
            try:
                yield self._frame(entry, finder, people)
            except safe_load.MALFORMED as error:
                raise coco.not_coco(loaded.path, error) from error

    def _frame(
        self,
        entry: coco.Json,
        finder: coco.ImageFinder,
        people: Mapping[str, list[coco.Json]] | None,
    ) -> CocoFrame:
        loaded, name = self.instances, str(entry['file_name'])
        path = finder.find(name)
        frame = Frame(decode.rgb(path.read_bytes(), str(path)))
        size = coco.declared_size(entry, frame.size, loaded.path)
        check_sizes(frame.size, size, str(path), f'{loaded.path} (image {name})')
        mine = [item for item in loaded.annotations[entry['id']] if item.get('segmentation')]
        objects, crowds = (
            self._instances([item for item in mine if bool(item.get('iscrowd')) is crowd], size)
            for crowd in (False, True)
        )
        joints, areas, ignored = _people((people or {}).get(name, []), size)
        seed = zlib.crc32(name.encode())
        known = None if people is None else joints
        return CocoFrame(name, frame, objects, crowds, known, areas, ignored, seed)

    def _instances(self, found: Sequence[coco.Json], size: coco.Size) -> Instances:
        names, file = self.instances.categories, self.instances.path
        regions = [
            Region(names[item['category_id']], k, coco.segmentation_mask(item, size, file))
            for k, item in enumerate(found)
        ]
        label, _ = annotation.label_of('instances', regions, size)
        assert isinstance(label, Instances)
        return label


def find_set(place: Path, images: Path | None = None) -> CocoSet:
    """The annotations in a folder, or in a file and that of the same split beside it.

    Raises:
        FileNotFoundError: no such place.
        ValueError: no COCO file, or those of several splits.
    """
    if not place.exists():
        raise FileNotFoundError(f'{place}: no such file or folder; {LAYOUT}')
    found = [place]
    if place.is_dir():
        found = [
            file
            for folder in (place, place / 'annotations')
            if folder.is_dir()
            for file in files_in(folder)
            if file.suffix.lower() == '.json' and not file.name.startswith(_OTHERS)
        ]
    splits: dict[str, list[Path]] = {}
    for file in found:
        splits.setdefault(_split(file), []).append(file)
    if len(splits) != 1:
        names = ', '.join(str(file.relative_to(place)) for file in found) or 'none'
        raise ValueError(f'{place}: expected the COCO files of one split, got {names}; {LAYOUT}')
    ((split, files),) = splits.items()
    folder = files[0].parent
    partners = [folder / f'{prefix}{split}.json' for prefix in (_INSTANCES, _PEOPLE)]
    files = list(dict.fromkeys([*files, *(path for path in partners if path.is_file())]))
    loaded = []
    for file in files:
        content = load_json(file)
        if not coco.matches(content):
            raise ValueError(f'{file}: not a COCO file (images, annotations, categories)')
        loaded.append(coco.load(file, content))
    instances = next(
        (file for file in loaded if not file.path.name.startswith(_PEOPLE)), loaded[0]
    )
    people = next((item for item in loaded if item.path.name.startswith(_PEOPLE)), instances)
    if not instances.images:
        raise ValueError(f'{instances.path}: no image in it')
    return CocoSet(instances, people, images, len(instances.images))


def _split(file: Path) -> str:
    return file.stem.removeprefix(_INSTANCES).removeprefix(_PEOPLE)


def _by_name(loaded: coco.CocoFile | None) -> dict[str, list[coco.Json]]:
    if loaded is None:
        return {}
    return {
        str(entry['file_name']): [
            item for item in loaded.annotations[entry['id']] if 'keypoints' in item
        ]
        for entry in loaded.images
    }


def _people(
    found: Sequence[Mapping[str, Any]], size: coco.Size
) -> tuple[Keypoints, NDArray[np.float64], NDArray[np.float64]]:
    """People with labelled joints, what each covers, and the boxes of the others."""
    count = len(COCO_JOINTS)
    joints, areas, ignored = [], [], []
    for item in found:
        points = np.array(item['keypoints'], np.float64)
        if points.size != 3 * count:
            raise ValueError(
                f'annotation {item.get("id")}: expected {3 * count} numbers as keypoints, got '
                f'{points.size}'
            )
        points = points.reshape(count, 3)
        box = np.array(item['bbox'], np.float64)
        if item.get('iscrowd') or not points[:, 2].any():
            ignored.append(box)
            continue
        # Whole numbers are pixels in COCO, so their centres, as here.
        points[:, :2] = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
        joints.append(points)
        areas.append(float(item.get('area') or box[2] * box[3]))
    table = np.array(joints).reshape(-1, count, 3)
    visibility = table[..., 2].astype(np.uint8)
    people = Keypoints(
        table[..., :2].astype(np.float32), visibility, (visibility > 0).astype(np.float32),
        np.zeros((0, 2), np.float32), size,
    )  # fmt: skip
    return people, np.array(areas), np.array(ignored, np.float64).reshape(-1, 4)
