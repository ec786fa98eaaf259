# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that other tools write: whole ones are not called damaged, every topic is named."""

import base64
import bz2
import contextlib
import json
import shutil
import sqlite3
import struct

import lz4.frame
import numpy as np
import pytest
import recordings
from recordings import BEGIN, MAKE, recorded
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags import channels
from diception_ros.bags.channels import zstd
from diception_ros.bags.frames import choose
from diception_ros.bags.mcap_writer import MAGIC, PREFIX, Writer
from diception_ros.bags.reader import Bag, bags_in
from diception_ros.bags.typestore import TYPES, Definition, definition_of, to_copy
from diception_ros.messages import camera_info, make_header, stamp_of
from diception_ros.messages import images as image_messages

IMAGE = 'sensor_msgs/msg/Image'
ROS1 = get_typestore(Stores.ROS1_NOETIC)
RULE = '=' * 80 + '\n'


def text(words):
    return struct.pack('<I', len(words)) + words


def record(code, data):
    return PREFIX.pack(code, len(data)) + data


def mcap(path, messages, profile=b'', packed=None, size=None):
    """An MCAP file without an index. Messages: topic, Definition, encoding, log time, data.

    `packed`: name and content of a chunk with all records, and the size that it declares.
    """
    body, schemas, channels = b'', {}, {}
    for topic, definition, encoding, stamp_ns, data in messages:
        if definition not in schemas:
            schemas[definition] = len(schemas) + 1
            body += record(3, struct.pack('<H', schemas[definition])
                           + text(definition.name.encode()) + text(definition.encoding.encode())
                           + text(definition.data))  # fmt: skip
        if topic not in channels:
            channels[topic] = len(channels) + 1
            numbers = struct.pack('<HH', channels[topic], schemas[definition])
            body += record(4, numbers + text(topic.encode()) + text(encoding.encode()) + text(b''))
        body += record(5, struct.pack('<HIQQ', channels[topic], 0, stamp_ns, stamp_ns) + data)
    if packed is not None:
        name, pack = packed
        content = pack(body)
        body = record(6, struct.pack('<QQQI', BEGIN, BEGIN, size or len(body), 0) + text(name)
                      + struct.pack('<Q', len(content)) + content)  # fmt: skip
    head = record(1, text(profile) + text(b'test'))
    path.write_bytes(MAGIC + head + body + record(15, bytes(4)) + record(2, bytes(20)) + MAGIC)
    return path


def images(count=2):
    definition = Definition(IMAGE, 'ros2msg', definition_of(TYPES, IMAGE).encode())
    for k in range(count):
        header = make_header(MAKE, BEGIN + k * 10**8, 'cam')
        message = image_messages.image(MAKE, recordings.image(k), 'rgb8', header)
        data = bytes(TYPES.serialize_cdr(message, IMAGE))
        yield '/cam/image_raw', definition, 'cdr', BEGIN + k * 10**8, data


def replay(path, out, **job):
    with Bag(path) as bag:
        return run.replay(bag, recordings.perceiver(tasks=('depth',)), Job(out, **job))


def assert_images(path, count=2):
    """A whole bag with the images of one camera."""
    with Bag(path) as bag:
        (camera,) = choose(bag)
        found = [bag.decode(raw) for raw in bag.messages([camera.topic])]
        assert bag.damage is None
    assert len(found) == count
    for k, message in enumerate(found):
        np.testing.assert_array_equal(image_messages.rgb_from(message), recordings.image(k))
        assert stamp_of(message.header) == BEGIN + k * 10**8
        assert message.header.frame_id == 'cam'
    return found


def test_mcap_without_profile_and_index_is_whole(tmp_path):
    assert_images(mcap(tmp_path / 'a.mcap', images()))
    path = mcap(tmp_path / 'b.mcap', images(), packed=(b'zstd', zstd.compress))
    assert_images(path)
    # A name of a type as some writers give it.
    short = [
        (t, d._replace(name='sensor_msgs/Image'), e, s, data) for t, d, e, s, data in images()
    ]
    assert_images(mcap(tmp_path / 'c.mcap', short))


