# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Mutates files of every kind that the package reads, and checks what reading them does.

Laws: a reader returns, or raises ValueError or OSError (which commands print as one line) whose
message names the file; it takes less than SECONDS and GROWTH; it opens no file outside of the
folder that was named, starts nothing, connects to nothing and runs no code of the file; and a file
that was changed in a harmless way is read as before.

`python test/fuzzing.py --count 3000` is what CI runs, bench/fuzz.py runs more of it. A mutation
is made of seed, target and number alone, so `--target coco --first 17 --count 1` repeats one.
"""

import argparse
import contextlib
from dataclasses import asdict
import functools
import io
import json
import os
from pathlib import Path
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from types import SimpleNamespace
import warnings

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import cv2
import labelled_files
import numpy as np
from PIL import Image
import recordings
from safetensors.numpy import save_file
import torch
import yaml

from diception_ros.bag_replay import checkpoint, run
from diception_ros.bag_replay.job import Job
from diception_ros.bags import typestore
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import Definition
from diception_ros.core import adapter_card, images, settings
from diception_ros.core.frame import Frame
from diception_ros.core.labels import MetricDepth
from diception_ros.core.labels import io as label_io
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import decode, labelled, rgbd
from diception_ros.datasets import folder as sample_folder
from diception_ros.datasets.sample import Sample
from diception_ros.messages import compressed
from diception_ros.model import adapters, convert, sd3_folder, weights
from diception_ros.model import folder as model_folder
from diception_ros.model.text_embeddings import PromptTable
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import safe_load
from diception_ros.training import checkpoints
from diception_ros.training import settings as train_settings

SECONDS = 20  # of processor time, of one mutation
DEADLINE = 900  # of a batch: no machine is so slow, it hangs
GROWTH = 1 << 30  # bytes, of one process that reads a batch of mutations
BATCH = 100  # mutations that one process reads
SECRET = 'secret.png'  # lies outside of the folder that is named, and of the one above
# What stands in place of bytes, and of values of JSON and YAML.
NUMBERS = (0, 1, -1, 127, 255, 2**15, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63))
CODE = "__import__('os').system('touch ran')"
VALUES = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, -0.0, 0.5, 1e-300, 1e308, -1e308,
    float('nan'), float('inf'), '', 'x', 'mask', '0', '\0', '\ud800', 'ü', 'a/b', '..', '/', CODE,
    f'../../{SECRET}', f'..\\..\\{SECRET}', 'x' * 5000, [], [[]], [0], [1, 2],
    [1e300, 1e300], {}, {'a': 1}, [None],
)  # fmt: skip


# Mutations.


def mutated(name, content, rng):
    """Other content of a file."""
    text = name.endswith(('.json', '.yaml'))
    if text and rng.random() < 0.8:
        parse, write = (json.loads, json.dumps) if name.endswith('.json') else (
            yaml.safe_load, yaml.safe_dump)  # fmt: skip
        value = parse(content)
        for _ in range(int(rng.integers(1, 3))):
            value = changed(value, rng)
        with contextlib.suppress(UnicodeEncodeError, yaml.YAMLError):
            return write(value).encode()
    if name.endswith('.safetensors') and rng.random() < 0.7:
        begin = 8 + int.from_bytes(content[:8], 'little')
        header = changed(json.loads(content[8:begin]), rng)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, 'little') + text + content[begin:]
    return mutated_bytes(content, rng)


def changed(value, rng):
    """A value of JSON with one part replaced, removed, doubled or added."""
    if isinstance(value, list | dict) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        made = dict(value) if isinstance(value, dict) else list(value)
        kind = rng.random()
        if kind < 0.8:
            made[key] = changed(value[key], rng)
        elif kind < 0.9:
            del made[key]
        elif isinstance(made, list):
            made.insert(key, value[key])
        else:
            made[key] = value[keys[int(rng.integers(len(keys)))]]
        return made
    if isinstance(value, int | float) and rng.random() < 0.3:
        return value * float(rng.choice([-1, 10, 0.1, 1e9]))
    return VALUES[int(rng.integers(len(VALUES)))]


def mutated_bytes(content, rng):
    """Bytes with some changed, removed, doubled or inserted."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(made) + 1)) if rng.random() < 0.7 else int(
            rng.integers(min(len(made), 64) + 1))  # fmt: skip
        length = int(2 ** rng.uniform(0, 6))
        kind = int(rng.integers(8))
        if kind == 0 and at < len(made):
            made[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            made[at : at + length] = rng.bytes(len(made[at : at + length]))
        elif kind == 2:
            size, order = ((2, 4, 8)[int(rng.integers(3))], '<>'[int(rng.integers(2))])
            number = NUMBERS[int(rng.integers(len(NUMBERS)))] % 2 ** (8 * size)
            word = struct.pack(f'{order}{ {2: "H", 4: "I", 8: "Q"}[size] }', number)
            made[at : at + size] = word
        elif kind == 3:
            del made[at : at + length]
        elif kind == 4:
            made[at:at] = rng.bytes(length)
        elif kind == 5:
            made[at:at] = made[at : at + length]
        elif kind == 6:
            del made[at:]
        else:
            made[at : at + length] = (CODE + '\n')[:length].encode()
    return bytes(made)


# Targets: each writes a good input, reads one, and tells what was read.


class Target:
    """A kind of input.

    Attributes:
        name: of the target.
        make: writes a good input into a folder.
        read: reads it; what it returns is compared for harmless changes.
        harmless: changes a good input in the folder so that it means the same; None if unknown.
        share: how many mutations it gets, relative to the others.
    """

    def __init__(self, name, make, read, harmless=None, share=1.0):
        self.name, self.make, self.read = name, make, read
        self.harmless, self.share = harmless, share


def array(shape=(12, 16, 3), top=255, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def image_maker(suffix, mode='RGB', **options):
    def make(folder):
        pixels = array(top=200)
        if mode == 'L16':
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 9)
        else:
            image = Image.fromarray(pixels).convert(mode)
        image.save(folder / f'a{suffix}', **options)

    return make


def read_image(folder):
    (path,) = folder.iterdir()
    content = path.read_bytes()
    for reader in (images.read, lambda p: decode.rgb(content, str(p)), decode.load_array):
        with contextlib.suppress(ValueError):
            reader(path)
    message = SimpleNamespace(format='', data=np.frombuffer(content, np.uint8))
    for reader in (compressed.decode, compressed.decode_array, compressed.decode_depth):
        with contextlib.suppress(ValueError):
            reader(message)


def depth_maker(kind):
    def make(folder):
        depth = (array((12, 16), 250).astype(np.uint16) + 700) * (array((12, 16), 9) > 2)
        if kind == 'rvl':
            body = struct.pack('<ii', 16, 12) + rvl(depth)
        else:
            body = cv2.imencode('.png', depth)[1].tobytes()
        (folder / 'a.depth').write_bytes(struct.pack('<iff', 0, 100.0, 3.5) + body)

    return make


def rvl(depth):
    """Runs of zeros and differences in groups of four bits."""
    groups = []

    def put(number):
        while number > 7:
            groups.append(number & 7 | 8)
            number >>= 3
        groups.append(number)

    flat, previous, at = depth.ravel().tolist(), 0, 0
    while at < len(flat):
        for known in (False, True):
            end = at
            while end < len(flat) and (flat[end] > 0) == known:
                end += 1
            put(end - at)
            for value in flat[at:end] if known else ():
                difference = value - previous
                put(difference << 1 if difference >= 0 else (-difference << 1) - 1)
                previous = value
            at = end
    groups += [0] * (-len(groups) % 8)
    words = [sum(group << (28 - 4 * k) for k, group in enumerate(groups[at : at + 8]))
             for at in range(0, len(groups), 8)]  # fmt: skip
    return struct.pack(f'<{len(words)}I', *words)


def read_depth(folder):
    data = np.frombuffer((folder / 'a.depth').read_bytes(), np.uint8)
    for words in (
        '16UC1; compressedDepth',
        '32FC1; compressedDepth png',
        '16UC1; compressedDepth rvl',
    ):
        with contextlib.suppress(ValueError):
            compressed.decode_depth(SimpleNamespace(format=words, data=data))


def bag_maker(form):
    def make(folder):
        written = recordings.recorded(
            3, size=(6, 8), compressed=form in ('sqlite3', 'mcap-message')
        )
        recordings.write(folder / 'bag', written, form)

    return make


def foreign_bag(folder):
    """Images of Foxglove as JSON, IDL, ROS 1, and a topic of a type that nobody knows."""
    schema = json.dumps({'type': 'object'}).encode()
    idl = '=' * 80 + '\nIDL: acme_msgs/msg/Odd\nmodule acme_msgs { module msg { struct Odd { ' \
        'long a; sequence<octet> b; string c; }; }; };\n'  # fmt: skip
    ros1 = b'Header header\nuint32 n\nfloat64[3] v\n' + b'=' * 80 + (
        b'\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n')  # fmt: skip
    own = b'int8 K=3\nuint8[] a\nstring<=5 b "x"\nacme_msgs/Inner c\n' + b'=' * 80 + (
        b'\nMSG: acme_msgs/Inner\nbool[2] d\n')  # fmt: skip
    png = cv2.imencode('.png', array())[1].tobytes()
    told = {'timestamp': {'sec': 1, 'nsec': 2}, 'frame_id': 'c', 'format': 'png',
            'data': __import__('base64').b64encode(png).decode()}  # fmt: skip
    raw = {'timestamp': {'sec': 1, 'nsec': 2}, 'frame_id': 'c', 'height': 2, 'width': 2,
           'encoding': 'rgb8', 'step': 6, 'data': 'AAAAAAAAAAAAAAAA'}  # fmt: skip
    with Writer(folder / 'bag.mcap', compress=False) as writer:
        for topic, definition, data, encoding in (
            (
                '/json',
                Definition('foxglove.CompressedImage', 'jsonschema', schema),
                json.dumps(told).encode(),
                'json',
            ),
            (
                '/raw',
                Definition('foxglove.RawImage', 'jsonschema', schema),
                json.dumps(raw).encode(),
                'json',
            ),
            (
                '/idl',
                Definition('acme_msgs/msg/Odd', 'ros2idl', idl.encode()),
                b'\0\1\0\0\5\0\0\0\1\0\0\0\7\0\0\0\2\0\0\0c\0',
                'cdr',
            ),
            ('/old', Definition('acme_msgs/Old', 'ros1msg', ros1), bytes(12 + 4 + 4 + 24), 'ros1'),
            (
                '/own',
                Definition('acme_msgs/msg/Own', 'ros2msg', own),
                b'\0\1\0\0\2\0\0\0\1\2\0\0\2\0\0\0a\0\0\1',
                'cdr',
            ),
            ('/odd', Definition('acme.Unknown', 'flatbuffer', b'abc'), b'123', 'flatbuffer'),
        ):
            writer.add(topic, definition.name, definition, encoding=encoding)
            writer.write(topic, data, 10**9)
        writer.finish()


def read_bag(folder):
    (path,) = folder.iterdir()
    found = []
    with Bag(path) as bag:
        for raw in bag.messages():
            found.append((raw.topic, raw.stamp_ns, raw.data))
            for way in (typestore.decode, typestore.to_copy):
                try:
                    way(raw)
                except ValueError as error:
                    if 'damaged' in str(error):
                        raise AssertionError(f'called damaged: {error}') from error
        if bag.damage is None:
            return found
    raise ValueError(str(bag.damage))


def replay_bag(folder):
    """Through the replay, with a model that costs nothing."""
    (path,) = folder.iterdir()
    with tempfile.TemporaryDirectory() as out, Bag(path) as bag:
        job = Job(Path(out) / 'o.mcap', copy=True)
        found = run.replay(bag, recordings.perceiver(tasks=('depth',)), job)
        checkpoint.remove_files(job.out)
        return found.frames


def rewrite_bag(folder):
    """Beside other topics, of types and encodings that no ROS knows."""
    (path,) = folder.iterdir()
    messages = recordings.everything(path)
    with Bag(path) as bag:
        topics = dict(bag.topics)
    with Writer(path, compress=False) as writer:
        for topic in topics.values():
            writer.add(
                topic.name, topic.definition.name, topic.definition, encoding=topic.encoding
            )
        writer.add('/extra', 'x.Y', Definition('x.Y', 'omgidl', b'no { idl'), encoding='cbor')
        for topic, _, stamp, data in messages:
            writer.write(topic, data, stamp)
        writer.write('/extra', b'123', messages[-1][2])
        writer.finish()


def read_bag_without_extra(folder):
    return [one for one in read_bag(folder) if one[0] != '/extra']


def split_bag(folder):
    written = recordings.recorded(2, size=(6, 8))
    recordings.write(folder / 'bag', written, 'rosbags-mcap')


def coco_maker(how):
    def make(folder):
        labelled_files.write_coco(folder, how, 2)

    return make


def labelme(folder):
    labelled_files.write_labelme(folder / 'own', 'mask', 2)
    labelled_files.write_labelme(folder / 'more', 'rectangle', 1, embedded=True)
    for file in [*folder.glob('*/*')]:
        content = file.read_bytes()
        if file.parent.name == 'more':
            content = json.dumps({**json.loads(content), 'imagePath': ''}).encode()
        (folder / f'{file.parent.name}{file.name}').write_bytes(content)
        file.unlink()
    for file in folder.glob('own*.json'):
        content = {**json.loads(file.read_bytes()), 'imagePath': f'{file.stem}.png'}
        file.write_text(json.dumps(content))
    (folder / 'own').rmdir()
    (folder / 'more').rmdir()


def label_images(folder):
    labelled_files.write_folder(folder, labelled_files.ids, 2)


def label_arrays(folder):
    labelled_files.write_folder(
        folder, lambda k: labelled_files.ids(k).astype(np.float32) / 2 + 1, 2, '.npy'
    )


def read_labels(kind, category=''):
    def read(folder):
        items = labelled.read(folder, kind, 'own', category=category).samples
        return [getattr(one.label, 'ids', getattr(one.label, 'values', None)).tolist()
                for one in items]  # fmt: skip

    return read


def add_unknown_keys(folder):
    """Keys that no reader knows, and other white space."""
    for file in folder.glob('*.json'):
        content = json.loads(file.read_bytes())
        content['x_unknown'] = [{'a': None}]
        for value in content.values():
            for entry in value if isinstance(value, list) else ():
                if isinstance(entry, dict):
                    entry['x_unknown'] = {'b': [1, 2.5, 'damaged']}
        file.write_text(json.dumps(content, indent=3) + '\n\n')


def rgbd_frames(folder):
    (folder / 'rgb').mkdir()
    (folder / 'depth').mkdir()
    Image.fromarray(array()).save(folder / 'rgb/a.png')
    Image.fromarray(array((12, 16)).astype(np.uint16) + 500).save(folder / 'depth/a.png')
    Image.fromarray(array()).save(folder / 'rgb/b.jpg')
    np.save(folder / 'depth/b.npy', array((12, 16)).astype(np.float32) + 1)
    (folder / 'meta.json').write_text(json.dumps({'intrinsics': [9.0, 9.0, 8.0, 6.0]}))


def read_rgbd(folder):
    return [
        frame.depth.values.tolist()
        for source in rgbd.find_sources(folder)
        for frame in source.read()
    ]


def samples(folder):
    sample_folder.create(folder)
    depth = MetricDepth(array((12, 16)).astype(np.float32) + 1)
    sample_folder.write(folder, 0, [Sample(Frame(array()), Prompt('depth'), depth, name='a')])


def read_samples(folder):
    return [sample.label.values.tolist() for sample in sample_folder.read(folder)]


def label_file(folder):
    label_io.save_npz(MetricDepth(array((12, 16)).astype(np.float32) + 1), folder / 'a.npz')


def model(folder):
    """Configurations and tables of a model folder; no weights, which are not read here."""
    builtin = model_folder.resolve('builtin')
    for file in builtin.glob('**/*.json'):
        (folder / file.relative_to(builtin)).parent.mkdir(exist_ok=True)
        (folder / file.relative_to(builtin)).write_bytes(file.read_bytes())
    table = {'tokens': np.ones((2, 3, 4), np.float32), 'pooled': np.ones((2, 5), np.float32)}
    about = {'format': 'diception_ros prompt table 1', 'texts': ['a', 'b']}
    save_file(table, folder / 'prompt_embeddings.safetensors', {'table': json.dumps(about)})
    for config in folder.glob('*/config.json'):
        save_file({'a': np.ones((2, 3), np.float32)}, config.parent / 'x.safetensors')
    card = adapter_card.Card('floor', 'floor', 'mask', 'builtin', '0' * 64, 4, 100, 0.01)
    card.write(folder)
    save_file({'a': np.ones((2, 3), np.float32)}, folder / 'adapter.safetensors')


def read_tensors(folder):
    """Without the library of safetensors."""
    for file in folder.rglob('*.safetensors'):
        with contextlib.suppress(ValueError, OSError):
            weights.read_metadata(file)
            for place in weights.tensor_places(file).values():
                with contextlib.suppress(ValueError):
                    weights.read_array(place)
    weights.layout_hash(folder)


def read_model(folder):
    for reader in (
        model_folder.check_folder,
        model_folder.fingerprint,
        read_tensors,
        adapter_card.read,
        lambda place: adapters.read(str(place / 'adapter.safetensors')),
        lambda place: sd3_folder.weight_files(place / 'transformer'),
        lambda place: [PromptTable.load(place / 'prompt_embeddings.safetensors')[text]
                       for text in 'ab'],
    ):  # fmt: skip
        with contextlib.suppress(ValueError, OSError):
            reader(folder)


def checkpoint_files(folder):
    """An official checkpoint, and the state of a training run."""
    torch.save({'a': torch.ones(2, 3), 'b': {'c': 1.5}}, folder / 'a.pth')
    state = checkpoints.TrainState(3, {}, torch.zeros(4, dtype=torch.uint8), 1)
    (folder / 'run').mkdir()
    torch.save({'format': checkpoints._FORMAT, **state._asdict()}, folder / 'run/state.pt')


def read_checkpoint_files(folder):
    for reader, path in ((convert._load, 'a.pth'), (checkpoints.load, 'run')):
        with contextlib.suppress(ValueError, OSError):
            reader(folder / path)


def training(folder):
    values = settings_of_training()
    (folder / 'a.yaml').write_text(yaml.safe_dump(values, sort_keys=False))


def settings_of_training():
    return json.loads(json.dumps(asdict(train_settings.TrainSettings(resolution=64))))


def parameters(folder):
    groups = {
        kind.__name__: {name: list(value) if isinstance(value, tuple) else value
                        for name, value in settings.values(kind()).items()}
        for kind in (NodeSettings, PerceptionSettings)
    }  # fmt: skip
    (folder / 'a.yaml').write_text(yaml.safe_dump(groups))


def read_parameters(folder):
    groups = safe_load.yaml_file(folder / 'a.yaml')
    for kind in (NodeSettings, PerceptionSettings):
        values = groups.get(kind.__name__) if isinstance(groups, dict) else None
        if isinstance(values, dict):
            with contextlib.suppress(ValueError):
                settings.changed(kind(), {str(name): value for name, value in values.items()})


TARGETS = [
    *(Target(f'image {suffix[1:]} {mode}', image_maker(suffix, mode, **options), read_image)
      for suffix, mode, options in (
          ('.jpg', 'RGB', {}), ('.jpg', 'L', {'progressive': True}), ('.png', 'RGB', {}),
          ('.png', 'P', {}), ('.png', 'L16', {}), ('.webp', 'RGB', {}), ('.tif', 'RGB', {}),
          ('.tif', 'RGB', {'compression': 'tiff_lzw'}), ('.bmp', 'RGB', {}))),
    Target('depth png', depth_maker('png'), read_depth),
    Target('depth rvl', depth_maker('rvl'), read_depth),
    *(Target(f'bag {form}', bag_maker(form), read_bag, share=1.5) for form in (
        'mcap', 'sqlite3', 'sqlite3-message', 'sqlite3-file', 'mcap-message', 'ros1', 'ros1-bz2')),
    Target('bag mcap-plain', bag_maker('mcap-plain'), read_bag_without_extra, rewrite_bag, 2),
    Target('bag foreign', foreign_bag, read_bag_without_extra, rewrite_bag, 3),
    Target('bag split', split_bag, read_bag, share=1.5),
    Target('replay mcap', bag_maker('mcap-plain'), replay_bag, rewrite_bag, 0.5),
    Target('replay ros1', bag_maker('ros1'), replay_bag, share=0.3),
    *(Target(f'coco {how}', coco_maker(how), read_labels('instances', '*'), add_unknown_keys, 2)
      for how in ('polygon', 'runs', 'packed')),
    Target('labelme', labelme, read_labels('instances', '*'), add_unknown_keys, 3),
    Target('label images', label_images, read_labels('instances')),
    Target('label arrays', label_arrays, read_labels('depth')),
    Target('rgbd', rgbd_frames, read_rgbd, add_unknown_keys),
    Target('samples', samples, read_samples, add_unknown_keys, 1.5),
    Target('label file', label_file, lambda place: label_io.load_npz(place / 'a.npz')),
    Target('model', model, read_model, share=3),
    Target('checkpoints', checkpoint_files, read_checkpoint_files),
    Target('training', training, lambda place: train_settings.read(place / 'a.yaml'), share=1.5),
    Target('parameters', parameters, read_parameters, share=1.5),
]  # fmt: skip


# Running.


class _Watch:
    """Notes where a reader opens what was not named, or starts or connects to anything.

    Attributes:
        place: the folder that was named; '' while nothing is watched.
        found: what was seen.
    """

    FORBIDDEN = ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork',
                 'socket.connect')  # fmt: skip

    def __init__(self):
        self.place, self.found = '', []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if not self.place:
            return
        if event == 'open' and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            # Python's own files, such as modules; and temporary folders of this process.
            above, root = (str(folder) for folder in Path(self.place).parents[:2])
            outside = path.startswith(f'{root}/') and not path.startswith(f'{above}/')
            temporary = path.startswith(f'{tempfile.gettempdir()}/')
            if outside or (writes and not temporary and path != os.devnull):
                self.found.append(f'{"writes" if writes else "reads"} {path}')
        elif event in self.FORBIDDEN:
            self.found.append(f'{event} {str(arguments)[:200]}')


