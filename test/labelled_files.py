# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same labels, written as each labelling tool writes them."""

import base64
import io
import json

import numpy as np
from PIL import Image

from diception_ros.bags import mcap_writer, typestore
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header

SIZE = (20, 30)
COUNT = 9
MAKE = typestore.BagTypes()
BEGIN = 1_700_000_000_000_000_000


def rgb_array(k, size=SIZE):
    rng = np.random.default_rng(k)
    return rng.integers(0, 256, (*size, 3), np.uint8)


def boxes(k):
    """Two boxes an image, x0, y0, x1, y1; of a cup, and of a box that it stands in front of."""
    return [(3 + k, 4, 9 + k, 12), (6, 8, 28, 18)]


NAMES = ('cup', 'box')


def ids(k, size=SIZE):
    """(H, W) uint8: 1 the cup, 2 the box; the cup, which is smaller, in front."""
    out = np.zeros(size, np.uint8)
    for number in (2, 1):
        x0, y0, x1, y1 = boxes(k)[number - 1]
        out[y0:y1, x0:x1] = number
    return out


def mask(k, number=1):
    """(H, W) bool: the whole box of a thing, hidden or not."""
    x0, y0, x1, y1 = boxes(k)[number - 1]
    out = np.zeros(SIZE, np.bool_)
    out[y0:y1, x0:x1] = True
    return out


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    if mode == 'P':
        image = Image.new('P', array.shape[::-1])
        # Colours that are not their numbers.
        image.putpalette(bytes((37 * i + c) % 256 for i in range(256) for c in range(3)))
        image.putdata(array.ravel().tolist())
    elif mode == '1':
        image = Image.fromarray(array.astype(bool))
    image.save(path, **options)


def png(array):
    data = io.BytesIO()
    Image.fromarray(array).save(data, 'PNG')
    return data.getvalue()


def write_folder(place, labels, count=COUNT, end='.png'):
    """`labels(k)` makes the array of image k."""
    for folder in ('images', 'labels'):
        (place / folder).mkdir(parents=True)
    for k in range(count):
        save(place / f'images/{k:03d}.png', rgb_array(k))
        if end == '.npy':
            np.save(place / f'labels/{k:03d}.npy', labels(k))
        else:
            save(place / f'labels/{k:03d}{end}', labels(k))
    return place


def corners(box):
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def runs(values):
    """COCO's run lengths, by another way than the code's: letter by letter."""
    flat = values.T.ravel().tolist()
    out, last, length = [], False, 0
    for value in flat:
        if value != last:
            out.append(length)
            last, length = value, 0
        length += 1
    return [*out, length]


def write_coco(place, how='polygon', count=COUNT, folder='.'):
    """`how`: polygon, runs, or packed (needs pycocotools)."""
    (place / folder).mkdir(parents=True, exist_ok=True)
    content = {
        'images': [],
        'annotations': [],
        'categories': [
            {'id': 7, 'name': 'cup'},
            {'id': 3, 'name': 'box'},
            {'id': 0, 'name': 'all'},
        ],
    }
    for k in range(count):
        save(place / folder / f'{k:03d}.png', rgb_array(k))
        content['images'].append(
            {'id': 100 + k, 'file_name': f'{k:03d}.png', 'height': SIZE[0], 'width': SIZE[1]}
        )
        for number, box in enumerate(boxes(k), 1):
            if how == 'polygon':
                segmentation = [[float(v) for corner in corners(box) for v in corner]]
            elif how == 'runs':
                segmentation = {'size': list(SIZE), 'counts': runs(mask(k, number))}
            else:
                from pycocotools import mask as coco_mask

                segmentation = coco_mask.encode(
                    np.asfortranarray(mask(k, number).astype(np.uint8))
                )
                segmentation['counts'] = segmentation['counts'].decode()
            content['annotations'].append(
                {
                    'id': 10 * k + number,
                    'image_id': 100 + k,
                    'category_id': {1: 7, 2: 3}[number],
                    'segmentation': segmentation,
                    'iscrowd': 0,
                }
            )
    file = place / 'labels.json'
    file.write_text(json.dumps(content))
    return file


