# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments, one after the other, and the bag is the one of a quiet run."""

from pathlib import Path
import subprocess
import sys

import pytest
import recordings
from recordings import everything, perceiver, recorded, write

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.reader import Bag

LIVES = 20
# Forks before anything has started a thread; each child replays until it is killed.
NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
import cv2
cv2.setNumThreads(0)
sys.path.insert(0, sys.argv[1])
import recordings
from diception_ros.bags import mcap_writer
from diception_ros.bag_replay import checkpoint, run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.reader import Bag
checkpoint.CHUNK_FRAMES = 2
bag, out = Path(sys.argv[2]), Path(sys.argv[3])
random.seed(int(sys.argv[4]))
for life in range(int(sys.argv[5])):
    child = os.fork()
    if not child:
        with Bag(bag) as opened:
            run.replay(opened, recordings.perceiver(0.003), Job(out, copy=True, resume=True))
        os._exit(0)
    if life % 2:
        # However slow the machine is, every second life gets somewhere.
        state, began = checkpoint.state_path(out), time.monotonic()
        seen = state.stat().st_mtime_ns if state.exists() else 0
        while time.monotonic() < began + 60:
            if state.exists() and state.stat().st_mtime_ns != seen:
                break
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.015))
    else:
        time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        print('ended by itself', flush=True)
        break
    partial = mcap_writer.partial_of(out)
    print(partial.stat().st_size if partial.exists() else 0, flush=True)
    if partial.exists():
        (out.parent / f'{life}.mcap').write_bytes(partial.read_bytes())
"""


def test_replay_killed_twenty_times_resumes_to_the_same_file(tmp_path, monkeypatch):
    from diception_ros.bag_replay import checkpoint

    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 2)
    bag, out, whole = (tmp_path / name for name in ('bag.mcap', 'out.mcap', 'whole.mcap'))
    write(bag, recorded(300))
    with Bag(bag) as opened:
        run.replay(opened, perceiver(), Job(whole, copy=True))
    done = subprocess.run(
        [sys.executable, '-c', NURSERY, Path(__file__).parents[1], bag, out, '5', str(LIVES)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lives = done.stdout.split('\n')[:-1]
    assert len(lives) == LIVES, lives
    assert len(set(lives)) > 5  # it went on
    expected = everything(whole)
    for life in range(LIVES):
        copy = tmp_path / f'{life}.mcap'
        if copy.exists() and copy.stat().st_size > 100:
            found = everything(copy)
            assert found == expected[: len(found)]
    with Bag(bag) as opened:
        result = run.replay(opened, perceiver(), Job(out, copy=True, resume=True))
    assert result.frames == 300
    assert out.read_bytes() == whole.read_bytes()
    assert result.journal.read_text().count('\n') == 301


@pytest.mark.ros
def test_replay_messages_equal_those_of_the_node(tmp_path):
    pytest.importorskip('rclpy')
    serialization = pytest.importorskip('rclpy.serialization')
    from diception_ros.bags.typestore import TYPES
    from diception_ros.messages import camera_info, make_header
    from diception_ros.messages import images as image_messages
    from diception_ros.node.publishers import RosTypes
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.query import Query

    every = {'tasks': ('depth', 'normal', 'entity', 'semantic', 'pose')}
    types = RosTypes()
    asked = Perceiver(recordings.Cheap(), types, recordings.asked(**every))
    kinds = {one.topic: one.kind for one in asked.outputs()}
    wanted = frozenset(kinds)
    path = write(tmp_path / 'bag', recorded(3))
    with Bag(path) as opened:
        run.replay(opened, perceiver(**every), Job(tmp_path / 'out.mcap'))
    found = [(topic, data) for topic, _, _, data in everything(tmp_path / 'out.mcap')
             if topic.removeprefix('/perception/') in wanted]  # fmt: skip
    expected = []
    for k in range(3):
        header = make_header(types, recordings.BEGIN + k * 100_000_000, 'cam')
        info = camera_info.info(types, recordings.PINHOLE, recordings.SIZE, header)
        message = image_messages.image(types, recordings.image(k), 'rgb8', header)
        frame = image_messages.frame_from(message, info)
        request = Query('', frame, header, info, asked.tasks_for_topics(wanted), topics=wanted)
        for topic, one in asked.process(request).messages:
            data, kind = serialization.serialize_message(one), kinds[topic]
            # Bytes between fields are whatever was there before.
            plain = TYPES.serialize_cdr(TYPES.deserialize_cdr(data, kind), kind)
            expected.append((f'/perception/{topic}', bytes(plain)))
    assert [topic for topic, _ in found] == [topic for topic, _ in expected]
    for (topic, mine), (_, theirs) in zip(found, expected, strict=True):
        assert mine == theirs, topic
