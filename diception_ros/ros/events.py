# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the middleware tells about a topic: others that cannot be understood, messages lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )


def of_publisher(mismatch: Callable[[str], None]) -> PublisherEventCallbacks:
    """Callbacks of a publisher.

    Args:
        mismatch: told the policy when a subscriber demands what is not offered.
    """
    return PublisherEventCallbacks(incompatible_qos=lambda event: mismatch(policy_of(event)))


def of_subscription(
    mismatch: Callable[[str], None], lost: Callable[[int], None] | None
) -> SubscriptionEventCallbacks:
    """Callbacks of a subscription.

    Args:
        mismatch: told the policy when a publisher does not offer what is demanded.
        lost: told how many messages were lost since the subscription began; None: nobody.
    """
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: mismatch(policy_of(event)),
        message_lost=None if lost is None else lambda event: lost(int(event.total_count)),
    )


def policy_of(event: Any) -> str:
    """'RELIABILITY' and the like, of an event about incompatible QoS."""
    return str(qos_policy_name_from_kind(event.last_policy_kind))
