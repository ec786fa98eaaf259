# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind hold the same messages, and damaged ones hold them up to the damage."""

import contextlib
import shutil
import sqlite3
from types import SimpleNamespace

import numpy as np
import pytest
import recordings
from rosbags.highlevel import AnyReader

from diception_ros.bags.channels import Block, by_time
from diception_ros.bags.reader import Bag, Storage
from diception_ros.bags.typestore import TYPES, to_cdr
from diception_ros.messages import camera_info
from diception_ros.messages import images as image_messages

COUNT = 12
FILES = ['mcap', 'mcap-plain', 'rosbags-mcap', 'sqlite3', 'ros1', 'ros1-bz2']


@pytest.mark.parametrize('form', recordings.FORMATS)
def test_bag_every_format_holds_the_same(tmp_path, form):
    messages = [*recordings.recorded(COUNT)]
    path = recordings.write(tmp_path / 'bag', messages, form)
    with Bag(path) as bag:
        assert {name: (one.msgtype, one.count) for name, one in bag.topics.items()} == {
            '/camera/image_raw': ('sensor_msgs/msg/Image', COUNT),
            '/camera/camera_info': ('sensor_msgs/msg/CameraInfo', COUNT),
            '/words': ('std_msgs/msg/String', COUNT),
        }
        assert (bag.start_ns, bag.end_ns) == (messages[0][2], messages[-1][2])
        found = [*bag.messages()]
        assert bag.damage is None
        assert [(raw.topic, raw.stamp_ns) for raw in found] == [(t, s) for t, _, s in messages]
        for raw, (_, message, _) in zip(found, messages, strict=True):
            expected = bytes(TYPES.serialize_cdr(message, raw.msgtype))
            definition, data = to_cdr(raw)
            assert data == expected
            assert definition
            assert bytes(TYPES.serialize_cdr(bag.decode(raw), raw.msgtype)) == expected
        some = [*bag.messages(['/words'], messages[6][2], messages[15][2])]
        assert [raw.stamp_ns for raw in some] == [messages[k][2] for k in (8, 11, 14)]


def test_bag_without_metadata_is_the_same(tmp_path):
    messages = [*recordings.recorded(COUNT)]
    for form in ('rosbags-mcap', 'sqlite3', 'sqlite3-file', 'sqlite3-message'):
        path = recordings.write(tmp_path / form, messages, form)
        before = recordings.everything(path)
        (path / 'metadata.yaml').unlink()
        assert recordings.everything(path) == before


def test_bag_files_are_ordered_by_time(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(COUNT), 'split')
    stamps = [stamp for _, _, stamp, _ in recordings.everything(path)]
    assert stamps == sorted(stamps)
    (path / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information: {relative_file_paths: [bag_1.mcap, gone.mcap]}'
    )
    with pytest.raises(ValueError, match=r'gone\.mcap'):
        Bag(path)


def test_messages_of_one_time_keep_the_order_of_the_file():
    # The messages of the first image are larger than a chunk: two chunks begin at one time.
    chunks = [[(0, 'a'), (0, 'b')], [(0, 'c'), (1, 'd')], [(1, 'e'), (1, 'f')], [(1, 'g')]]
    blocks = [
        Block(
            chunk[0][0],
            lambda chunk=chunk: [SimpleNamespace(stamp_ns=stamp, n=n) for stamp, n in chunk],
        )
        for chunk in chunks
    ]
    assert ''.join(raw.n for raw in by_time(blocks)) == 'abcdefg'


def test_messages_of_ros1_have_the_fields_of_ros2(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(2), 'ros1')
    with Bag(path) as bag:
        image, info, _ = (bag.decode(raw) for raw in [*bag.messages()][3:6])
    np.testing.assert_array_equal(image_messages.array_from(image), recordings.image(1))
    assert camera_info.intrinsics_from(info) == recordings.PINHOLE


@pytest.mark.parametrize('form', FILES)
def test_a_scan_of_a_whole_file_finds_what_its_index_does(tmp_path, form):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(COUNT), form)
    file = path if path.is_file() else next(p for p in path.iterdir() if p.suffix != '.yaml')
    with Bag(file) as bag:
        assert [*Storage(file).scan()] == [*bag.messages()]


