# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the stamps of pictures and the clock of the node are of one world. Knows no ROS."""

from __future__ import annotations

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
