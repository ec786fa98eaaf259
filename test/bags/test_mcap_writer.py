# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag that is written in pieces, by several lives, is the one that is written at once."""

import subprocess
import sys

import pytest
from rosbags.highlevel import AnyReader

from diception_ros.bags.channels import DamageError
from diception_ros.bags.mcap_writer import LONG, Writer, partial_of
from diception_ros.bags.reader import Storage

TEXT = 'string data\n'


def fill(writer, numbers):
    for k in numbers:
        if k % 10 == 0:
            writer.add(f'/topic_{k // 10}', 'std_msgs/msg/String', TEXT)
        data = b'\0\1\0\0' + (5).to_bytes(4, 'little') + f'{k:04d}\0'.encode()
        writer.write(f'/topic_{k // 10}', data, 1000 + k)
        if k % 4 == 3:
            yield writer.flush()


@pytest.mark.parametrize('compress', [True, False])
def test_writer_resumed_at_any_flush_writes_the_same_file(tmp_path, compress):
    with Writer(tmp_path / 'whole.mcap', compress=compress) as writer:
        ends = [*fill(writer, range(50))]
        writer.finish()
    whole = (tmp_path / 'whole.mcap').read_bytes()
    for place, end in enumerate(ends):
        path = tmp_path / f'{place}.mcap'
        with Writer(path, compress=compress) as writer:
            assert [*fill(writer, range(4 * place + 5))][place] == end
        # Whatever came behind the flush is dropped.
        with partial_of(path).open('ab') as file:
            file.write(b'rubbish' * 10_000)
        with Writer(path, at=end, compress=compress) as writer:
            rest = [*fill(writer, range(4 * place + 4, 50))]
            assert rest == ends[place + 1 :]
            writer.finish()
        assert path.read_bytes() == whole
        assert not partial_of(path).exists()


def test_writer_message_in_two_parts_equals_one(tmp_path):
    files = []
    for parts in (1, 2):
        path = tmp_path / f'{parts}.mcap'
        with Writer(path) as writer:
            writer.add('/a', 'std_msgs/msg/String', TEXT)
            # Short and long ones, and chunks that become smaller.
            for k, length in enumerate((10, 3 * LONG, 5, 0, LONG, LONG + 1, 4, 2 * LONG)):
                data = bytes((k + n) % 251 for n in range(length))
                cut = length // 3 if parts == 2 else length
                writer.write('/a', data[:cut], k, memoryview(data[cut:]))
                if k % 3 == 2:
                    writer.flush()
            writer.finish()
        files.append(path.read_bytes())
    assert files[0] == files[1]
    with AnyReader([tmp_path / '2.mcap']) as reader:
        lengths = [len(data) for _, _, data in reader.messages()]
    assert lengths == [10, 3 * LONG, 5, 0, LONG, LONG + 1, 4, 2 * LONG]


def test_writer_flushed_messages_are_readable_without_an_end(tmp_path):
    path = tmp_path / 'a.mcap'
    writer = Writer(path)
    ends = [*fill(writer, range(18))]
    with partial_of(path).open('rb') as file:
        assert len(file.read()) == ends[-1]
    found = []
    with pytest.raises(DamageError, match='byte'):
        found.extend(raw.data for raw in Storage(partial_of(path)).scan())
    assert len(found) == 0 or len(found) == 16
    found = []
    try:
        for raw in Storage(partial_of(path)).scan():
            found.append(raw.stamp_ns)
    except DamageError:
        pass
    assert found == [*range(1000, 1016)]


def test_writer_left_early_leaves_an_index(tmp_path):
    path = tmp_path / 'a.mcap'
    with Writer(path) as writer:
        [*fill(writer, range(18))]
    assert not path.exists()
    with AnyReader([partial_of(path)]) as reader:
        assert len([*reader.messages()]) == 16


def test_writer_full_disk_raises_and_keeps_what_was_finished(tmp_path):
    program = f"""
import errno, resource, signal, sys
sys.path.insert(0, {str(__file__.rpartition('/')[0])!r})
from pathlib import Path
from diception_ros.bags.mcap_writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
import os
flushed = 0
try:
    with Writer(Path({str(tmp_path / 'a.mcap')!r}), compress=False) as writer:
        writer.add('/a', 'std_msgs/msg/String', 'string data')
        for k in range(1000):
            writer.write('/a', bytes(2000), k)
            if k % 5 == 4:
                writer.flush()
                flushed = k + 1
except OSError as error:
    print(flushed, error)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    flushed, _, words = done.stdout.partition(' ')
    assert 'Make room' in words
    assert 'File too large' in words
    partial = partial_of(tmp_path / 'a.mcap')
    assert partial.stat().st_size <= 60_000
    with AnyReader([partial]) as reader:
        assert len([*reader.messages()]) == int(flushed) > 10


def test_writer_refuses_two_types_of_a_topic(tmp_path):
    with Writer(tmp_path / 'a.mcap') as writer:
        writer.add('/a', 'std_msgs/msg/String', TEXT)
        writer.add('/a', 'std_msgs/msg/String', TEXT)
        with pytest.raises(ValueError, match='two kinds'):
            writer.add('/a', 'std_msgs/msg/Empty', '')


def test_writer_refuses_to_resume_another_file(tmp_path):
    path = tmp_path / 'a.mcap'
    partial_of(path).write_bytes(b'short')
    with pytest.raises(ValueError, match='shorter'):
        Writer(path, at=100)
    partial_of(path).write_bytes(bytes(200))
    with pytest.raises(ValueError, match='not as it was left'):
        Writer(path, at=100)