@pytest.mark.parametrize(('definition', 'encoding', 'says'), [
    (Definition('Pose', 'jsonschema', b'{}'), 'json', 'cannot be read|expected an image'),
    (Definition('acme.Pose', 'protobuf', b'\x0a'), 'protobuf', 'no definition of acme.Pose'),
    (Definition('acme_msgs/msg/Odd', 'ros2idl', b'module {'), 'cdr', 'no definition of acme'),
    (Definition('acme_msgs/msg/Odd', 'ros2msg', b'acme_msgs/Gone x'), 'cdr', 'cannot be read'),
    (Definition('acme_msgs/msg/Odd'), 'cdr', 'has no definition of acme_msgs/msg/Odd'),
    (Definition('acme', 'flatbuffer', b'abc'), 'flatbuffer', "is encoded as 'flatbuffer'"),
])  # fmt: skip
def test_unrelated_topics_are_read_past_and_named(tmp_path, definition, encoding, says):
    messages = [*images(), ('/other', definition, encoding, BEGIN, b'abc')]
    path = mcap(tmp_path / 'a.mcap', messages)
    assert_images(path)
    result = replay(path, tmp_path / 'out.mcap')
    assert (result.frames, result.damage, result.code) == (2, '', 0)
    with Bag(path) as bag:
        (raw,) = bag.messages(['/other'])
        with pytest.raises(ValueError, match=f'topic /other.*({says})'):
            bag.decode(raw)
        assert bag.topics['/other'].count == 1
        with pytest.raises(ValueError, match='/other has messages of'):
            choose(bag, ['/other'])


def test_mcap_with_messages_of_ros1(tmp_path):
    definition = Definition(
        'sensor_msgs/Image', 'ros1msg', ROS1.generate_msgdef(IMAGE, ros_version=1)[0].encode()
    )
    messages = []
    for topic, _, _, stamp_ns, data in images():
        message = recordings._old(ROS1, TYPES.deserialize_cdr(data, IMAGE))
        messages.append(
            (topic, definition, 'ros1', stamp_ns, bytes(ROS1.serialize_ros1(message, IMAGE)))
        )
    assert_images(mcap(tmp_path / 'a.mcap', messages, b'ros1'))


def test_definitions_in_idl_with_lines_of_the_preprocessor(tmp_path):
    idl = (
        RULE + 'IDL: acme_msgs/msg/Pair\n// made by a test\n#include "acme_msgs/msg/Part.idl"\n\n'
        'module acme_msgs { module msg { struct Pair { acme_msgs::msg::Part left; }; }; };\n'
        + RULE + 'IDL: acme_msgs/msg/Part\nmodule acme_msgs {\n  module msg {\n'
        '    struct Part {\n      @unit (value="m")\n      double x;\n    };\n  };\n};\n'
    )  # fmt: skip
    data = b'\0\1\0\0' + struct.pack('<d', 2.5)
    for encoding, content in (('ros2idl', idl), ('omgidl', idl)):
        definition = Definition('acme_msgs/msg/Pair', encoding, content.encode())
        path = mcap(tmp_path / 'a.mcap', [('/pair', definition, 'cdr', BEGIN, data)])
        with Bag(path) as bag:
            (raw,) = bag.messages()
            assert bag.decode(raw).left.x == 2.5


def foxglove():
    """FileDescriptorSet of images and calibration, the imported file last."""
    from google.protobuf import descriptor_pb2, timestamp_pb2

    found = descriptor_pb2.FileDescriptorSet()
    file = found.file.add(name='foxglove/Images.proto', package='foxglove', syntax='proto3',
                          dependency=['google/protobuf/timestamp.proto'])  # fmt: skip
    kinds = {'s': 9, 'b': 12, 'u': 13, 'd': 1, 't': 11}
    for name, fields in (
        ('CompressedImage', 'timestamp:t frame_id:s data:b format:s'),
        ('RawImage', 'timestamp:t frame_id:s width:u height:u encoding:s step:u data:b'),
        ('CameraCalibration', 'timestamp:t frame_id:s width:u height:u distortion_model:s '
         'D:d* K:d* R:d* P:d*'),
    ):  # fmt: skip
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields.split(), 1):
            field, _, kind = field.partition(':')
            made = message.field.add(name=field, number=number, type=kinds[kind[0]],
                                     label=3 if kind.endswith('*') else 1)  # fmt: skip
            if kind == 't':
                made.type_name = '.google.protobuf.Timestamp'
    timestamp_pb2.DESCRIPTOR.CopyToProto(found.file.add())
    return found


