# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recording that is played: a simulated drive through a room, or the user's own bag."""

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
        found = [self.camera.topic, self.camera.info, CLICK if self.click else '']
        return [topic for topic in found if topic]


def simulate(out: Path, backend: str | None = None) -> Iterator[int]:
    """Record the drive through the room, with its click.

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


def is_current(path: Path) -> bool:
    """Whether a bag is a drive that this version of `simulate` recorded: earlier topics differ."""
    needed = {bag_reader.DEPTH, bag_reader.NORMALS, bag_reader.INSTANCES, bag_reader.JOINTS}
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


def read(path: Path, camera: str | None = None) -> Drive:
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
    """The COCO categories with the most pixels in the first image."""
    things = next(bag_reader.views(path)).instances()
    pixels: dict[str, int] = {}
    for name, area in _areas(things):
        if name in COCO:
            pixels[name] = pixels.get(name, 0) + area
    return tuple(sorted(pixels, key=lambda name: -pixels[name])[:_CATEGORIES]) or ('person',)


def _areas(things: Instances) -> list[tuple[str, int]]:
    return [(name, int(area)) for name, area in zip(things.categories, things.areas, strict=True)]


def headers(drive: Drive, seconds: float = math.inf) -> dict[int, str]:
    """The frame_id of each image, by its stamp in nanoseconds.

    Args:
        drive: the recording.
        seconds: how much of it is read.
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