@pytest.mark.parametrize('form', [*FILES, 'sqlite3-file'])
def test_bag_cut_off_anywhere_is_read_up_to_there(tmp_path, form):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(40), form)
    folder = tmp_path / 'cut'
    if path.is_dir():
        shutil.copytree(path, folder)
        (folder / 'metadata.yaml').unlink(missing_ok=True)
        file = next(folder.iterdir())
    else:
        folder.mkdir()
        file = folder / path.name
        shutil.copy(path, file)
    whole, size = recordings.everything(path), file.stat().st_size
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    most = 0
    for cut in sorted(rng.integers(20, size - 1, 50).tolist()):
        file.write_bytes(content[:cut])
        with Bag(folder) as bag:
            found = [(r.topic, r.msgtype, r.stamp_ns, r.data) for r in bag.messages()]
            assert bag.damage is not None
            assert str(file) in str(bag.damage)
        assert found == whole[: len(found)]
        assert len(found) >= most
        most = len(found)
    # Most of what is there comes out.
    assert most > 0.8 * len(whole) or form == 'sqlite3-file'


def test_bag_flipped_byte_is_reported_with_its_place(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(40), 'mcap')
    content = bytearray(path.read_bytes())
    whole = recordings.everything(path)
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with Bag(path) as bag:
        found = [(r.topic, r.msgtype, r.stamp_ns, r.data) for r in bag.messages()]
        assert found == whole[: len(found)]
        assert 0 < len(found) < len(whole)
        assert f'after {len(found)} messages' in str(bag.damage)


def test_bag_flipped_byte_without_an_index_is_reported(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(40), 'mcap-plain')
    whole = recordings.everything(path)
    content = bytearray(path.read_bytes()[:-300])
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with Bag(path) as bag:
        found = [(r.topic, r.msgtype, r.stamp_ns, r.data) for r in bag.messages()]
        assert found == whole[: len(found)]
        assert 0 < len(found) < len(whole)
        assert 'checksum' in str(bag.damage)


def test_bag_reports_what_is_no_bag(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such bag'):
        Bag(tmp_path / 'nothing')
    (tmp_path / 'a.mcap').write_text('not a bag')
    with pytest.raises(ValueError, match='not a bag'):
        Bag(tmp_path / 'a.mcap')
    (tmp_path / 'a.txt').write_text('')
    with pytest.raises(ValueError, match=r'\.mcap, \.db3, \.bag'):
        Bag(tmp_path / 'a.txt')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no bag'):
        Bag(tmp_path / 'empty')


def test_written_bags_are_read_by_rosbags(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(COUNT), 'mcap')
    with AnyReader([path]) as reader:
        found = [(c.topic, c.msgtype, stamp, bytes(d)) for c, stamp, d in reader.messages()]
    assert found == recordings.everything(path)


def test_messages_in_the_log_of_a_killed_recorder_are_read(tmp_path):
    # ros2 bag record --storage-preset-profile resilient writes ahead into NAME.db3-wal.
    made = recordings.write(tmp_path / 'bag', recordings.recorded(3), 'sqlite3')
    expected = recordings.everything(made)
    (file,) = made.glob('*.db3')
    killed = tmp_path / 'killed'
    killed.mkdir()
    with contextlib.closing(sqlite3.connect(file)) as base:
        rows = [*base.execute('SELECT id, topic_id, timestamp, data FROM messages ORDER BY id')]
        base.execute('PRAGMA journal_mode=WAL')
        base.execute('DELETE FROM messages')
        base.commit()
        base.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        base.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', rows)
        base.commit()
        for name in (file.name, f'{file.name}-wal'):  # while it is open
            shutil.copy(made / name, killed / name)
    before = sorted(killed.iterdir())
    assert recordings.everything(killed) == expected
    assert sorted(killed.iterdir()) == before


def test_a_missing_file_of_metadata_is_named_with_what_to_do(tmp_path):
    made = recordings.write(tmp_path / 'bag', recordings.recorded(3), 'rosbags-mcap')
    (file,) = made.glob('*.mcap')
    expected = recordings.everything(made)
    file.rename(made / 'renamed.mcap')
    with pytest.raises(ValueError, match=r'\(renamed.mcap\), remove metadata.yaml'):
        Bag(made)
    (made / 'metadata.yaml').unlink()
    assert recordings.everything(made) == expected
