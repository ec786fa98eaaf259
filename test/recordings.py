# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that tests write, in every format, and a model that costs nothing. No torch."""

from pathlib import Path
import shutil
import time
from types import SimpleNamespace
import zlib

import cv2
import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from task_examples import example

from diception_ros import tasks
from diception_ros.bags.channels import qos_to_text
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.typestore import TYPES, BagTypes, definition_of
from diception_ros.core import settings
from diception_ros.core.frame import Intrinsics
from diception_ros.core.images import ResizeTransform
from diception_ros.messages import camera_info, make_header
from diception_ros.messages import images as image_messages
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.settings import PerceptionSettings

MAKE = BagTypes()
BEGIN = 1_700_000_000_000_000_000
SIZE = (24, 32)
PINHOLE = Intrinsics(30.0, 31.0, 15.5, 11.0)
# Log times are a little later than stamps, as in every real bag.
LATE = 3_000_000
FORMATS = ('mcap', 'mcap-plain', 'rosbags-mcap', 'sqlite3', 'sqlite3-file', 'sqlite3-message',
           'mcap-message', 'ros1', 'ros1-bz2', 'split')  # fmt: skip


def image(k, size=SIZE):
    """Of a frame: smooth, and another for each k."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    shades = [(rows * 5 + 3 * k) % 256, (columns * 4 + 7 * k) % 256, (rows + columns + k) % 256]
    return np.stack(shades, axis=-1).astype(np.uint8)


def recorded(
    count, topic='/camera/image_raw', period_s=0.1, info=True, compressed=False, size=SIZE
):
    """(topic, message, log time) of a camera, as drivers publish: the image before its info."""
    place = topic.removesuffix('/compressed').rpartition('/')[0]
    for k in range(count):
        stamp = BEGIN + round(k * period_s * 1e9)
        header = make_header(MAKE, stamp, 'cam')
        if compressed:
            data = cv2.imencode('.png', image(k, size)[..., ::-1])[1].reshape(-1)
            message = MAKE.make('sensor_msgs/msg/CompressedImage', header=header,
                                format='rgb8; png compressed bgr8', data=data)  # fmt: skip
        else:
            message = image_messages.image(MAKE, image(k, size), 'rgb8', header)
        yield topic, message, stamp + LATE
        if info:
            yield (
                f'{place}/camera_info',
                camera_info.info(MAKE, PINHOLE, size, header),
                stamp + LATE + 1000,
            )
        text = MAKE.make('std_msgs/msg/String', data=f'frame {k}')
        yield '/words', text, stamp + LATE + 2000


def write(path, messages, form='mcap'):
    """Write a bag in one of FORMATS; returns where it is."""
    messages = list(messages)
    if form in ('mcap', 'mcap-plain'):
        path = path.with_suffix('.mcap')
        with Writer(path, compress=form == 'mcap') as writer:
            for k, (topic, message, stamp) in enumerate(messages):
                kind = message.__msgtype__
                writer.add(topic, kind, definition_of(TYPES, kind))
                writer.write(topic, TYPES.serialize_cdr(message, kind), stamp)
                if k % 7 == 6:
                    writer.flush()
            writer.finish()
        return path
    if form.startswith('ros1'):
        return _ros1(path.with_suffix('.bag'), messages, form == 'ros1-bz2')
    if form == 'split':
        return _split(path, messages)
    mcap = 'mcap' in form
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    writer = Writer2(path, version=9 if mcap else 8, storage_plugin=plugin)
    mode = {'file': CompressionMode.FILE, 'message': CompressionMode.MESSAGE}
    if form.rpartition('-')[2] in mode:
        writer.set_compression(mode[form.rpartition('-')[2]], CompressionFormat.ZSTD)
    with writer:
        known = {}
        for topic, message, stamp in messages:
            kind = message.__msgtype__
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(known[topic], stamp, TYPES.serialize_cdr(message, kind))
    return path


def offered(path, form, offers):
    """A bag with a message of each topic, and one of the first a second later."""
    kind = 'std_msgs/msg/String'
    first = next(iter(offers))
    text = MAKE.make(kind, data='a')
    data = TYPES.serialize_cdr(text, kind)
    if form == 'own':
        with Writer(path) as writer:
            for topic, each in offers.items():
                writer.add(topic, kind, definition_of(TYPES, kind), qos_to_text(*each))
                writer.write(topic, data, BEGIN)
            writer.write(first, data, BEGIN + 10**9)
            writer.finish()
        return path
    plugin = StoragePlugin.MCAP if form == 'mcap' else StoragePlugin.SQLITE3
    known_first = None
    endless = QosTime(9223372036, 854775807)
    with Writer2(path, version=9 if form == 'mcap' else 8, storage_plugin=plugin) as writer:
        for topic, each in offers.items():
            profiles = [
                Qos(
                    QosHistory.KEEP_LAST, one.depth,
                    QosReliability.RELIABLE if one.reliable else QosReliability.BEST_EFFORT,
                    QosDurability.TRANSIENT_LOCAL if one.latched else QosDurability.VOLATILE,
                    endless, endless, QosLiveliness.AUTOMATIC, endless, False,
                )
                for one in each
            ]  # fmt: skip
            known = writer.add_connection(
                topic, kind, typestore=TYPES, offered_qos_profiles=profiles
            )
            writer.write(known, BEGIN, data)
            known_first = known if topic == first else known_first
        writer.write(known_first, BEGIN + 10**9, data)
    return path


def _split(path, messages):
    """Three files, of which metadata.yaml says nothing; the last is bag_10."""
    path.mkdir()
    third = len(messages) // 3 + 1
    for k, number in enumerate((1, 2, 10)):
        made = write(path.parent / f'{path.name}_part', messages[k * third : (k + 1) * third])
        shutil.move(made, path / f'bag_{number}.mcap')
    return path


def _ros1(path, messages, bz2):
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if bz2:
        writer.set_compression(Writer1.CompressionFormat.BZ2)
    known = {}
    with writer:
        for topic, message, stamp in messages:
            kind = message.__msgtype__
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], stamp, store.serialize_ros1(_old(store, message), kind))
    return path


def _old(store, message):
    """A message of ROS 2 as one of ROS 1."""
    if isinstance(message, list):
        return [_old(store, one) for one in message]
    kind = getattr(message, '__msgtype__', None)
    if kind is None:
        return message
    made = store.types[kind]
    values = {name: _old(store, getattr(message, name.lower(), 0)) for name in made.__annotations__
              if not name.startswith('__')}  # fmt: skip
    return made(**values)


class Cheap:
    """Answers as `Predictor` does, with examples of the tasks that the image draws.

    Args:
        seconds: that each call takes.
    """

    resolution = 32

    def __init__(self, seconds=0.0):
        self.seconds, self.calls, self.tasks = seconds, [], tasks.BUILTIN

    def check(self, prompts, settings, adapters=()):
        pass

    def infer(self, frames, prompts, settings, at_model_size=False):
        self.calls.append(len(prompts))
        time.sleep(self.seconds)
        return [
            SimpleNamespace(
                label=prediction(frame, prompt, self.tasks, at_model_size), prompt=prompt,
                stamp_ns=frame.stamp_ns, frame_id=frame.frame_id, uncertainty=None,
                seconds=dict.fromkeys(('fit', 'encode', 'denoise', 'decode', 'read'), 0.001),
            )
            for frame, prompt in zip(frames, prompts, strict=True)
        ]  # fmt: skip


def prediction(frame, prompt, registry=tasks.BUILTIN, at_model_size=False):
    """The example of the task that the image draws."""
    task, side = registry.get(prompt.task), 32
    rng = np.random.default_rng(zlib.crc32(frame.image.tobytes()))
    label = example(task, rng, side)
    if task.takes_category:
        label = task.decode(task.encode(label), prompt)
    return label if at_model_size else label.to_image_size(ResizeTransform(frame.size, side))


def asked(**changes):
    quick = PerceptionSettings(tasks=('depth', 'entity'))
    return settings.changed(quick, {k.replace('__', '.'): v for k, v in changes.items()})


def perceiver(seconds=0.0, **changes):
    return Perceiver(Cheap(seconds), MAKE, asked(**changes))


def everything(path):
    """(topic, kind, log time, data) of all messages of a bag."""
    from diception_ros.bags.reader import Bag

    with Bag(Path(path)) as bag:
        return [(raw.topic, raw.msgtype, raw.stamp_ns, raw.data) for raw in bag.messages()]
