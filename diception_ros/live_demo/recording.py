# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recording that is played: a drive through a simulated room, or one of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np

from diception_ros.bags.cameras import COMPRESSED, Camera, choose
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.labels import Instances
from diception_ros.core.prompt import Point
from diception_ros.evaluation.evaluators import innermost
from diception_ros.messages import base
from diception_ros.simulation import bag_reader, record
from diception_ros.simulation.assets.categories import COCO
from diception_ros.simulation.views import View

# Where the node listens for clicks; in the recording, as if somebody had clicked on the way.
CLICK = '/perception/prompt/click'
# A kitchen with somebody walking, of the rooms that no model was trained on.
ROOM = record.Recording(
    scenes=1, views=40, size=(240, 320), seed=3, split='test', rig='robot', rate=10.0
)
# Frame at which somebody clicks on the largest thing that COCO knows, which in this room is the
# refrigerator; the first frame has been seen by then.
_CLICKED = 10
# Categories that are looked for; each is one more answer a frame.
_CATEGORIES = 3


@dataclass(frozen=True)
class Drive:
    """A recording, and what can be asked about it.

    Attributes:
        path: of the bag.
        camera: whose pictures are played.
        compressed: whether they are CompressedImage.
        frames: pictures in the bag.
        seconds: from the first message to the last.
        categories: to look for.
        click: the pixel that is clicked on; None if nobody does.
        truth: whether the bag has the true answers of `diception simulate`.
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
        """What is played."""
        found = [self.camera.topic, self.camera.info, CLICK if self.click else '']
        return [topic for topic in found if topic]


def simulate(out: Path, backend: str | None = None) -> Iterator[int]:
    """Record the drive through the room, clicks included.

    Args:
        out: the bag.
        backend: OpenGL library, see `sim.gl.context`.

    Yields:
        How many frames were written after each one.

    Raises:
        ImportError, OSError: see `sim.gl.context`.
    """
    what = record.Recording(**{**vars(ROOM), 'backend': backend})
    yield from record.to_bag(what, out, force=True, more=_click)


def _click(number: int, view: View) -> list[tuple[str, Any]]:
    things = view.instances()
    known = [area * (name in COCO) for name, area in _areas(things)]
    if number != _CLICKED or not any(known):
        return []
    point = innermost(things.ids == int(np.argmax(known)) + 1)
    message = BagTypes().make('geometry_msgs/msg/Point', x=point.x, y=point.y, z=0.0)
    return [(CLICK, message)]


def read(path: Path, camera: str | None = None) -> Drive:
    """Look at a recording.

    Args:
        path: of the bag.
        camera: topic of its pictures; None for the only one.

    Raises:
        FileNotFoundError: there is no bag.
        ValueError: it is none, or there is a choice of cameras to make; the message lists them.
    """
    with Bag(path) as bag:
        (chosen,) = choose(bag, [camera] if camera else [])
        topic = bag.topics[chosen.topic]
        seconds = ((bag.end_ns or 0) - (bag.start_ns or 0)) / 1e9
        truth = chosen.topic == bag_reader.IMAGE and bag_reader.SCENE in bag.topics
        click = None
        if CLICK in bag.topics:
            message = bag.decode(next(bag.messages([CLICK])))
            click = Point(message.x, message.y)
    categories = _shown(path) if truth else ('person',)
    return Drive(
        path, chosen, topic.msgtype == COMPRESSED, topic.count, seconds, categories, click, truth
    )


def _shown(path: Path) -> tuple[str, ...]:
    """The categories with the most pixels in the first picture, of those that models know."""
    things = next(bag_reader.views(path)).instances()
    pixels: dict[str, int] = {}
    for name, area in _areas(things):
        if name in COCO:
            pixels[name] = pixels.get(name, 0) + area
    return tuple(sorted(pixels, key=lambda name: -pixels[name])[:_CATEGORIES]) or ('person',)


def _areas(things: Instances) -> list[tuple[str, int]]:
    return [(name, int(area)) for name, area in zip(things.categories, things.areas, strict=True)]


def headers(drive: Drive, seconds: float = math.inf) -> dict[int, str]:
    """The frame of each picture's header, by its stamp in nanoseconds.

    Args:
        drive: the recording.
        seconds: of it that are looked at.
    """
    found = {}
    with Bag(drive.path) as bag:
        stop = None if math.isinf(seconds) else (bag.start_ns or 0) + round(seconds * 1e9)
        for raw in bag.messages([drive.camera.topic], None, stop):
            try:
                header = bag.decode(raw).header
            except ValueError:
                continue  # the node counts it as failed
            found[base.stamp_ns(header)] = header.frame_id
    return found


NODE = '/perception'
