# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong when no pictures come, once for each time. Knows no ROS.

All times are of a clock that never jumps: /clock may pause or begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import difflib

from diception_ros.system.fastdds import PROFILE, VARIABLES

# Topics that a warning names.
MOST = 5


@dataclass(frozen=True)
class Publisher:
    """Who publishes on a topic.

    Attributes:
        node: its full name.
        kind: of its messages, such as 'sensor_msgs/msg/Image'.
        reliable: whether it offers reliable delivery.
    """

    node: str
    kind: str
    reliable: bool


@dataclass(frozen=True)
class Listening:
    """How we listen on a topic.

    Attributes:
        topic: its full name.
        relative: its name before it is remapped, such as 'image'.
        kind: of the messages that are expected.
        reliable: whether reliable delivery is demanded.
        cure: what to do against lost pictures, '' where the middleware is not known to lose them.
    """

    topic: str
    relative: str
    kind: str
    reliable: bool
    cure: str


def explain(
    listening: Listening,
    publishers: list[Publisher],
    silence: float,
    elsewhere: Sequence[str] = (),
) -> str:
    """Why no pictures come, and what to do.

    Args:
        listening: how we listen.
        publishers: who publishes on the topic, of any kind.
        silence: seconds without a picture.
        elsewhere: other topics on which messages of the kind are published.
    """
    begin = f'no pictures on {listening.topic} for {silence:.0f} s; it has '
    if not publishers and elsewhere:
        close = difflib.get_close_matches(listening.topic, elsewhere, n=1, cutoff=0)
        return (
            f'{begin}no publisher, but there are pictures on {", ".join(elsewhere[:MOST])}. Is it '
            f'one of these? Then --ros-args -r {listening.relative}:={close[0]}'
        )
    if not publishers:
        return (
            f'{begin}no publisher. Is the camera running, and is this its topic? If not: '
            f'--ros-args -r {listening.relative}:=TOPIC; ROS_DOMAIN_ID must be the same on both '
            'sides'
        )
    names = ', '.join(sorted({one.node for one in publishers}))
    begin += f'{len(publishers)} publisher{"s" if len(publishers) > 1 else ""} ({names})'
    kinds = sorted({one.kind for one in publishers})
    if listening.kind not in kinds:
        return (
            f'{begin} of {", ".join(kinds)}, but {listening.kind} is expected; set '
            'image_transport to raw or compressed'
        )
    if listening.reliable and not any(one.reliable for one in publishers):
        return (
            f'{begin} that offers best effort, and reliable delivery is demanded; set '
            f'qos_overrides.{listening.topic}.subscription.reliability to best_effort'
        )
    end = 'which is silent, paused, or loses pictures on the way'
    return f'{begin}, {end}{"; " if listening.cure else ""}{listening.cure}'


def cure(rmw: str, environment: dict[str, str]) -> str:
    """What to do against lost pictures with this middleware and these variables; '' if nothing.

    Args:
        rmw: name of the middleware, such as 'rmw_fastrtps_cpp'.
        environment: variables of the process.
    """
    if 'fastrtps' not in rmw or any(environment.get(name) for name in VARIABLES):
        return ''
    return (
        'Fast DDS loses big best-effort messages between processes: set '
        f'{VARIABLES[0]} (Jazzy and older: {VARIABLES[1]}) to the {PROFILE} of this package for '
        'this node and for the camera, as the launch file does for the node'
    )


class Watchdog:
    """Looks whether pictures of one camera keep coming.

    Args:
        limit: seconds of silence that are too long.
        now: steady time at which it began to listen, seconds.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._last = now
        self._count = 0
        self._silent = False

    def look(self, now: float, count: int, expected: bool = True) -> tuple[float, bool, bool]:
        """Look once more.

        Args:
            now: steady time, seconds.
            count: pictures received so far.
            expected: whether the node listens at all.

        Returns:
            seconds of silence if they are too many, else 0; whether this is new; whether pictures
            have just come back.
        """
        if count != self._count:
            self._count, self._last = count, now
            back, self._silent = self._silent, False
            return 0.0, False, back
        if not expected:
            self._last = now
        silence = now - self._last
        if silence < self._limit:
            return 0.0, False, False
        new, self._silent = not self._silent, True
        return silence, new, False


# Whether the stamps of pictures and the clock of the node are of one world. Knows no ROS.


# Far beyond any latency, near enough that the clocks of two machines are noticed.
WILD_S = 10.0


def disagreement(now_ns: int, stamp_ns: int, simulated: bool) -> str:
    """What is wrong with the clock, and what to do; '' if nothing is.

    Args:
        now_ns: the node's clock, nanoseconds; 0 where a simulated one has not begun.
        stamp_ns: of a picture that has just come, nanoseconds.
        simulated: whether use_sim_time is set.
    """
    if simulated and now_ns == 0:
        return (
            'use_sim_time is set, but nothing comes on /clock, so latencies mean nothing; play '
            'the recording with --clock, or set use_sim_time to false'
        )
    age = (now_ns - stamp_ns) / 1e9
    if abs(age) <= WILD_S:
        return ''
    before = f'{abs(age):.0f} s {"before" if age > 0 else "after"}'
    if simulated:
        return f'pictures are stamped {before} /clock; they come from elsewhere than the clock'
    return (
        f"pictures are stamped {before} this machine's clock, so latencies mean nothing; for a "
        'recording set use_sim_time to true and play it with --clock, for two machines '
        'synchronise their clocks'
    )
