# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much time the node adds to the model's.

  python bench/node.py [--seconds 10] [--rate 10]

Three processes with the shared memory of config/fastdds_shm.xml: a camera that stamps and
publishes pictures and listens to the answers (this one), the node with a model of no cost
(bench/zero.py), and a bare rclpy relay of the same pictures. The time is from the header's stamp
until the node, or the relay, has published all answers about it, as it says itself; so the way of
the picture to the node is in it and the way of the answer back is not. CPU is of one core.

"""

from __future__ import annotations

import argparse
import array
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIZES = {'640x480': (480, 640), '1280x720': (720, 1280), '1920x1080': (1080, 1920)}
TASKS = {1: ['depth'], 3: ['depth', 'normal', 'entity']}
# What is listened to of each task: what machines read, not what is painted for eyes.
TOPICS = {
    'depth': 'disparity/image', 'normal': 'normal/image', 'entity': 'entity/label',
}  # fmt: skip
DOMAIN = '101'


def relay():
    """Publish what comes, and say when it was out: the least that rclpy can do."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('relay')
    publisher = node.create_publisher(Image, 'relayed', QoSProfile(depth=2))

    def pass_on(message):
        publisher.publish(message)
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        print(json.dumps([stamp, time.time_ns()]), flush=True)

    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, 'image', pass_on, best_effort)
    rclpy.spin(node)


def worker():
    """The node of bench/zero.py, which says when the answers about a picture were out."""
    import zero

    from diception_ros.ros import process
    from diception_ros.ros.worker import Worker

    note = Worker._note

    def noted(self, camera, answer, stamp_ns, seconds):
        print(json.dumps([stamp_ns, time.time_ns()]), flush=True)
        note(self, camera, answer, stamp_ns, seconds)

    Worker._note = noted
    process.run(sys.argv[sys.argv.index('--ros-args') :], zero.load)


def start(what, *arguments):
    """One of the two as a process, whose standard output is read at the end."""
    return subprocess.Popen(
        [sys.executable, __file__, what, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def measure(size, tasks, seconds, rate):
    """Rows of the node and of the relay for pictures of a size: (name, p50, p99 ms, share)."""
    import psutil
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    given = f'tasks:=[{", ".join(tasks)}]'
    children = {
        'relay': start('relay'),
        'node': start('worker', '--ros-args', '-p', given),
    }
    rclpy.init()
    node = rclpy.create_node('camera')
    heard = dict.fromkeys(['/relayed', *(f'/perception/{TOPICS[task]}' for task in tasks)], 0)

    def count(topic):
        heard[topic] += 1

    for topic in heard:
        node.create_subscription(
            Image, topic, lambda message, topic=topic: count(topic), QoSProfile(depth=2)
        )
    publisher = node.create_publisher(
        Image, 'image', QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    message = Image(encoding='rgb8', height=size[0], width=size[1], step=3 * size[1])
    message.data = array.array('B', pixels.tobytes())

    def publish_for(duration, sending=True):
        sent, end = [], time.monotonic() + duration
        due = time.monotonic()
        while (now := time.monotonic()) < end:
            if sending and now >= due:
                due += 1 / rate
                stamp = time.time_ns()
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                publisher.publish(message)
                sent.append(stamp)
            rclpy.spin_once(node, timeout_sec=max(0, min(due, end) - time.monotonic()))
        return sent

    limit = time.monotonic() + 60
    while not all(heard.values()):
        assert time.monotonic() < limit, heard
        publish_for(0.5)
    publish_for(1)
    processes = {name: psutil.Process(child.pid) for name, child in children.items()}
    used = {name: sum(one.cpu_times()[:2]) for name, one in processes.items()}
    sent = publish_for(seconds)
    busy = {name: sum(one.cpu_times()[:2]) - used[name] for name, one in processes.items()}
    publish_for(0.5, sending=False)
    used = {name: sum(one.cpu_times()[:2]) for name, one in processes.items()}
    publish_for(5, sending=False)
    idle = {name: sum(one.cpu_times()[:2]) - used[name] for name, one in processes.items()}
    node.destroy_node()
    rclpy.shutdown()
    rows = []
    for name, child in children.items():
        child.send_signal(signal.SIGINT)  # a bare rclpy.spin at times sleeps on after a SIGTERM
        lines = child.communicate()[0].splitlines()
        out = dict(json.loads(line) for line in lines if line.startswith('['))
        took = [(out[stamp] - stamp) / 1e6 for stamp in sent if stamp in out]
        p50, p99 = np.percentile(took, (50, 99))
        cpu = 100 * busy[name] / seconds, 100 * idle[name] / 5
        rows.append((name, p50, p99, len(took), len(sent), *cpu))
    return rows


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--rate', type=float, default=10)
    args = parser.parse_args()
    os.environ.update(
        ROS_DOMAIN_ID=DOMAIN, ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', OMP_NUM_THREADS='1',
        FASTDDS_DEFAULT_PROFILES_FILE=str(ROOT / 'config' / 'fastdds_shm.xml'),
    )  # fmt: skip
    print(
        '| picture | tasks | p50 ms | p99 ms | relay p50 | relay p99 | p99 ratio | answered '
        '| CPU % | idle CPU % |'
    )
    print('|---|---|---|---|---|---|---|---|---|---|')
    for name, size in SIZES.items():
        for count, tasks in TASKS.items():
            bare, ours = measure(size, tasks, args.seconds, args.rate)
            print(
                f'| {name} | {count} | {ours[1]:.1f} | {ours[2]:.1f} | {bare[1]:.1f} | '
                f'{bare[2]:.1f} | {ours[2] / bare[2]:.1f} | {ours[3]} of {ours[4]} | '
                f'{ours[5]:.0f} | {ours[6]:.1f} |',
                flush=True,
            )


if __name__ == '__main__':
    {'relay': relay, 'worker': worker}.get(sys.argv[1] if sys.argv[1:] else '', main)()