JOINTS = np.array([[5 + k % 5 * 4, 2 + k // 5 * 5] for k in range(17)])
SPLIT = 'val2017'


def coco_person(k, **change):
    seen = [2] * 17 if k % 3 else [0, 1] + [2] * 15
    points = np.column_stack([JOINTS + np.array([k % 3, 0]), seen])
    points[points[:, 2] == 0] = 0
    return {
        'id': 1000 + k, 'image_id': 100 + k, 'category_id': 1, 'iscrowd': 0, 'area': 300.0,
        'bbox': [4, 1, 24, 18], 'num_keypoints': 16, 'keypoints': points.ravel().tolist(),
        **change,
    }  # fmt: skip


def write_coco_set(place, people=True, how='polygon', count=4):
    file = write_coco(place, how, count, SPLIT)
    (place / 'annotations').mkdir()
    content = json.loads(file.read_text())
    file.unlink()
    (place / f'annotations/instances_{SPLIT}.json').write_text(json.dumps(content))
    (place / 'annotations/captions_val2017.json').write_text('{}')
    if people:
        content['annotations'] = [coco_person(k) for k in range(count - 1)]
        content['annotations'].append(
            coco_person(count - 1, iscrowd=1, keypoints=[0] * 51, num_keypoints=0)
        )
        content['categories'] = [{'id': 1, 'name': 'person'}]
        (place / f'annotations/person_keypoints_{SPLIT}.json').write_text(json.dumps(content))
    return place


def shape(label, kind, points, group=None, **more):
    return {'label': label, 'shape_type': kind, 'points': points, 'group_id': group, **more}


def shapes(k, how):
    made = []
    for number, (x0, y0, x1, y1) in enumerate(boxes(k), 1):
        name = NAMES[number - 1]
        if how == 'rectangle':
            made.append(shape(name, how, [[x1, y0], [x0, y1]]))
        elif how == 'polygon':
            made.append(shape(name, how, corners((x0, y0, x1, y1))))
        elif how == 'halves':
            middle = (x0 + x1) // 2
            made.append(shape(name, 'rectangle', [[x0, y0], [middle, y1]], group=5))
            made.append(shape(name, 'polygon', corners((middle, y0, x1, y1)), group=5))
        else:
            part = png(np.full((y1 - y0, x1 - x0), 255, np.uint8))
            encoded = base64.b64encode(part).decode()
            made.append(shape(name, 'mask', [[x0, y0], [x1 - 1, y1 - 1]], mask=encoded))
    return made


def write_labelme(place, how='rectangle', count=COUNT, embedded=False):
    place.mkdir(parents=True)
    for k in range(count):
        data = png(rgb_array(k))
        if not embedded:
            (place / f'{k:03d}.png').write_bytes(data)
        content = {
            'version': '5.3.1',
            'shapes': shapes(k, how),
            'imagePath': f'..\\elsewhere\\{k:03d}.png',
            'imageData': base64.b64encode(data).decode() if embedded else None,
            'imageHeight': SIZE[0],
            'imageWidth': SIZE[1],
        }
        (place / f'{k:03d}.json').write_text(json.dumps(content))
    return place


def header(k):
    return make_header(MAKE, BEGIN + k * 100_000_000, 'cam')


def write_bag(path, labels, encoding='mono8', count=COUNT, image='/camera/image_raw', more=()):
    """Labels have the stamps of their images, and come in later, as from a node."""
    with mcap_writer.create(path) as writer:
        for k in range(count):
            message = image_messages.image(MAKE, rgb_array(k), 'rgb8', header(k))
            writer.write_message(image, message, BEGIN + k * 100_000_000)
        for k in range(count):
            message = image_messages.image(MAKE, labels(k), encoding, header(k))
            writer.write_message('/labels', message, BEGIN + (k + count) * 100_000_000)
        for topic, message in more:
            writer.write_message(topic, message, BEGIN)
    return path
