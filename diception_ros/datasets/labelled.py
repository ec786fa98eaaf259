# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads labels in the formats that annotation tools write, and checks them.

`read` recognises the format of a place: COCO, LabelMe, a bag with a topic of images and one of
labels, or a folder of images and labels of the same names:

FOLDER/images/NAME.png   or .jpg .jpeg .bmp .webp
FOLDER/labels/NAME.png   the meaning of its pixels depends on the kind; depth and normals may
                         be .npy, images of kind rgb any format that the images may have
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.bags.frames import COMPRESSED, IMAGES
from diception_ros.bags.reader import ENDS, Bag, bags_in, read_messages
from diception_ros.bags.typestore import RawMessage
from diception_ros.core.adapter_card import KINDS
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Instances, Label, Mask
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import coco, decode, labelme
from diception_ros.datasets.annotation import (
    IMAGE_SUFFIXES,
    LabelledImage,
    LabelQuery,
    check_sizes,
    files_in,
    load_json,
)
from diception_ros.datasets.decode import RasterDecoder
from diception_ros.datasets.sample import Sample
from diception_ros.messages import NANO, MessageError, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.messages.synchronizer import MessageCache
from diception_ros.system import files

Found = tuple[list[LabelledImage], list[str]]

EXPECTED = (
    'expected a folder with images/ and labels/, a COCO file (.json), a folder of LabelMe files '
    'beside their images, or a bag (.mcap, .db3, .bag)'
)


def labelled_items(place: Path, query: LabelQuery) -> Found:
    """The labelled images of a place, and notes for the user.

    Raises:
        ValueError: the place has no known format, or several; or as the format's `read`.
        FileNotFoundError: as the format's `read`.
    """
    readers: dict[str, Callable[[], Found]] = {}
    if place.is_dir() and _is_image_folder(place):
        readers['a folder with images/ and labels/'] = partial(_read_folder, place, query)
    bag = bag_at(place)
    if bag is not None:
        readers[f'the bag {bag.name}'] = partial(_read_bag, bag, query)
    contents = {file: load_json(file) for file in _json_files(place)}
    if contents:
        first = next(iter(contents))
        if len(contents) == 1 and coco.matches(contents[first]):
            readers[f'the COCO file {first.name}'] = partial(
                coco.read, first, contents[first], query, whole_folder=place.is_dir()
            )
        elif place.is_dir() and any(map(labelme.matches, contents.values())):
            readers['files of LabelMe'] = partial(labelme.read, place, contents, query)
        elif not readers or any(map(coco.matches, contents.values())):
            # Any other JSON beside images/ and labels/ is a note, such as about.json.
            raise ValueError(_what_json(place, contents))
    if not readers:
        raise ValueError(f'{place}: nothing in it that holds labels; {EXPECTED}')
    if len(readers) > 1:
        raise ValueError(
            f'{place}: expected labels in one format, got {" and ".join(readers)}; name the '
            'file itself, or move one of them away'
        )
    ((name, reader),) = readers.items()
    outlined = 'COCO' in name or 'LabelMe' in name
    if outlined and query.kind not in ('mask', 'instances'):
        raise ValueError(
            f'{place}: {name} holds outlines, which are of kind mask or instances; expected '
            f'labels of kind {query.kind}'
        )
    if bag is None and (query.image_topic or query.label_topic):
        raise ValueError(f'{place}: a topic was named, but {name} has none; topics are for bags')
    return reader()


# Where COCO, CVAT, Roboflow and people with LabelMe put JSON files.
_JSON_FOLDERS = ('annotations', 'labels', 'json', 'jsons', 'train', 'valid', 'test')


def _json_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() == '.json' else []
    inside = [place, *(place / name for name in _JSON_FOLDERS)]
    return [
        file
        for item in inside
        if item.is_dir()
        for file in files_in(item)
        if file.suffix.lower() == '.json'
    ]


def _what_json(place: Path, contents: dict[Path, dict[str, Any]]) -> str:
    if all(map(coco.matches, contents.values())):
        names = ', '.join(str(file.relative_to(place)) for file in contents)
        return f'{place}: expected one COCO file, got {names}; name the one to read'
    if place.is_file() and labelme.matches(contents[place]):
        return f'{place}: one file of LabelMe; name its folder, {place.parent}'
    strange = next(
        file
        for file, content in contents.items()
        if len(contents) == 1 or not coco.matches(content)
    )
    return (
        f'{strange}: a JSON file that is neither of COCO (images, annotations, categories) nor of '
        'LabelMe (shapes, imagePath)'
    )