class _Hang(BaseException):
    pass


def _alarm(*_):
    raise _Hang


def _trace():
    return traceback.format_exc()[-1500:]


def read_one(target, place, watch):
    """What a reader returned, and what it broke: '' if nothing."""
    began, result = time.process_time(), None
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    watch.place, watch.found = str(place), []
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            result = target.read(place)
    except (ValueError, OSError) as error:
        result = error
        if str(place) not in str(error):
            return None, f'the error names no file: {_trace()}'
    except _Hang:
        return None, f'hangs for {time.process_time() - began:.1f} s: {_trace()}'
    except BaseException:
        return None, _trace()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch.place = ''
    if watch.found:
        return result, watch.found[0]
    return result, 'code of the file ran' if (place / 'ran').exists() else ''


def batch(target, seed, numbers):
    """Faults of some mutations, as (number, words); runs in a process of its own."""
    signal.signal(signal.SIGPROF, _alarm)
    watch, faults = _Watch(), []
    with tempfile.TemporaryDirectory(prefix='diception_fuzz_') as root:
        place = Path(root).resolve() / 'above' / 'named'
        place.mkdir(parents=True)
        Image.fromarray(array()).save(place.parents[1] / SECRET)
        try:
            target.make(place)
        except Exception:
            return [(-1, f'no good input: {_trace()}')]
        os.chdir(place)
        good = {path: path.read_bytes() for path in sorted(place.rglob('*')) if path.is_file()}
        result, words = read_one(target, place, watch)
        if words or isinstance(result, Exception):
            return [(-1, f'the good input: {words or result}')]
        if target.harmless is not None:
            target.harmless(place)
            again, words = read_one(target, place, watch)
            if words or repr(again) != repr(result):
                faults.append((-1, f'after a harmless change: {words or again!r:.500}'))
            restore(place, good)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in numbers:
            key = [seed, *target.name.encode(), number]
            rng = np.random.default_rng(key)
            path = list(good)[int(rng.integers(len(good)))]
            path.write_bytes(mutated(path.name, good[path], rng))
            _, words = read_one(target, place, watch)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if not words and grown > GROWTH:
                words, before = f'takes {grown} bytes', before + grown // 1024
            if words:
                faults.append((number, words))
            restore(place, good)
    return faults


