# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the demonstration: its recording, and player, node and recorder as three processes.

The recording is a simulated drive through a room, or the user's own bag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import math
from pathlib import Path
import re
import time
from typing import Any

import numpy as np

from diception_ros import tasks
from diception_ros.bags.frames import COMPRESSED, Camera, choose
from diception_ros.bags.mcap_writer import partial_of
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.labels import Instances
from diception_ros.core.prompt import Point
from diception_ros.evaluation.evaluators import innermost
from diception_ros.messages import outputs, stamp_of
from diception_ros.simulation import record, views
from diception_ros.simulation.assets import COCO
from diception_ros.simulation.views import View
from diception_ros.system import ros_environment
from diception_ros.system.processes import Subprocess, process_group

NODE, DIAGNOSTICS = '/perception', '/diagnostics'
# Seconds until the node is active: the real weights are 4.6 GB, the disk may be slow.
LOADING = 600.0
# Seconds until the recorder listens to all topics; then it begins without some.
LISTENING = 30.0
# Seconds for the results of the last images; after that, they are counted as waiting.
DRAINING = 60.0
# Seconds between two looks at the logs of the processes.
PERIOD = 0.1
# Seconds between two looks at the recorded bag, or as long as a look takes, which grows with it.
LOOKING = 0.2
# '[INFO] [1795535612.486] [perception]: active' -> 'active'
_LOG_HEAD = re.compile(r'^(?:\[\w+\] \[[\d.]+\] \[[^]]*\]: )?')


# Topic of clicks of the node; the recording holds one click.
CLICK = '/perception/prompt/click'
# A kitchen with a walking person, from the split that no model was trained on.
ROOM = record.Recording(
    scenes=1, views=40, size=(240, 320), seed=3, split='test', rig='robot', rate=10.0
)
# Frame of the click on the largest object of a COCO category, in this room the refrigerator. By
# then the node has processed a first frame.
_CLICKED = 10
# Number of categories for task semantic; each costs one more prediction a frame.
_CATEGORIES = 3


@dataclass(frozen=True)
class Drive:
    """A recording, and the prompts for it.

    Attributes:
        path: of the bag.
        camera: whose images are played.
        compressed: whether they are CompressedImage.
        frames: images in the bag.
        seconds: from the first message to the last.
        categories: for task semantic.
        click: the pixel of the click; None if there is none.
        truth: whether the bag has the ground truth of `diception simulate`.
    """

    path: Path
    camera: Camera
    compressed: bool
    frames: int
    seconds: float
    categories: tuple[str, ...]
    click: Point | None
    truth: bool

    @property
    def topics(self) -> list[str]:
        """The topics that are played."""
        topics = [self.camera.topic, self.camera.info, CLICK if self.click else '']
        return [topic for topic in topics if topic]


def simulate_drive(out: Path, backend: str | None = None) -> Iterator[int]:
    """Record the drive through the room, with its click.

    Yields:
        How many frames were written after each one.

    Raises:
        ImportError, OSError: see `renderer.open_gl_context`.
    """
    what = record.Recording(**{**vars(ROOM), 'backend': backend})
    yield from record.to_bag(what, out, force=True, more=_click)


def is_current(path: Path) -> bool:
    """Whether a bag is a drive of this version of `simulate_drive`: earlier topics differ."""
    needed = {views.DEPTH, views.NORMALS, views.INSTANCES, views.JOINTS}
    try:
        with Bag(path) as bag:
            return needed <= set(bag.topics)
    except (OSError, ValueError):
        return False


def _click(number: int, view: View) -> list[tuple[str, Any]]:
    things = view.instances()
    known = [area * (name in COCO) for name, area in _areas(things)]
    if number != _CLICKED or not any(known):
        return []
    point = innermost(things.ids == int(np.argmax(known)) + 1)
    message = BagTypes().make('geometry_msgs/msg/Point', x=point.x, y=point.y, z=0.0)
    return [(CLICK, message)]