def foxglove_values(k, png):
    """By schema: fields of a message, with bytes and a dict for the time."""
    stamp = {'sec': BEGIN // 10**9, 'nsec': k * 10**8}
    head = {'timestamp': stamp, 'frame_id': 'cam'}
    image = recordings.image(k)
    size = {'width': image.shape[1], 'height': image.shape[0]}
    raw = {'encoding': 'rgb8', 'step': image.shape[1] * 3, 'data': image.tobytes()}
    numbers = {'D': [0.0] * 5, 'K': [30.0, 0, 15, 0, 31, 11, 0, 0, 1], 'R': [], 'P': []}
    return {
        'CompressedImage': {**head, 'data': png(image), 'format': 'png'},
        'RawImage': {**head, **size, **raw},
        'CameraCalibration': {**head, **size, 'distortion_model': 'plumb_bob', **numbers},
    }


def png(image):
    import cv2

    return cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def as_protobuf(name, values):
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in reversed(foxglove().file):
        pool.AddSerializedFile(file.SerializeToString())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f'foxglove.{name}'))
    stamp = {'seconds': values['timestamp']['sec'], 'nanos': values['timestamp']['nsec']}
    return kind(**{**values, 'timestamp': stamp}).SerializeToString()


def as_json(values):
    coded = {key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
             for key, value in values.items()}  # fmt: skip
    return json.dumps(coded).encode()


@pytest.mark.parametrize('encoding', ['protobuf', 'json'])
@pytest.mark.parametrize('name', ['CompressedImage', 'RawImage'])
def test_images_of_foxglove(tmp_path, name, encoding):
    messages = []
    for k in range(2):
        for topic, kind in (('/cam/image', name), ('/cam/camera_info', 'CameraCalibration')):
            values = foxglove_values(k, png)[kind]
            content = foxglove().SerializeToString() if encoding == 'protobuf' else b'{}'
            form = encoding if encoding == 'protobuf' else 'jsonschema'
            definition = Definition(f'foxglove.{kind}', form, content)
            data = as_protobuf(kind, values) if encoding == 'protobuf' else as_json(values)
            messages.append((topic, definition, encoding, BEGIN + k * 10**8, data))
    path = mcap(tmp_path / 'a.mcap', messages)
    assert_images(path)
    with Bag(path) as bag:
        info = bag.decode(next(bag.messages(['/cam/camera_info'])))
    pinhole = camera_info.intrinsics_from(info)
    assert (pinhole.fx, pinhole.fy) == (30.0, 31.0)
    result = replay(path, tmp_path / 'out.mcap', copy=True)
    assert (result.frames, result.not_copied) == (2, {})
    with Bag(tmp_path / 'out.mcap') as bag:  # the bytes are copied as they are
        copied = [(raw.encoding, raw.data) for raw in bag.messages(['/cam/image'])]
    assert copied == [
        (encoding, data) for topic, _, _, _, data in messages if topic == '/cam/image'
    ]


def ros1_bag(path, extra=()):
    """Images, /tf as ROS 1 had it, a type of nobody, and topics that are given."""
    color = 'std_msgs/Header header\nuint8 r\n' + RULE + 'MSG: std_msgs/Header\n'
    color += 'uint32 seq\ntime stamp\nstring frame_id\n'
    transforms = 'geometry_msgs/TransformStamped[] transforms\n' + RULE
    kind = 'geometry_msgs/msg/TransformStamped'
    transforms += (
        'MSG: geometry_msgs/TransformStamped\n' + ROS1.generate_msgdef(kind, ros_version=1)[0]
    )
    with Writer1(path) as out:
        camera = out.add_connection('/cam/image_raw', IMAGE, typestore=ROS1)
        tf = out.add_connection('/tf', 'tf/msg/tfMessage', msgdef=transforms, md5sum='0' * 32)
        own = out.add_connection('/color', 'shop_msgs/msg/Color', msgdef=color, md5sum='1' * 32)
        for topic, definition in extra:
            number = out.add_connection(
                topic, 'led_msgs/msg/State', msgdef=definition, md5sum='2' * 32
            )
            out.write(number, BEGIN, b'\1\0\0\0')
        for _, _, _, stamp_ns, data in images():
            message = recordings._old(ROS1, TYPES.deserialize_cdr(data, IMAGE))
            out.write(camera, stamp_ns, ROS1.serialize_ros1(message, IMAGE))
            out.write(tf, stamp_ns, b'\0\0\0\0')
            out.write(own, stamp_ns, struct.pack('<IIII', 7, 5, 6, 3) + b'map' + b'\x2a')
    return path


