# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON: one file with the annotations of all images, as labels and as ground truth.

The images are looked for beside the file, in `images`, and in every folder below the data set's
root, so the layouts of COCO itself (annotations/ beside train2017/), Datumaro and CVAT
(images/default/), FiftyOne (data/) and Roboflow are found. Source of the format:
https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints
from diception_ros.datasets import annotation, decode
from diception_ros.datasets.annotation import (
    IMAGE_SUFFIXES,
    LabelledImage,
    LabelQuery,
    Region,
    check_sizes,
    files_in,
    load_json,
)
from diception_ros.system import safe_load

Json = dict[str, Any]
Size = tuple[int, int]

# Levels of folders below the root that are searched for images: images/default, train/images.
_DEPTH = 3
# What tools put before the split in the name of an annotation file.
_PREFIXES = ('instances_', 'person_keypoints_', 'panoptic_', 'stuff_', 'labels_')


def matches(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is of this format."""
    return 'images' in content and 'annotations' in content


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The checked content of a file.

    Attributes:
        path: of the file.
        categories: names by id.
        images: entries in their order.
        annotations: of each image, by its id.
    """

    path: Path
    categories: Mapping[Any, str]
    images: Sequence[Json]
    annotations: Mapping[Any, list[Json]]


def load(path: Path, content: Json) -> CocoFile:
    """Check the references between the entries of a file.

    Raises:
        ValueError: an entry is missing or refers to none.
    """
    try:
        names = {entry['id']: str(entry['name']) for entry in content.get('categories', [])}
        of_image: dict[Any, list[Json]] = {}
        for item in content['images']:
            if item['id'] in of_image:
                raise ValueError(f'{path}: two images have the id {item["id"]}')
            of_image[item['id']] = []
        for item in content['annotations']:
            if item['image_id'] not in of_image:
                raise ValueError(
                    f'{path}: annotation {item.get("id")} is a label without an image: there is '
                    f'none with the id {item["image_id"]}'
                )
            if item['category_id'] not in names:
                raise ValueError(
                    f'{path}: annotation {item.get("id")} has the category {item["category_id"]}, '
                    'for which the file has no name'
                )
            of_image[item['image_id']].append(item)
        return CocoFile(path, names, content['images'], of_image)
    except safe_load.MALFORMED as error:
        raise not_coco(path, error) from error


def not_coco(path: Path, error: Exception) -> ValueError:
    """The error for a file with an entry of another kind than expected."""
    return ValueError(f'{path}: not what COCO files hold ({error!r})')


def read(
    file: Path, content: Json, query: LabelQuery, whole_folder: bool
) -> tuple[list[LabelledImage], list[str]]:
    """The labelled images of a JSON file, and notes for the user.

    An image of the file without annotations shows nothing of the category. With `whole_folder`,
    its folder was named and not the file: an image there that the file does not name is an error.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image or the file is not what it should be.
    """
    loaded = load(file, content)
    try:
        return _read(loaded, query, whole_folder, bool(_is_original(content)))
    except safe_load.MALFORMED as error:
        raise not_coco(file, error) from error


def _is_original(content: Json) -> bool:
    """Whether the file's header is that of COCO's own data set."""
    info = content.get('info')
    words = f'{info.get("description")} {info.get("url")}' if isinstance(info, dict) else ''
    return 'cocodataset.org' in words or words.startswith('COCO 20')


def _read(
    loaded: CocoFile, query: LabelQuery, whole_folder: bool, original: bool
) -> tuple[list[LabelledImage], list[str]]:
    file, names = loaded.path, loaded.categories
    every = [item for mine in loaded.annotations.values() for item in mine]
    meant = annotation.chosen(
        query.category, {names[item['category_id']] for item in every}, str(file)
    )
    finder = ImageFinder(file, query.images)
    crowd_rle, reason = _crowd_rle(every, original)
    items: list[LabelledImage] = []
    seen: set[Path] = set()
    bad: list[str] = []
    crowds = singles = lost = 0
    for entry in loaded.images:
        path = finder.find(str(entry['file_name']))
        if path in seen:
            raise ValueError(f'{file}: names {path} twice')
        seen.add(path)
        data = path.read_bytes()
        frame = Frame(decode.rgb(data, str(path)))
        size = entry_size(entry, frame.size, file)
        check_sizes(frame.size, size, str(path), f'{file} (image {entry["file_name"]})')
        mine = [
            item for item in loaded.annotations[entry['id']] if names[item['category_id']] in meant
        ]
        crowd = [
            bool(item.get('iscrowd'))
            and (crowd_rle or not isinstance(item.get('segmentation'), dict))
            for item in mine
        ]
        chosen = mine
        if query.kind == 'instances':
            chosen = [item for item, is_crowd in zip(mine, crowd, strict=True) if not is_crowd]
            crowds += sum(crowd)
            singles += sum(bool(item.get('iscrowd')) for item in chosen)
        try:
            regions = [
                Region(names[item['category_id']], k, segmentation_mask(item, size, file))
                for k, item in enumerate(chosen)
            ]
        except ValueError as error:
            if not query.skip_bad:
                raise ValueError(f'{error}; --skip-bad leaves its image out') from error
            bad.append(str(error))
            continue
        label, empty = annotation.label_of(query.kind, regions, size)
        lost += empty
        source = json.dumps(
            [(names[item['category_id']], item['segmentation']) for item in chosen], sort_keys=True
        ).encode()
        where = f'{file} ({entry["file_name"]})'
        items.append(LabelledImage(str(entry['file_name']), where, frame, label, (data, source)))
    notes = _unnamed(file, seen, whole_folder)
    if bad:
        notes.append(f'{len(bad)} images are left out (--skip-bad); the first: {bad[0]}.')
    if singles:
        notes.append(
            f'{singles} masks with iscrowd 1 are read as single objects: {reason}; where they are '
            'crowds, write them as polygons.'
        )
    if crowds:
        notes.append(
            f'{crowds} regions are crowds (iscrowd), in which objects are not told apart; as '
            'instances they are left out, and their pixels count as background.'
        )
    if lost:
        notes.append(f'{lost} outlines of {file} contain the centre of no pixel or are hidden.')
    return items, notes


def _crowd_rle(annotations: Sequence[Json], original: bool) -> tuple[bool, str]:
    """Whether run lengths with iscrowd 1 are crowds in a file, and if not, why.

    COCO writes its crowds so, and some tools write single objects so: Datumaro every mask,
    supervision those with a hole or several parts. A polygon with iscrowd 1 is always a crowd.
    """
    marked = [
        entry
        for entry in annotations
        if entry.get('iscrowd') and isinstance(entry.get('segmentation'), dict)
    ]
    if original or not marked:
        return True, ''
    if all(isinstance(entry.get('segmentation'), dict) for entry in annotations):
        return False, 'every mask of the file is written so'
    for item in marked:
        try:
            height, width = item['segmentation']['size']
            mask = annotation.run_lengths(item['segmentation']['counts'], (height, width))
        except (ValueError, *safe_load.MALFORMED):
            continue  # reported where its image is read
        _, parts = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        if parts is not None and parts.shape[1] == 1:
            return True, ''
    return False, 'the file writes so just those with a hole or several parts'


class ImageFinder:
    """Finds the images that a file names.

    Args:
        file: the JSON file.
        images: the only folder to look in; None for the usual ones, see the head of the module.
    """

    def __init__(self, file: Path, images: Path | None = None) -> None:
        self._file = file
        root = file.parent.parent if file.parent.name in ('annotations', 'labels') else file.parent
        split = file.stem
        for prefix in _PREFIXES:
            split = split.removeprefix(prefix)
        likely = [
            file.parent, file.parent / 'images', root / 'images', file.parent.parent / 'images',
            root / split, root / 'images' / split,
        ]  # fmt: skip
        self._folders = [images] if images is not None else likely
        self._root = root if images is None else None
        self._searched = False

    def find(self, name: str) -> Path:
        """The file of an image.

        Raises:
            FileNotFoundError: it is in none of the folders.
        """
        relative = Path(name.replace('\\', '/'))
        choices = [relative] if relative.parent == Path() else [relative, Path(relative.name)]
        if relative.is_absolute() or '..' in relative.parts:
            # Of another machine, or out of the folder that was named: not followed.
            choices = choices[1:]
        for choice in choices:
            path = self._look(choice)
            if path is not None:
                return path
        listed = ', '.join(str(folder) for folder in self._folders[:4])
        raise FileNotFoundError(
            f'{self._file}: a label without an image: there is no {relative} in {listed}'
            f'{" or below" if self._root is not None else ""}; name their folder with --images'
        )

    def _look(self, relative: Path) -> Path | None:
        for folder in self._folders:
            if (folder / relative).is_file():
                return folder / relative
        if self._root is None or self._searched:
            return None
        self._searched = True
        pattern = '*/'
        for _ in range(_DEPTH):
            self._folders += sorted(p for p in self._root.glob(pattern) if p.is_dir())
            pattern += '*/'
        return self._look(relative)


def _unnamed(file: Path, seen: set[Path], whole_folder: bool) -> list[str]:
    """What is to be said of images that the file does not name."""
    others = [
        path
        for folder in sorted({item.parent for item in seen})
        for path in files_in(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and path not in seen
    ]
    if others and whole_folder:
        raise ValueError(
            f'{others[0]}: an image without a label, {file} does not name it '
            f'({len(others)} such); take it out, or give the file itself instead of the folder'
        )
    if not others:
        return []
    return [
        f'{len(others)} images beside those of {file} are not named in it and left out, '
        f'such as {others[0].name}.'
    ]


def entry_size(entry: Json, size: Size, file: Path) -> Size:
    """(H, W) in an image's entry; that of the image where a tool left it out."""
    return annotation.declared_size(entry.get('height'), entry.get('width'), size, str(file))


def segmentation_mask(one: Json, size: Size, file: Path) -> NDArray[np.bool_]:
    """(H, W) bool, the pixels of an annotation.

    Raises:
        ValueError: it has no outline, or one that is not of this size or not finite.
    """
    where = f'{file}: annotation {one.get("id")}'
    outline = one.get('segmentation')
    if not outline:
        raise ValueError(
            f'{where}: expected an outline (segmentation), got none; boxes alone are no masks'
        )
    try:
        if isinstance(outline, dict):
            height, width = outline['size']
            if (height, width) != size:
                raise ValueError(
                    f"expected run lengths of the image's size, {size[1]} x {size[0]}, got "
                    f'{width} x {height}'
                )
            return annotation.run_lengths(outline['counts'], size)
        # Some exporters write the numbers of one polygon without the list around it.
        parts = [outline] if all(isinstance(v, int | float) for v in outline) else outline
        mask = np.zeros(size, np.bool_)
        for part in parts:
            numbers = np.array(part, np.float64).ravel()
            if len(numbers) % 2 or len(numbers) < 6 or not np.isfinite(numbers).all():
                raise ValueError(
                    'expected polygons of at least 3 finite points x, y, got one of '
                    f'{len(numbers) / 2:g}'
                )
            mask |= annotation.polygon(numbers.reshape(-1, 2), size)
        return mask
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


# Annotations as ground truth: masks of points, entities, categories and people, from
# DIR/annotations/instances_SPLIT.json and person_keypoints_SPLIT.json, or any one such file.


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
        people: file with keypoints, if any; else that of the masks.
        images: folder of the images; None for the usual ones.
        count: number of images.
    """

    instances: CocoFile
    people: CocoFile
    images: Path | None
    count: int

    @property
    def has_people(self) -> bool:
        """Whether any image has keypoints."""
        every = self.people.annotations.values()
        return any('keypoints' in item for mine in every for item in mine)

    def frames(self) -> Iterator[CocoFrame]:
        """The images in the order of the file.

        Raises:
            FileNotFoundError: an image is missing.
            ValueError: an image or annotation cannot be read.
        """
        loaded = self.instances
        finder = ImageFinder(loaded.path, self.images)
        people = _by_name(self.people) if self.has_people else None
        for entry in loaded.images:
            try:
                yield self._frame(entry, finder, people)
            except safe_load.MALFORMED as error:
                raise not_coco(loaded.path, error) from error

    def _frame(
        self,
        entry: Json,
        finder: ImageFinder,
        people: Mapping[str, list[Json]] | None,
    ) -> CocoFrame:
        loaded, name = self.instances, str(entry['file_name'])
        path = finder.find(name)
        frame = Frame(decode.rgb(path.read_bytes(), str(path)))
        size = entry_size(entry, frame.size, loaded.path)
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

    def _instances(self, found: Sequence[Json], size: Size) -> Instances:
        names, file = self.instances.categories, self.instances.path
        regions = [
            Region(names[item['category_id']], k, segmentation_mask(item, size, file))
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
    json_files = [place]
    if place.is_dir():
        json_files = [
            file
            for folder in (place, place / 'annotations')
            if folder.is_dir()
            for file in files_in(folder)
            if file.suffix.lower() == '.json' and not file.name.startswith(_OTHERS)
        ]
    splits: dict[str, list[Path]] = {}
    for file in json_files:
        splits.setdefault(_split(file), []).append(file)
    if len(splits) != 1:
        names = ', '.join(str(file.relative_to(place)) for file in json_files) or 'none'
        raise ValueError(f'{place}: expected the COCO files of one split, got {names}; {LAYOUT}')
    ((split, files),) = splits.items()
    folder = files[0].parent
    partners = [folder / f'{prefix}{split}.json' for prefix in (_INSTANCES, _PEOPLE)]
    files = list(dict.fromkeys([*files, *(path for path in partners if path.is_file())]))
    loaded = []
    for file in files:
        content = load_json(file)
        if not matches(content):
            raise ValueError(f'{file}: not a COCO file (images, annotations, categories)')
        loaded.append(load(file, content))
    instances = next(
        (file for file in loaded if not file.path.name.startswith(_PEOPLE)), loaded[0]
    )
    people = next((item for item in loaded if item.path.name.startswith(_PEOPLE)), instances)
    if not instances.images:
        raise ValueError(f'{instances.path}: no image in it')
    return CocoSet(instances, people, images, len(instances.images))


def _split(file: Path) -> str:
    return file.stem.removeprefix(_INSTANCES).removeprefix(_PEOPLE)


def _by_name(loaded: CocoFile) -> dict[str, list[Json]]:
    return {
        str(entry['file_name']): [
            item for item in loaded.annotations[entry['id']] if 'keypoints' in item
        ]
        for entry in loaded.images
    }


def _people(
    found: Sequence[Mapping[str, Any]], size: Size
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