def read_drive(path: Path, camera: str | None = None) -> Drive:
    """Open a recording, and find its camera and prompts.

    Args:
        path: of the bag.
        camera: topic of its images; None for the only one.

    Raises:
        FileNotFoundError: there is no bag.
        ValueError: it is no bag, or it has several cameras; the message lists them.
    """
    with Bag(path) as bag:
        (chosen,) = choose(bag, [camera] if camera else [])
        topic = bag.topics[chosen.topic]
        seconds = ((bag.end_ns or 0) - (bag.start_ns or 0)) / 1e9
        truth = chosen.topic == views.IMAGE and views.SCENE in bag.topics
        click = None
        if CLICK in bag.topics:
            message = bag.decode(next(bag.messages([CLICK])))
            click = Point(message.x, message.y)
    categories = _shown(path) if truth else ('person',)
    return Drive(
        path, chosen, topic.msgtype == COMPRESSED, topic.count, seconds, categories, click, truth
    )


def _shown(path: Path) -> tuple[str, ...]:
    """The COCO categories with the most pixels in the first image."""
    things = next(views.recorded_views(path)).instances()
    pixels: dict[str, int] = {}
    for name, area in _areas(things):
        if name in COCO:
            pixels[name] = pixels.get(name, 0) + area
    return tuple(sorted(pixels, key=lambda name: -pixels[name])[:_CATEGORIES]) or ('person',)


def _areas(things: Instances) -> list[tuple[str, int]]:
    return [(name, int(area)) for name, area in zip(things.categories, things.areas, strict=True)]


def headers(drive: Drive, seconds: float = math.inf) -> dict[int, str]:
    """The frame_id of each image, by its stamp in nanoseconds."""
    frame_ids = {}
    with Bag(drive.path) as bag:
        stop = None if math.isinf(seconds) else (bag.start_ns or 0) + round(seconds * 1e9)
        for raw in bag.messages([drive.camera.topic], None, stop):
            try:
                header = bag.decode(raw).header
            except ValueError:
                continue  # the node counts it as failed
            frame_ids[stamp_of(header)] = header.frame_id
    return frame_ids


@dataclass(frozen=True)
class LiveOptions:
    """Options of the node and the player.

    Attributes:
        model: its folder, or 'builtin'.
        device: where the model runs.
        tasks: of the node.
        seconds: how much of the recording is played.
        images: number of images in that.
    """

    model: str
    device: str
    tasks: tuple[str, ...]
    seconds: float
    images: int


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

    Raises:
        ChildProcessError: a process ended early or failed.
        TimeoutError: the node took too long to become active.
    """
    for path in (out, partial_of(out)):
        path.unlink(missing_ok=True)
    with (
        ros_environment.domain() as number,
        process_group(out.parent, ros_environment.variables(number)) as start,
    ):
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
                '0',
                '--listeners',
                str(LISTENING),
                '--end',
                str(options.seconds),
            ],
        )
        _watch(player, node, recorder, log, progress)
        _drain(partial_of(out), options.images, node, recorder, log)
        recorder.interrupt()
        node.interrupt()
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
    declared = [item for name in names for item in outputs.declared(tasks.get(name), types)]
    return [DIAGNOSTICS, *(f'{NODE}/{item.topic}' for item in declared)]


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


def _drain(
    bag: Path, images: int, node: Subprocess, recorder: Subprocess, log: Callable[[str], None]
) -> None:
    """Wait until diagnostics report that no image waits: of all images, or two times in a row."""
    end, first, took = time.monotonic() + DRAINING, 0, 0.0
    while time.monotonic() < end:
        time.sleep(max(LOOKING, took))
        node.check()
        recorder.check()
        _log_node(node, log)
        begin = time.monotonic()
        counts = last_counts(bag)
        took = time.monotonic() - begin
        if counts is None or not counts.received or counts.waiting:
            first = 0
        elif counts.received >= images:
            return
        elif not first:
            first = counts.times
        elif counts.times > first:
            return


def _log_node(node: Subprocess, log: Callable[[str], None]) -> None:
    for line in node.lines():
        log(f'node: {_LOG_HEAD.sub("", line)}')
