# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of recorded topics, as rosbag2 keeps it: `offered_qos_profiles`, YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from diception_ros.system import safe_load

# Messages of a publisher that are kept where the recording does not say how many, as DDS does not
# tell it to subscribers. rosbag2's default.
DEPTH = 10
# Most messages that a publisher keeps, and longest text that is read, bytes.
_MAX_DEPTH, _MAX_TEXT = 1000, 1 << 16
_PROFILE = """\
- history: keep_last
  depth: {depth}
  reliability: {reliability}
  durability: {durability}
  deadline: {{sec: 9223372036, nsec: 854775807}}
  lifespan: {{sec: 9223372036, nsec: 854775807}}
  liveliness: automatic
  liveliness_lease_duration: {{sec: 9223372036, nsec: 854775807}}
  avoid_ros_namespace_conventions: false"""


class Offered(NamedTuple):
    """What a publisher offers.

    Attributes:
        reliable: lost messages are sent again.
        latched: the last messages are kept for later subscribers (durability transient local).
        depth: messages that are kept.
    """

    reliable: bool = True
    latched: bool = False
    depth: int = DEPTH


def to_text(*offers: Offered) -> str:
    """The profiles of a topic's publishers as rosbag2 writes them."""
    return '\n'.join(
        _PROFILE.format(
            depth=offer.depth,
            reliability='reliable' if offer.reliable else 'best_effort',
            durability='transient_local' if offer.latched else 'volatile',
        )
        for offer in offers
    )


def from_text(text: str) -> list[Offered]:
    """The profiles in a text of rosbag2; none where it has none or cannot be understood.

    Policies are names in recordings of Jazzy and later, and the numbers of rmw before.
    """
    if len(text) > _MAX_TEXT:
        return []
    try:
        profiles = safe_load.yaml_text(text, 'offered_qos_profiles') or []
        return [
            Offered(
                str(each['reliability']) not in ('best_effort', '2'),
                str(each['durability']) in ('transient_local', '1'),
                int(each['depth']) or DEPTH,
            )
            for each in profiles
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []


def combined(offers: Sequence[Offered]) -> Offered:
    """What one publisher offers in place of all, so that every subscriber of theirs is served."""
    if not offers:
        return Offered()
    return Offered(
        any(offer.reliable for offer in offers),
        any(offer.latched for offer in offers),
        min(_MAX_DEPTH, max(1, sum(offer.depth for offer in offers))),
    )