def restore(place, good):
    """Make the folder that of the good input."""
    for path in [*place.rglob('*')]:
        if path.is_file() and path not in good:
            path.unlink()
    for path, content in good.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def in_child(target, seed, numbers):
    """`batch` in a child process: a crash or a hang of a library is a fault, too."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(write, 'w') as out:
                json.dump(batch(target, seed, numbers), out)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    os.close(write)
    with os.fdopen(read) as got:
        # Python handles the alarm of a mutation only between two of its own instructions.
        ready, _, _ = select.select([got], [], [], DEADLINE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        text = got.read() if ready else ''
    _, status = os.waitpid(child, 0)
    if status == 0 and text:
        return [tuple(one) for one in json.loads(text)]
    if len(numbers) == 1:
        return [(numbers[0], f'the process ended with status {status}, or hung')]
    middle = len(numbers) // 2  # which of them?
    return in_child(target, seed, numbers[:middle]) + in_child(target, seed, numbers[middle:])


def counts(total):
    """Mutations of each target, by their shares."""
    whole = sum(target.share for target in TARGETS)
    return {target.name: max(1, round(total * target.share / whole)) for target in TARGETS}


def fuzz(seed=0, count=3000, names=(), first=0, report=lambda line: None):
    """Run mutations; returns their number and the faults as (target, number, words)."""
    done, faults = 0, []
    for target in TARGETS:
        if names and target.name not in names:
            continue
        many = count if names else counts(count)[target.name]
        began, found = time.monotonic(), []
        for at in range(first, first + many, BATCH):
            found += in_child(target, seed, list(range(at, min(at + BATCH, first + many))))
        done += many
        faults += [(target.name, number, words) for number, words in found]
        report(f'{target.name}: {many} in {time.monotonic() - began:.1f} s, {len(found)} faults')
    return done, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--count', type=int, default=3000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--target', action='append', default=[])
    args = parser.parse_args()
    cv2.setNumThreads(0)
    report = functools.partial(print, flush=True)
    done, faults = fuzz(args.seed, args.count, args.target, args.first, report)
    for name, number, words in faults:
        print(f'\n{name}, seed {args.seed}, number {number}:\n{words}')
    print(f'{done} mutations, {len(faults)} faults')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