def test_ros1_with_a_topic_without_definition_is_whole(tmp_path):
    path = ros1_bag(tmp_path / 'a.bag', [('/leds', '')])
    assert_images(path)
    result = replay(path, tmp_path / 'out.mcap', copy=True)
    assert (result.damage, result.frames) == ('', 2)
    assert list(result.not_copied) == ['/leds']
    assert 'has no definition of led_msgs' in result.not_copied['/leds']
    assert result.code == 1


def test_copies_of_ros1_have_every_type(tmp_path):
    from rosbags.highlevel import AnyReader

    path, out = ros1_bag(tmp_path / 'a.bag'), tmp_path / 'out.mcap'
    result = replay(path, out, copy=True)
    assert (result.not_copied, result.code) == ({}, 0)
    with AnyReader([out]) as reader:
        types = {c.topic: c.msgtype for c in reader.connections}
        found = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()
                 if c.topic == '/color']  # fmt: skip
    assert (types['/tf'], types['/color']) == ('tf2_msgs/msg/TFMessage', 'shop_msgs/msg/Color')
    assert [(one.header.frame_id, one.header.stamp.sec, one.r) for one in found] == [
        ('map', 5, 42)
    ] * 2


def test_copies_are_the_bytes_whatever_the_type(tmp_path):
    messages = [*images()]
    for k, (name, form, encoding, content) in enumerate((
        ('acme_msgs/msg/Odd', 'ros2msg', 'cdr', b'acme_msgs/Gone x'),
        ('x.Y', 'protobuf', 'protobuf', b'?'),
        ('acme_msgs/msg/Idl', 'ros2idl', 'cdr', b'module {'), ('', '', 'json', b''),
    )):  # fmt: skip
        definition = Definition(name, form, content)
        messages.append((f'/topic_{k}', definition, encoding, BEGIN + 1, bytes(range(k, 9))))
    path, out = mcap(tmp_path / 'a.mcap', messages), tmp_path / 'out.mcap'
    result = replay(path, out, copy=True)
    assert (result.not_copied, result.code) == ({}, 0)
    with Bag(path) as before, Bag(out) as after:
        expected = list(before.messages())
        # What publishers offered is unknown, and then the default is written.
        found = [raw._replace(qos='') for raw in after.messages()
                 if not raw.topic.startswith('/perception')]  # fmt: skip
    assert sorted(found) == sorted(expected)


def test_type_without_definition_is_not_copied_and_gives_exit_code_1(tmp_path):
    messages = [*images(), ('/odd', Definition('acme_msgs/msg/Odd'), 'cdr', BEGIN, b'abc')]
    result = replay(mcap(tmp_path / 'a.mcap', messages), tmp_path / 'out.mcap', copy=True)
    assert (list(result.not_copied), result.frames, result.code) == (['/odd'], 2, 1)
    raw = next(Bag(tmp_path / 'a.mcap').messages(['/odd']))
    with pytest.raises(ValueError, match='/odd has no definition of acme_msgs/msg/Odd'):
        to_copy(raw)


