# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recorded answers: frame by frame, compared with the pictures and with a replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from diception_ros import tasks
from diception_ros.data.bag import TYPES
from diception_ros.demo.live import NODE
from diception_ros.labels import Instances, Label
from diception_ros.messages import outputs, pictures, stamps
from diception_ros.messages.types import Types
from diception_ros.replay import truth
from diception_ros.replay.bags import Bag

# Frames whose messages may be mixed in a recording: one topic's reader may be behind another's.
_OPEN = 8


@dataclass
class Checked:
    """What a look at all headers said.

    Attributes:
        messages: that were looked at.
        frames: that they are about.
        complete: of these, frames with a message on every topic that was recorded at all.
        strangers: 'topic: header' of messages whose header is that of no picture.
        topics: messages by topic.
    """

    messages: int = 0
    frames: int = 0
    complete: int = 0
    strangers: list[str] = field(default_factory=list)
    topics: dict[str, int] = field(default_factory=dict)


def frames(bag: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers to each picture: its stamp, and messages by topic relative to the node."""
    waiting: dict[int, dict[str, Any]] = {}
    with Bag(bag) as opened:
        topics = [topic for topic in opened.topics if topic.startswith(f'{NODE}/')]
        for raw in opened.messages(topics):
            message = opened.decode(raw)
            stamp = stamps.stamp_ns(message.header)
            waiting.setdefault(stamp, {})[raw.topic.removeprefix(f'{NODE}/')] = message
            if len(waiting) > _OPEN:
                first = next(iter(waiting))
                yield first, waiting.pop(first)
    yield from waiting.items()


def check(bag: Path, headers: Mapping[int, str], late: Collection[str] = ()) -> Checked:
    """Whether every answer has the header of a picture.

    Args:
        bag: that was recorded.
        headers: frame ids of the pictures by stamp.
        late: topics without answers in the beginning; they do not make a frame incomplete.
    """
    found = Checked()
    sets = []
    for stamp, messages in frames(bag):
        found.frames += 1
        sets.append({topic for topic in messages if topic not in late})
        for topic, message in messages.items():
            found.messages += 1
            found.topics[topic] = found.topics.get(topic, 0) + 1
            if headers.get(stamp) != message.header.frame_id:
                found.strangers.append(f'{topic}: {stamp} {message.header.frame_id!r}')
    every = set().union(*sets)
    found.complete = sum(one == every for one in sets)
    return found


def compare(bag: Path, replayed: Path, topics: Collection[str]) -> tuple[int, int]:
    """How many messages of a recording are those of a replay, byte for byte.

    Args:
        bag: that was recorded.
        replayed: that `diception replay` wrote of the same pictures.
        topics: that are compared, relative to the node.

    Returns:
        Equal ones, and all.
    """
    known = {
        (stamp, topic): _digest(message)
        for stamp, messages in frames(replayed)
        for topic, message in messages.items()
        if topic in topics
    }
    equal = count = 0
    for stamp, messages in frames(bag):
        for topic in topics & messages.keys():
            count += 1
            equal += known.get((stamp, topic)) == _digest(messages[topic])
    return equal, count


def _digest(message: Any) -> bytes:
    return hashlib.sha256(TYPES.serialize_cdr(message, message.__msgtype__)).digest()


def without_memory(names: Sequence[str], types: Types) -> set[str]:
    """Topics of tasks whose answers do not depend on which frames were answered before.

    Things keep their numbers from frame to frame, so those depend.
    """
    return {
        one.topic
        for name in names
        if not issubclass(tasks.get(name).label, Instances)
        for one in outputs.declared(tasks.get(name), types)
    }


def label(
    task: str, messages: Mapping[str, Any], size: tuple[int, int], categories: Sequence[str]
) -> Label | None:
    """The answer that messages of one frame tell; None where they tell none.

    Args:
        task: its name.
        messages: by topic relative to the node.
        size: (H, W) of the picture, pixels.
        categories: that were looked for.
    """
    found = truth.answer_from(task, {**messages, 'size': size}, categories)
    if not isinstance(found, Instances) or not tasks.get(task).takes_category:
        return found
    # Which category a thing is of stands in the map of categories; vision_msgs may be missing.
    said = pictures.array_from(messages[f'{task}/label'])
    names = []
    for number in range(1, len(found.scores) + 1):
        there = said[found.ids == number]
        names.append(categories[int(there[0])] if there.size else '')
    return Instances(found.ids, tuple(names), np.asarray(found.scores, np.float32))


def only(things: Instances, categories: Collection[str]) -> Instances:
    """The things of some categories, numbered anew from 1."""
    kept = [k for k, name in enumerate(things.categories) if name in categories]
    ids = np.zeros_like(things.ids)
    for number, k in enumerate(kept, 1):
        ids[things.ids == k + 1] = number
    return Instances(ids, tuple(things.categories[k] for k in kept), things.scores[kept])
