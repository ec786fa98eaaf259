# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs player, node and recorder as three processes, as on a robot."""

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
# Seconds for the results of the last images; after that, they are counted as waiting.
DRAINING = 60.0
# Seconds that the player waits after it discovered its subscribers, until they discovered it.
_DELAY = 1.0
# Seconds between two looks at the logs of the processes.
PERIOD = 0.1
# Seconds between two looks at the recorded bag; the larger it is, the longer one takes.
LOOKING = 1.0
# Ports of these domains lie below the ephemeral ports of Linux.
_DOMAINS = range(10, 100)
# '[INFO] [1795535612.486] [perception]: active' -> 'active'
_LOG_HEAD = re.compile(r'^(?:\[\w+\] \[[\d.]+\] \[[^]]*\]: )?')


@dataclass(frozen=True)
class LiveOptions:
    """Options of the node and the player.

    Attributes:
        model: its folder, or 'builtin'.
        device: where the model runs.
        tasks: of the node.
        seconds: how much of the recording is played.
    """

    model: str
    device: str
    tasks: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Counts:
    """Last diagnostics of the node.

    Attributes:
        received, processed, dropped, failed, waiting: number of images.
        values: all values of the diagnostics, by name.
        times: number of diagnostics messages.
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
    options: LiveOptions,
    out: Path,
    log: Callable[[str], None],
    progress: Callable[[float], None],
) -> Counts:
    """Play to the node, and record its results.

    Args:
        drive: what is played.
        options: of the node and the player.
        out: the bag that is recorded; logs are written beside it.
        log: called with lines for the user.
        progress: called with the seconds that have passed while the player runs.

    Raises:
        ChildProcessError: a process ended early or failed.
        TimeoutError: the node took too long to become active.
    """
    for path in (out, partial_of(out)):
        path.unlink(missing_ok=True)
    with domain() as number, process_group(out.parent, variables(number)) as start:
        recorder = start('record', ['record', *recorded(options.tasks),
                                             '--out', str(out), '--sim-time'])  # fmt: skip
        node = start('node', ['node', *_arguments(drive, options)])
        topics = _until_active(node, recorder, log)
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
                str(options.seconds),
            ],
        )
        _watch(player, node, recorder, log, progress)
        _drain(partial_of(out), node, recorder, log)
        recorder.end()
        node.end()
    if not out.exists():
        raise ChildProcessError(f'nothing was recorded; see {recorder.log}')
    counts = last_counts(out)
    if counts is None:
        raise ChildProcessError(f'the node published no diagnostics; see {node.log}')
    return counts


def recorded(names: Sequence[str]) -> list[str]:
    """The topics of the results of some tasks, and the diagnostics."""
    types = BagTypes()
    found = [item for name in names for item in outputs.declared(tasks.get(name), types)]
    return [DIAGNOSTICS, *(f'{NODE}/{item.topic}' for item in found)]


def last_counts(bag: Path) -> Counts | None:
    """The last diagnostics in a bag that may still be growing; None if there are none yet."""
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
    """A ROS domain of its own among the demos, benches and tests of this machine, in a `with`.

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


def _arguments(drive: Drive, options: LiveOptions) -> list[str]:
    parameters: dict[str, Any] = {
        'model': options.model,
        'device': options.device,
        'tasks': f'[{", ".join(options.tasks)}]',
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


def _until_active(node: Subprocess, recorder: Subprocess, log: Callable[[str], None]) -> list[str]:
    """Wait until the node is active; returns the topics that it publishes."""
    end = time.monotonic() + LOADING
    while time.monotonic() < end:
        for line in node.lines():
            text = _LOG_HEAD.sub('', line)
            if 'cannot configure: ' in text or 'cannot activate: ' in text:
                raise ChildProcessError(f'the node reports: {text}')
            if text.startswith('active: '):
                log('node: active')
                return text.partition(' -> ')[2].split(', ')
            log(f'node: {text}')
        node.check()
        recorder.check()
        time.sleep(PERIOD)
    raise TimeoutError(f'the node was not active within {LOADING:.0f} s; see {node.log}')


def _until_recorded(topics: Sequence[str], node: Subprocess, recorder: Subprocess) -> None:
    """Wait until the recorder has subscribed to all topics, or it misses the first results."""
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
    log: Callable[[str], None],
    progress: Callable[[float], None],
) -> None:
    """Wait until the player has ended."""
    last = time.monotonic()
    while player.code is None:
        time.sleep(PERIOD)
        now = time.monotonic()
        progress(now - last)
        last = now
        _log_node(node, log)
        node.check()
        recorder.check()
    if player.code:
        player.check()


def _drain(bag: Path, node: Subprocess, recorder: Subprocess, log: Callable[[str], None]) -> None:
    """Wait until two diagnostics in a row report that no image waits."""
    end, first = time.monotonic() + DRAINING, 0
    while time.monotonic() < end:
        time.sleep(LOOKING)
        node.check()
        recorder.check()
        _log_node(node, log)
        counts = last_counts(bag)
        if counts is None or not counts.received or counts.waiting:
            first = 0
        elif not first:
            first = counts.times
        elif counts.times > first:
            return


def _log_node(node: Subprocess, log: Callable[[str], None]) -> None:
    for line in node.lines():
        log(f'node: {_LOG_HEAD.sub("", line)}')