def test_parts_without_metadata_are_one_bag_in_order(tmp_path):
    messages = [*recorded(8)]
    for folder, names in (('drive', 'drive_{}'), ('renamed', 'rosbag2_2026_01_01-00_00_00_{}')):
        (tmp_path / folder).mkdir()
        for k in (0, 1, 10):  # overlapping times: every third message is in each
            part = recordings.write(tmp_path / 'part', messages[min(k, 2) :: 3])
            part.rename(tmp_path / folder / f'{names.format(k)}.mcap')
        assert bags_in(tmp_path / folder) == [tmp_path / folder]
        found = recordings.everything(tmp_path / folder)
        assert [(topic, stamp) for topic, _, stamp, _ in found] == [(t, s) for t, _, s in messages]
    # The log of a replay has it; the first parts may be gone on purpose.
    with Bag(tmp_path / 'drive') as bag:
        assert bag.gap == '8 of its parts are not there: drive_2 to drive_9'
    (tmp_path / 'drive' / 'drive_0.mcap').unlink()
    (tmp_path / 'drive' / 'drive_10.mcap').rename(tmp_path / 'drive' / 'drive_2.mcap')
    with Bag(tmp_path / 'drive') as bag:
        assert bag.gap == ''
    for day in ('20260101', '20260305'):
        shutil.copy(tmp_path / 'drive' / 'drive_1.mcap', tmp_path / 'drive' / f'drive_{day}.mcap')
    with Bag(tmp_path / 'drive') as bag:
        assert bag.gap == ''
    # Bags of a folder that has another name are bags of their own.
    (tmp_path / 'drive').rename(tmp_path / 'others')
    assert len(bags_in(tmp_path / 'others')) == 4
    assert bags_in(tmp_path) == [tmp_path / 'renamed']


@pytest.mark.parametrize('name', ['../a.mcap', '/etc/passwd', 'x/../../a.mcap'])
def test_metadata_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    recordings.write(tmp_path / 'a', recorded(1))
    folder = tmp_path / 'bag'
    folder.mkdir()
    recordings.write(folder / 'b', recorded(1))
    (folder / 'metadata.yaml').write_text(
        f'rosbag2_bagfile_information: {{relative_file_paths: [{name}]}}'
    )
    with pytest.raises(ValueError, match='which is not in the folder'):
        Bag(folder)


PACKERS = {b'zstd': zstd.compress, b'lz4': lz4.frame.compress}


@pytest.fixture
def low_limits(monkeypatch):
    monkeypatch.setattr(channels, 'UNPACKED_SIZE', 1 << 16)
    monkeypatch.setattr(channels, 'UNPACKED_RATIO', 4)


@pytest.mark.parametrize('name', PACKERS)
def test_chunks_that_unpack_to_more_than_the_limit_are_refused(tmp_path, low_limits, name):
    definition = Definition('acme_msgs/msg/Odd')
    for size, whole in ((1 << 15, True), (1 << 17, False)):
        messages = [('/odd', definition, 'cdr', BEGIN, bytes(size))]
        path = mcap(tmp_path / 'a.mcap', messages, packed=(name, PACKERS[name]))
        with Bag(path) as bag:
            found = [*bag.messages()]
        assert (len(found), bag.damage is None) == (int(whole), whole)
    assert 'refused' in str(bag.damage)
    assert 'damaged' not in str(bag.damage)


@pytest.mark.parametrize('name', ['bz2', 'lz4'])
def test_chunks_of_ros1_that_unpack_to_more_than_the_limit_are_refused(tmp_path, low_limits, name):
    for size, whole in ((1 << 14, True), (1 << 17, False)):
        writer = Writer1(tmp_path / f'{size}.bag')
        writer.set_compression(getattr(Writer1.CompressionFormat, name.upper()))
        with writer:
            number = writer.add_connection('/a', 'std_msgs/msg/String', typestore=ROS1)
            writer.write(number, BEGIN, struct.pack('<I', size) + bytes(size))
        with Bag(tmp_path / f'{size}.bag') as bag:
            found = [*bag.messages()]
        assert (len(found), bag.damage is None) == (int(whole), whole)
    assert 'refused' in str(bag.damage)


