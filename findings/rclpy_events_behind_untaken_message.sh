#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# rclpy 9.1.2 and rmw_fastrtps_cpp 9.3.3 (Kilted, wheels), Python 3.11, Linux x86-64.
# A callback group can keep a subscription out of an executor's wait set while the subscription's
# QoS events (here message_lost) stay in it, so as to leave messages in the middleware until
# somebody wants one. While the reader holds a message that was not taken, every wait for those
# events returns at once although no event is there: the executor wakes thousands of times a
# second, and no callback runs. Without a held message it sleeps until its timeout.
#
# Prints how often the executor builds a wait set in two seconds, and fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'ros-rclpy[fastrtps]==9.1.2' 'ros-std-msgs==5.5.1' \
    'ros-rmw-fastrtps-cpp==9.3.3'
cd "$folder"
cat > try.py <<'PY'
import time

import rclpy
from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.subscription import Subscription
from std_msgs.msg import String


class EventsOnly(CallbackGroup):
    def can_execute(self, entity):
        return not isinstance(entity, Subscription)

    def beginning_execution(self, entity):
        return True

    def ending_execution(self, entity):
        pass


class Counting(SingleThreadedExecutor):
    waits = 0

    def get_nodes(self):  # once for each wait set
        self.waits += 1
        return super().get_nodes()


def waits_in_two_seconds(executor):
    executor.waits, end = 0, time.monotonic() + 2
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)
    return executor.waits


rclpy.init()
listener, talker = rclpy.create_node('listener'), rclpy.create_node('talker')
events = []
listener.create_subscription(
    String, 'topic', print, 1, callback_group=EventsOnly(),
    event_callbacks=SubscriptionEventCallbacks(message_lost=events.append),
)
publisher = talker.create_publisher(String, 'topic', 1)
executor = Counting()
executor.add_node(listener)
time.sleep(1)
print('no message held: at most ten wait sets:', waits_in_two_seconds(executor) <= 10)
publisher.publish(String(data='held'))
time.sleep(0.2)
print('a message held: over a hundred wait sets:', waits_in_two_seconds(executor) > 100)
print('events:', events)
PY
venv/bin/python try.py | tee seen.txt
diff seen.txt - <<'SEEN'
no message held: at most ten wait sets: True
a message held: over a hundred wait sets: True
events: []
SEEN