# One for training and one for validation.
MIN_LABELLED_IMAGES = 2
# Below this number of images a warning says what to expect.
FEW = 8


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled images.

    Attributes:
        samples: in the order of their names, which are files or stamps.
        digest: SHA-256, hexadecimal, of the images' and labels' bytes, the kind and the
            category; independent of where the files are.
        warnings: sentences for the user.
    """

    samples: list[Sample]
    digest: str
    warnings: tuple[str, ...]


def read(
    place: Path, kind: str, task: str, *, category: str = '', image_topic: str = '',
    label_topic: str = '', images: Path | None = None, skip_bad: bool = False,
) -> Labelled:  # fmt: skip
    """Read labels; the format is recognised by the content.

    Args:
        place: a folder or a file.
        kind: one of KINDS.
        task: name of the task of the samples.
        category: which one, '*' for all, where the format has categories; of masks that are
            images the number of the object. '' where there is no choice to make.
        image_topic: of a bag; '' where there is no choice to make.
        label_topic: likewise.
        images: folder of the images of COCO and LabelMe files, where they are not in a usual one.
        skip_bad: leave out images with an annotation that cannot be read, instead of failing.

    Raises:
        FileNotFoundError: the place, an image or a label is missing.
        ValueError: a file is invalid; the message names it and has a remedy.
    """
    if kind not in KINDS:
        raise ValueError(f'kind {kind!r}: expected one of {", ".join(KINDS)}')
    if not place.exists():
        raise FileNotFoundError(f'{place}: no such file or folder; {EXPECTED}')
    if kind == 'rgb' and category:
        raise ValueError(f'category {category!r}: labels of kind rgb have none; leave it out')
    query = LabelQuery(kind, category, image_topic, label_topic, images, skip_bad)
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f'{images}: no such folder of images')
    items, notes = labelled_items(place, query)
    if len(items) < MIN_LABELLED_IMAGES:
        raise ValueError(
            f'{place}: expected at least {MIN_LABELLED_IMAGES} labelled images, one to learn '
            f'from and one to check with, got {len(items)}; label more'
        )
    items.sort(key=lambda item: item.name)
    for item in items:
        check_sizes(item.frame.size, item.label.size, f'the image {item.name}', item.where)
    notes += _of_one_class(place, items)
    if len(items) < FEW:
        notes.append(
            f'{len(items)} labelled images are few: expect predictions that suit these images and '
            'often fail on others, and a validation of little significance; label at least '
            f'{FEW}, better 50.'
        )
    samples = [Sample(item.frame, Prompt(task), item.label, name=item.name) for item in items]
    return Labelled(samples, _digest(kind, category, items), tuple(notes))


def _of_one_class(place: Path, items: list[LabelledImage]) -> list[str]:
    """Notes on empty labels.

    Raises:
        ValueError: all labels have one class only.
    """
    maps = []
    for item in items:
        if isinstance(item.label, Mask):
            maps.append(item.label.values.astype(np.int32))
        elif isinstance(item.label, Instances):
            maps.append(item.label.ids)
        else:
            return []
    empty = [item for item, ids in zip(items, maps, strict=True) if not ids.any()]
    if len(empty) == len(items):
        raise ValueError(
            f'{place}: one class only: in none of {len(items)} images anything is labelled '
            f'(the first is {items[0].where}); nothing can be learned from that'
        )
    if all(ids.min() == ids.max() and ids.min() > 0 for ids in maps):
        raise ValueError(
            f'{place}: one class only: in all of {len(items)} images every pixel is the thing '
            f'(the first is {items[0].where}); nothing can be learned from that; is the '
            'background another value than 0?'
        )
    if not empty:
        return []
    names = ', '.join(item.name for item in empty[:3]) + (', ...' if len(empty) > 3 else '')
    return [
        f'{len(empty)} of {len(items)} images show nothing of what is labelled ({names}); that '
        'is right where it is not to be seen, and wrong where its label was forgotten.'
    ]


def _digest(kind: str, category: str, items: list[LabelledImage]) -> str:
    contents = (part for item in items for part in item.content)
    return files.sha256_of_parts([kind.encode(), category.encode(), *contents])


# A folder of images and labels.


_IMAGES, _LABELS = 'images', 'labels'
_ENDS = {
    'mask': ('.png',), 'instances': ('.png',), 'normals': ('.png', '.npy'),
    'depth': ('.png', '.npy'), 'rgb': IMAGE_SUFFIXES,
}  # fmt: skip


def _is_image_folder(place: Path) -> bool:
    if not (place / _IMAGES).is_dir() or not (place / _LABELS).is_dir():
        return False
    # Labels that are all JSON are those of LabelMe or COCO in a folder of their own.
    labels = files_in(place / _LABELS)
    return not labels or any(file.suffix.lower() != '.json' for file in labels)


def _read_folder(place: Path, query: LabelQuery) -> Found:
    shown = _by_name(place / _IMAGES, IMAGE_SUFFIXES, 'images')
    ends = _ENDS[query.kind]
    labels = _by_name(place / _LABELS, ends, f'labels of kind {query.kind}')
    for name, file in shown.items():
        if name not in labels:
            expected = ' or '.join(f'{_LABELS}/{name}{end}' for end in ends)
            raise FileNotFoundError(
                f'{file}: an image without a label; expected {expected}; draw it, or take the '
                'image out'
            )
    for name, file in labels.items():
        if name not in shown:
            raise ValueError(
                f'{file}: a label without an image; expected {_IMAGES}/{name}.png or .jpg; add '
                'it, or take the label out'
            )
    decoder, items = RasterDecoder(query.kind, query.category), []
    for name, file in shown.items():
        content, label_bytes = file.read_bytes(), labels[name].read_bytes()
        frame, where = Frame(decode.rgb(content, str(file))), str(labels[name])
        rgb = query.kind == 'rgb'
        array = decode.rgb(label_bytes, where) if rgb else decode.load_array(labels[name])
        check_sizes(frame.size, (*array.shape, 1, 1)[:2], str(file), where)
        label = decoder.label(array, where)
        items.append(LabelledImage(file.name, where, frame, label, (content, label_bytes)))
    return decoder.finish(items, str(place / _LABELS))


def _by_name(folder: Path, ends: tuple[str, ...], what: str) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for file in files_in(folder):
        if file.suffix.lower() not in ends:
            raise ValueError(
                f'{file}: expected {what}, which end in {", ".join(ends)}; save it as one, or '
                'take it out'
            )
        if file.stem in by_stem:
            raise ValueError(
                f'{file}: expected one file of each name, got {by_stem[file.stem].name} too; take '
                'one of them out'
            )
        by_stem[file.stem] = file
    return by_stem


# A bag of images and labels.


_WHOLE = ('mono8', '8UC1', 'mono16', '16UC1', '32SC1')
_COLORS = ('rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'rgb16', 'bgr16')
# Encodings of labels by their kind.
ENCODINGS = {
    'mask': _WHOLE, 'instances': _WHOLE, 'normals': ('32FC3',), 'depth': ('16UC1', '32FC1'),
    'rgb': _COLORS,
}  # fmt: skip


def bag_at(place: Path) -> Path | None:
    """The bag that a place is or holds; None if it is something else.

    Raises:
        ValueError: it is a folder of several bags.
    """
    if place.is_file():
        return place if place.name.removesuffix('.zstd').endswith(ENDS) else None
    try:
        bags = bags_in(place)
    except ValueError:
        return None
    if len(bags) > 1:
        raise ValueError(
            f'{place}: expected one bag, got {", ".join(path.name for path in bags)}; name one'
        )
    return bags[0]


def _read_bag(place: Path, query: LabelQuery) -> Found:
    """The labelled images of a bag, which belong to labels by their stamps.

    Images without a label with their stamp are left out and counted: usually a few images of a
    recording are labelled.
    """
    image_topic, label_topic = _topics(place, query)
    decoder = RasterDecoder(query.kind, query.category)
    labels: MessageCache[tuple[Label, bytes]] = MessageCache(capacity=None)
    unmatched = set[int]()
    for raw, message in read_messages(place, (label_topic,)):
        stamp, where = _stamp(raw, message, place), f'{place}: {label_topic}'
        if stamp in unmatched:
            raise ValueError(f'{where}: two labels have the stamp {_stamp_name(stamp)}')
        unmatched.add(stamp)
        where = f'{where} at {_stamp_name(stamp)}'
        label = decoder.label(_array(raw, message, query.kind, where), where)
        labels.add(stamp, (label, raw.data))
    items: dict[int, LabelledImage] = {}
    without, count = 0, len(unmatched)
    for raw, message in read_messages(place, (image_topic,)):
        stamp = _stamp(raw, message, place)
        matched = labels.exact(stamp)
        if matched is None:
            without += 1
            continue
        where = f'{place}: {image_topic} at {_stamp_name(stamp)}'
        if stamp in items:
            raise ValueError(f'{where}: two images have this stamp')
        try:
            frame = image_messages.frame_from(message)
        except MessageError as error:
            raise ValueError(f'{where}: {error}') from error
        label, data = matched
        source = f'{place}: {label_topic} at {_stamp_name(stamp)}'
        items[stamp] = LabelledImage(_stamp_name(stamp), source, frame, label, (raw.data, data))
        unmatched.discard(stamp)
    if unmatched:
        raise ValueError(
            f'{place}: {label_topic} at {_stamp_name(min(unmatched))} is a label without an '
            f'image: {image_topic} has none with this stamp ({len(unmatched)} of {count} labels); '
            'give a label the stamp of the image that it was made of'
        )
    left_out = (
        f'{without} of {without + len(items)} images of {image_topic} have no label with their '
        f'stamp on {label_topic} and are left out.'
    )
    notes = [left_out] if without else []
    labelled, more = decoder.finish(list(items.values()), f'{place}: {label_topic}')
    return labelled, [*notes, *more]


def _array(raw: RawMessage, message: Any, kind: str, where: str) -> NDArray[Any]:
    try:
        if kind == 'rgb':
            return image_messages.rgb_from(message)
        encoding = str(getattr(message, 'encoding', raw.msgtype))
        if encoding not in ENCODINGS[kind]:
            raise ValueError(
                f'{where}: expected {", ".join(ENCODINGS[kind])} for kind {kind}, got {encoding}'
            )
        return image_messages.array_from(message)
    except MessageError as error:
        raise ValueError(f'{where}: {error}') from error


def _topics(place: Path, query: LabelQuery) -> tuple[str, str]:
    """The topics of images and of labels."""
    with Bag(place) as bag:
        if bag.damage:
            raise ValueError(str(bag.damage))
        known = {name: t.msgtype for name, t in bag.topics.items() if t.msgtype in IMAGES}
    for topic in (query.image_topic, query.label_topic):
        if topic and topic not in known:
            raise ValueError(
                f'{place}: no topic {topic!r} with images; there are '
                f'{", ".join(sorted(known)) or "none"}'
            )
    encodings = {topic: 'compressed' for topic, kind in known.items() if kind == COMPRESSED}
    plain = tuple(topic for topic in known if topic not in encodings)
    for raw, message in read_messages(place, plain) if plain else ():
        encodings.setdefault(raw.topic, str(message.encoding))
        if len(encodings) == len(known):
            break
    listing = ', '.join(f'{topic} ({encodings.get(topic, "empty")})' for topic in sorted(known))
    colors = {topic for topic, name in encodings.items() if name in (*_COLORS, 'compressed')}
    images = {query.image_topic} if query.image_topic else colors - {query.label_topic}
    suits = {topic for topic, name in encodings.items() if name in ENCODINGS[query.kind]}
    labels = {query.label_topic} if query.label_topic else suits - {query.image_topic}
    if len(images) != 1:
        raise ValueError(_choice(place, 'images', 'image_topic', images, listing or 'none'))
    if len(labels) != 1 or labels == images:
        what = f'labels of kind {query.kind}'
        raise ValueError(_choice(place, what, 'label_topic', labels, listing))
    return images.pop(), labels.pop()


def _choice(place: Path, what: str, argument: str, found: set[str], listing: str) -> str:
    got = f'got {len(found)}: {", ".join(sorted(found))}' if found else 'got none'
    return (
        f'{place}: expected one topic of {what}, {got}; name it as {argument}; topics with '
        f'images: {listing}'
    )


def _stamp(raw: RawMessage, message: Any, place: Path) -> int:
    try:
        return stamp_of(message.header)
    except MessageError as error:
        raise ValueError(f'{place}: {raw.topic}: {error}') from error


def _stamp_name(stamp_ns: int) -> str:
    # Of one length, so that the order of names is that of time.
    seconds, rest = divmod(stamp_ns, NANO)
    return f'{seconds:010d}.{rest:09d}'