def test_messages_and_files_that_unpack_to_more_than_the_limit_are_refused(
    tmp_path, low_limits, monkeypatch
):
    monkeypatch.setattr(channels, 'UNPACKED_RATIO', 1)
    path = recordings.write(tmp_path / 'm', recorded(3, size=(200, 300)), 'mcap-message')
    with Bag(path) as bag:
        assert [*bag.messages(['/words'])] != []
        assert bag.damage is None
        assert [*bag.messages(['/camera/image_raw'])] == []
        assert 'refused' in str(bag.damage)
    monkeypatch.setattr(channels, 'FILE_UNPACKED_SIZE', 1 << 16)
    monkeypatch.setattr(channels, 'FILE_UNPACKED_RATIO', 2)
    plain = tmp_path / 'p.mcap'
    with Writer(plain, compress=False) as writer:
        writer.add('/a', 'std_msgs/msg/Empty', '')
        for k in range(9):
            writer.write('/a', bytes(30_000), k)
        writer.finish()
    packed = tmp_path / 'p.mcap.zstd'
    packed.write_bytes(zstd.compress(plain.read_bytes()))
    with Bag(packed) as bag:
        [*bag.messages()]
        assert 'refused' in str(bag.damage)
    with Bag(plain) as bag:
        assert len([*bag.messages()]) == 9
        assert bag.damage is None


@pytest.mark.parametrize('form', ['mcap', 'mcap-plain', 'sqlite3', 'ros1', 'ros1-bz2'])
def test_mutated_bags_raise_nothing_else_and_whole_ones_are_whole(tmp_path, form):
    path = recordings.write(tmp_path / 'bag', recorded(4, size=(8, 8)), form)
    file = path if path.is_file() else next(path.glob('*.db3'))
    if path.is_dir():
        (path / 'metadata.yaml').unlink()
    good, rng = file.read_bytes(), np.random.default_rng(7)
    whole = recordings.everything(path)
    for _ in range(60):
        bad, at = bytearray(good), int(rng.integers(len(good)))
        length = len(bad[at : at + int(rng.integers(1, 40))])
        bad[at : at + length] = rng.bytes(length)
        file.write_bytes(bad)
        try:
            with Bag(path) as bag:
                for raw in bag.messages():
                    try:
                        bag.decode(raw)
                    except ValueError:
                        continue
        except ValueError:  # its first bytes are not those of a bag
            continue
    file.write_bytes(good)
    assert recordings.everything(path) == whole


def test_an_offset_behind_the_end_of_a_file_is_damage(tmp_path):
    """Of the summary of MCAP (its footer), and of the index of ROS 1 (its first record)."""
    for form, find in (('mcap', lambda d: len(d) - 28), ('ros1', lambda d: d.index(b'_pos=') + 5)):
        path = recordings.write(tmp_path / 'bag', recorded(2), form)
        whole = recordings.everything(path)
        content = bytearray(path.read_bytes())
        content[find(content) : find(content) + 8] = (2**63 - 1).to_bytes(8, 'little')
        path.write_bytes(content)
        with Bag(path) as bag:
            assert [(raw.topic, raw.data) for raw in bag.messages()] == [
                (topic, data) for topic, _, _, data in whole
            ]


@pytest.mark.parametrize('change', [
    "UPDATE topics SET name = X'00ff'", "UPDATE topics SET type = X'01'",
    "UPDATE messages SET data = 'text' WHERE id = 2", "UPDATE messages SET timestamp = 'now'",
])  # fmt: skip
def test_columns_of_sqlite_of_another_type_are_damage(tmp_path, change):
    path = recordings.write(tmp_path / 'bag', recorded(2), 'sqlite3')
    with contextlib.closing(sqlite3.connect(next(path.glob('*.db3')))) as base, base:
        base.execute(change)
    with Bag(path) as bag:
        found = [*bag.messages()]
        assert 'damaged' in str(bag.damage)
        assert len(found) < 6


def test_the_writer_keeps_definitions_apart(tmp_path):
    with Writer(tmp_path / 'a.mcap') as writer:
        for k, content in enumerate((b'uint8 a', b'uint8 b')):
            writer.add(
                f'/{k}', 'acme_msgs/msg/Odd', Definition('acme_msgs/msg/Odd', 'ros2msg', content)
            )
            writer.write(f'/{k}', b'\0\1\0\0\7', k)
        writer.finish()
    with Bag(tmp_path / 'a.mcap') as bag:
        first, second = (bag.decode(raw) for raw in bag.messages())
    assert (first.a, second.b) == (7, 7)


def test_bz2_is_read_as_its_library_writes_it():
    assert channels.Unpacker(10)(bz2.compress(b'a' * 100), 'bz2') == (b'a' * 100, '')
