# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One process plays the pictures, one answers them, one records the answers; as on a robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import os
from pathlib import Path
import re
import socket
import time
from typing import Any

from diception_ros import tasks
from diception_ros.bags.mcap_writer import partial_of
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import BagTypes
from diception_ros.live_demo.recording import NODE, Drive
from diception_ros.messages import outputs
from diception_ros.system import ros_environment
from diception_ros.system.processes import Subprocess, process_group

DIAGNOSTICS = '/diagnostics'
# Seconds until the node is active: the real weights are 4.6 GB, the disk may be slow.
LOADING = 600.0
# Seconds until the recorder listens to all topics; then it begins without some.
LISTENING = 30.0
# Seconds for the answers to the last pictures, after which what still waits is counted as waiting.
DRAINING = 60.0
# Seconds that the player waits after it has found listeners, so that they have found it, too.
_DELAY = 1.0
# How often we look what the processes say.
PERIOD = 0.1
# How often we look into the bag that is recorded, which takes the longer the larger it is.
LOOKING = 1.0
# Ports of these domains lie below those that Linux gives to programs by itself.
_DOMAINS = range(10, 100)
# '[INFO] [1795535612.486] [perception]: active' -> 'active'
_LOG_HEAD = re.compile(r'^(?:\[\w+\] \[[\d.]+\] \[[^]]*\]: )?')


@dataclass(frozen=True)
class Wishes:
    """How the node answers.

    Attributes:
        model: its folder, or 'builtin'.
        device: where it runs.
        tasks: that are asked about every picture.
        seconds: of the recording that are played.
    """

    model: str
    device: str
    tasks: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Counts:
    """What the node told at the end.

    Attributes:
        received, processed, dropped, failed, waiting: pictures.
        values: everything that it told of itself, by name.
        times: how often it told.
    """

    received: int
    processed: int
    dropped: int
    failed: int
    waiting: int
    values: dict[str, str]
    times: int


def run(
    drive: Drive,
    wishes: Wishes,
    out: Path,
    say: Callable[[str], None],
    progress: Callable[[float], None],
) -> Counts:
    """Play, answer and record.

    Args:
        drive: what is played.
        wishes: how it is answered.
        out: the bag that is recorded; logs come beside it.
        say: told what people should read.
        progress: told how many more seconds the player was at work.

    Raises:
        ChildProcessError: a process ended early or did not do its part; the reason is told.
        TimeoutError: the node took too long to begin.
    """
    for path in (out, partial_of(out)):
        path.unlink(missing_ok=True)
    with domain() as number, process_group(out.parent, variables(number)) as start:
        recorder = start('record', ['record', *recorded(wishes.tasks),
                                             '--out', str(out), '--sim-time'])  # fmt: skip
        node = start('node', ['node', *_arguments(drive, wishes)])
        topics = _until_active(node, recorder, say)
        _until_recorded(topics, node, recorder)
        player = start(
            'play',
            [
                'play',
                str(drive.path),
                '--topics',
                *drive.topics,
                '--delay',
                str(_DELAY),
                '--listeners',
                str(LISTENING),
                '--end',
                str(wishes.seconds),
            ],
        )
        _watch(player, node, recorder, say, progress)
        _drain(partial_of(out), node, recorder, say)
        recorder.end()
        node.end()
    if not out.exists():
        raise ChildProcessError(f'nothing was recorded; see {recorder.log}')
    counts = last_counts(out)
    if counts is None:
        raise ChildProcessError(f'the node told nothing of itself; see {node.log}')
    return counts


def recorded(names: Sequence[str]) -> list[str]:
    """The topics of the answers of some tasks, and what the node tells of itself."""
    types = BagTypes()
    found = [one for name in names for one in outputs.declared(tasks.get(name), types)]
    return [DIAGNOSTICS, *(f'{NODE}/{one.topic}' for one in found)]


def last_counts(bag: Path) -> Counts | None:
    """What the node told last in a bag, which may still be growing; None if nothing yet."""
    last: dict[str, str] = {}
    times = 0
    with contextlib.suppress(OSError, ValueError), Bag(bag) as opened:
        if DIAGNOSTICS in opened.topics:
            for raw in opened.messages([DIAGNOSTICS]):
                for status in opened.decode(raw).status:
                    if status.name == NODE:
                        last = {pair.key: pair.value for pair in status.values}
                        times += 1
    if not times:
        return None
    received, processed, dropped, failed, waiting = (
        int(last.get(name, 0))
        for name in ('received', 'processed', 'dropped', 'failed', 'waiting')
    )
    return Counts(received, processed, dropped, failed, waiting, last, times)


