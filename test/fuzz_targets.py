# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is mutated: each target writes a good input, reads one, and returns what was read."""

import contextlib
from dataclasses import asdict
import json
import os
from pathlib import Path
import struct
import tempfile
from types import SimpleNamespace

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
from diception_ros.bag_replay.run import Job
from diception_ros.bags import typestore
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import Definition
from diception_ros.core import adapter_card, images, settings
from diception_ros.core.frame import Frame
from diception_ros.core.labels import MetricDepth, load_npz, save_npz
from diception_ros.core.prompt import Prompt
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.datasets import decode, labelled, rgbd
from diception_ros.datasets.sample import Sample, create_folder, read_folder, write_frame
from diception_ros.messages import compressed
from diception_ros.model import adapters, backend, convert, sd3_folder, weights
from diception_ros.model import folder as model_folder
from diception_ros.model.onnx_backend import OnnxBackend
from diception_ros.model.text_embeddings import PromptTable
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import safe_load
from diception_ros.training import checkpoints
from diception_ros.training import settings as train_settings


class Target:
    """A kind of input.

    Attributes:
        name: of the target.
        make: writes a good input into a folder.
        read: reads it; what it returns is compared for harmless changes.
        harmless: changes a good input in the folder so that it means the same; None if unknown.
        share: how many mutations it gets, relative to the others.
        files: pattern of the files that are mutated.
    """

    def __init__(self, name, make, read, harmless=None, share=1.0, files='*'):
        self.name, self.make, self.read = name, make, read
        self.harmless, self.share, self.files = harmless, share, files


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
    image_fields = {'timestamp': {'sec': 1, 'nsec': 2}, 'frame_id': 'c', 'format': 'png',
            'data': __import__('base64').b64encode(png).decode()}  # fmt: skip
    raw = {'timestamp': {'sec': 1, 'nsec': 2}, 'frame_id': 'c', 'height': 2, 'width': 2,
           'encoding': 'rgb8', 'step': 6, 'data': 'AAAAAAAAAAAAAAAA'}  # fmt: skip
    with Writer(folder / 'bag.mcap', compress=False) as writer:
        for topic, definition, data, encoding in (
            (
                '/json',
                Definition('foxglove.CompressedImage', 'jsonschema', schema),
                json.dumps(image_fields).encode(),
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
    create_folder(folder)
    depth = MetricDepth(array((12, 16)).astype(np.float32) + 1)
    write_frame(folder, 0, [Sample(Frame(array()), Prompt('depth'), depth, name='a')])


def read_samples(folder):
    return [sample.label.values.tolist() for sample in read_folder(folder)]


def label_file(folder):
    save_npz(MetricDepth(array((12, 16)).astype(np.float32) + 1), folder / 'a.npz')


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


def graphs(folder):
    """The built-in model with its ONNX graphs."""
    builtin = model_folder.resolve('builtin')
    for file in filter(Path.is_file, builtin.rglob('*')):
        place = folder / file.relative_to(builtin)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(file.read_bytes())


def read_graphs(folder):
    """Loads the graphs and predicts an image of 32x32."""
    compute = ComputeSettings(threads=1, backend='onnx')
    backend.choose(folder, compute)
    model = OnnxBackend(folder, compute)
    latents = model.encode([np.zeros((64, 64, 3), np.uint8)])
    once = PredictSettings(num_inference_steps=1, guidance_scale=1.0)
    return model.decode_latents(model.denoise(latents, [''], [[]], [0], once, '')).tolist()


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
    Target('label file', label_file, lambda place: load_npz(place / 'a.npz')),
    Target('model', model, read_model, share=3),
    Target('graphs', graphs, read_graphs, share=0.5, files='*onnx*'),
    Target('checkpoints', checkpoint_files, read_checkpoint_files),
    Target('training', training, lambda place: train_settings.read(place / 'a.yaml'), share=1.5),
    Target('parameters', parameters, read_parameters, share=1.5),
]  # fmt: skip
