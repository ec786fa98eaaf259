# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Detect missing images and wrong clocks, and explain what to do about them. Knows no ROS.

Silence is measured by a clock that never jumps, because /clock may pause or start again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import difflib
from typing import NamedTuple

from diception_ros.messages.compressed import VIDEO_TYPES, republish
from diception_ros.system.ros_environment import PROFILE, VARIABLES, profile

# Most topics that one warning lists.
MOST = 5
# Difference between stamps and clock that is logged, seconds: far beyond any latency, near enough
# that the unsynchronised clocks of two machines are noticed.
WILD_S = 10.0


@dataclass(frozen=True)
class Publisher:
    """A publisher of a topic.

    Attributes:
        node: its full name.
        kind: type of its messages, such as 'sensor_msgs/msg/Image'.
        reliable: whether it offers reliable delivery.
    """

    node: str
    kind: str
    reliable: bool


@dataclass(frozen=True)
class Subscribed:
    """How the node subscribes to a camera's images.

    Attributes:
        topic: full name of the topic.
        relative: its name before remapping, such as 'image'.
        kind: type of the expected messages.
        reliable: whether reliable delivery is required.
        fix_hint: what to do against lost images, '' where the middleware is not known to lose any.
    """

    topic: str
    relative: str
    kind: str
    reliable: bool
    fix_hint: str


class Silence(NamedTuple):
    """Result of one look at a camera's counter.

    Attributes:
        seconds: without an image if these are too many, else 0.
        began: whether this silence is reported for the first time.
        ended: whether images have just returned.
    """

    seconds: float
    began: bool
    ended: bool


def explain(
    subscribed: Subscribed,
    publishers: list[Publisher],
    silence: float,
    elsewhere: Sequence[str] = (),
) -> str:
    """Why no images are received, and what to do.

    Args:
        subscribed: how the node subscribes.
        publishers: of the topic, of any message type.
        silence: seconds without an image.
        elsewhere: other topics that have publishers of the expected type.
    """
    topic, remap = subscribed.topic, f'--ros-args -r {subscribed.relative}:='
    begin = f'no images on {topic} for {silence:.0f} s; it has '
    if not publishers and elsewhere:
        close = difflib.get_close_matches(topic, elsewhere, n=1, cutoff=0)
        return (
            f'{begin}no publisher, but there are images on {", ".join(elsewhere[:MOST])}. Is it '
            f'one of these? Then {remap}{close[0]}'
        )
    if not publishers:
        return (
            f'{begin}no publisher. Is the camera running, and is this its topic? If not: '
            f'{remap}TOPIC; ROS_DOMAIN_ID must be the same on both sides'
        )
    names = ', '.join(sorted({publisher.node for publisher in publishers}))
    plural = 's' if len(publishers) > 1 else ''
    begin += f'{len(publishers)} publisher{plural} ({names})'
    kinds = sorted({publisher.kind for publisher in publishers})
    if subscribed.kind not in kinds:
        video = next((VIDEO_TYPES[kind] for kind in kinds if kind in VIDEO_TYPES), '')
        return f'{begin} of {", ".join(kinds)}, but {subscribed.kind} is expected; ' + (
            f'decode the video first: {republish(video, topic)}'
            if video
            else 'set image_transport to raw or compressed'
        )
    if subscribed.reliable and not any(publisher.reliable for publisher in publishers):
        return (
            f'{begin} that offers best effort, and reliable delivery is required; set '
            f'qos_overrides.{topic}.subscription.reliability to best_effort'
        )
    end = 'which is silent, paused, or loses images on the way'
    return f'{begin}, {end}{"; " if subscribed.fix_hint else ""}{subscribed.fix_hint}'


def loss_hint(rmw: str, environment: dict[str, str]) -> str:
    """What to do against lost images with this middleware and these variables; '' if nothing.

    Args:
        rmw: name of the middleware, such as 'rmw_fastrtps_cpp'.
        environment: variables of the process.
    """
    files = {environment[name] for name in VARIABLES if environment.get(name)}
    shipped = str(profile())
    if 'fastrtps' not in rmw or files - {shipped}:
        return ''
    return (
        'Fast DDS loses large best-effort messages between processes: set '
        f'{VARIABLES[0]} (Jazzy and older: {VARIABLES[1]}) to the {PROFILE} of this package '
        + (f'for the camera, as it is set for this node: {shipped}' if files else
           'for this node and for the camera')
    )  # fmt: skip


class Watchdog:
    """Detects that the images of one camera stop.

    Args:
        limit: longest normal time between two images, seconds.
        now: steady time at which it starts, seconds.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._last = now
        self._count = 0
        self._silent = False

    def update(self, now: float, count: int, expected: bool = True) -> Silence:
        """Compare the counter with that of the last call.

        Args:
            now: steady time, seconds.
            count: images received so far.
            expected: whether the node subscribes at all.
        """
        if count != self._count:
            self._count, self._last = count, now
            ended, self._silent = self._silent, False
            return Silence(0.0, False, ended)
        if not expected:
            self._last = now
        seconds = now - self._last
        if seconds < self._limit:
            return Silence(0.0, False, False)
        began, self._silent = not self._silent, True
        return Silence(seconds, began, False)


def clock_mismatch(now_ns: int, stamp_ns: int, simulated: bool) -> str:
    """Why stamps and clock do not belong together, and what to do; '' if they do.

    Args:
        now_ns: the node's clock, nanoseconds; 0 where a simulated one has not started.
        stamp_ns: of an image just received, nanoseconds.
        simulated: whether use_sim_time is set.
    """
    if simulated and now_ns == 0:
        return (
            'use_sim_time is set, but nothing is received on /clock, so latencies are wrong; play '
            'the recording with --clock, or set use_sim_time to false'
        )
    age = (now_ns - stamp_ns) / 1e9
    if abs(age) <= WILD_S:
        return ''
    before = f'{abs(age):.0f} s {"before" if age > 0 else "after"}'
    if simulated:
        return f'images are stamped {before} /clock; they and the clock have different sources'
    return (
        f"images are stamped {before} this machine's clock, so latencies are wrong; for a "
        'recording set use_sim_time to true and play it with --clock, for two machines '
        'synchronise their clocks'
    )