@contextlib.contextmanager
def domain() -> Iterator[int]:
    """A ROS domain that no other demo, bench or test on this machine is in, while `with` lasts.

    Raises:
        OSError: all of them are taken.
    """
    for step in range(len(_DOMAINS)):
        number = _DOMAINS[(os.getpid() + step) % len(_DOMAINS)]
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                # An abstract name: nothing is left behind, whatever happens.
                lock.bind(f'\0diception_ros_domain_{number}')
            except OSError:
                continue
            yield number
            return
    raise OSError('every ROS domain from 10 to 99 is taken by another demo, bench or test')


def variables(number: int) -> dict[str, str]:
    """Variables for processes that talk to each other on this machine and to nobody else.

    Args:
        number: ROS_DOMAIN_ID.
    """
    found, name = {**os.environ, 'ROS_DOMAIN_ID': str(number)}, ros_environment.distro()
    if name == 'humble':
        found['ROS_LOCALHOST_ONLY'] = '1'
    else:
        found['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    ros_environment.use_profile(found)
    return found


def _arguments(drive: Drive, wishes: Wishes) -> list[str]:
    parameters: dict[str, Any] = {
        'model': wishes.model,
        'device': wishes.device,
        'tasks': f'[{", ".join(wishes.tasks)}]',
        'semantic.categories': f'[{", ".join(drive.categories)}]',
        'num_inference_steps': 1,
        'guidance_scale': 1.0,
        'use_sim_time': 'true',
        'watchdog_s': LISTENING,  # it is silent until the player begins
        'image_transport': 'compressed' if drive.compressed else 'raw',
    }
    remapped = {'image/compressed' if drive.compressed else 'image': drive.camera.topic}
    if drive.camera.info:
        remapped['camera_info'] = drive.camera.info
    return [
        '--ros-args',
        *(part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')),
        *(part for name, topic in remapped.items() for part in ('-r', f'{name}:={topic}')),
    ]


def _until_active(node: Subprocess, recorder: Subprocess, say: Callable[[str], None]) -> list[str]:
    """The topics that it publishes on."""
    end = time.monotonic() + LOADING
    while time.monotonic() < end:
        for line in node.lines():
            text = _LOG_HEAD.sub('', line)
            if 'cannot configure: ' in text or 'cannot activate: ' in text:
                raise ChildProcessError(f'the node says: {text}')
            if text.startswith('active: '):
                say('node: active')
                return text.partition(' -> ')[2].split(', ')
            say(f'node: {text}')
        node.check()
        recorder.check()
        time.sleep(PERIOD)
    raise TimeoutError(f'the node was not active within {LOADING:.0f} s; see {node.log}')


def _until_recorded(topics: Sequence[str], node: Subprocess, recorder: Subprocess) -> None:
    """Until the recorder listens to all topics; the first pictures are else not answered."""
    end, missing = time.monotonic() + LISTENING, set(topics)
    while missing and time.monotonic() < end:
        missing -= {line.rpartition(' ')[2] for line in recorder.lines() if 'recording /' in line}
        node.check()
        recorder.check()
        time.sleep(PERIOD)


def _watch(
    player: Subprocess,
    node: Subprocess,
    recorder: Subprocess,
    say: Callable[[str], None],
    progress: Callable[[float], None],
) -> None:
    """Until everything was played."""
    last = time.monotonic()
    while player.code is None:
        time.sleep(PERIOD)
        now = time.monotonic()
        progress(now - last)
        last = now
        _tell(node, say)
        node.check()
        recorder.check()
    if player.code:
        player.check()


def _drain(bag: Path, node: Subprocess, recorder: Subprocess, say: Callable[[str], None]) -> None:
    """Until the node told twice that nothing waits, the second time surely after the last."""
    end, first = time.monotonic() + DRAINING, 0
    while time.monotonic() < end:
        time.sleep(LOOKING)
        node.check()
        recorder.check()
        _tell(node, say)
        counts = last_counts(bag)
        if counts is None or not counts.received or counts.waiting:
            first = 0
        elif not first:
            first = counts.times
        elif counts.times > first:
            return


def _tell(node: Subprocess, say: Callable[[str], None]) -> None:
    for line in node.lines():
        say(f'node: {_LOG_HEAD.sub("", line)}')
