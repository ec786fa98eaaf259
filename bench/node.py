# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much time the node adds to the model's, for each size of images and number of tasks.

    python bench/node.py [--seconds 20] [--rate 10]
    python bench/node.py --limit 1 [--base DIR] [--rounds 5]

Three processes with the shared memory of config/fastdds_shm.xml: a camera that stamps and
publishes images and listens to the answers (this one), the node with a model of no cost
(bench/zero.py), and a bare rclpy relay of the same images. The time is from the header's stamp
until the node, or the relay, has published all answers about it, as it says itself; so the way of
the image to the node is in it and the way of the answer back is not. CPU is of one core.

With --limit: what it costs to receive images of 1280x720 at 30 Hz and answer as many a second,
beside a bare rclpy subscriber that takes every image and does nothing with it and, with --base,
the node of another checkout (its bench/zero.py); all of them listen to the same camera at the same
time. What a process takes of a core without images is subtracted; the median of the rounds.
"""

from __future__ import annotations

import argparse
import array
from contextlib import ExitStack
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from diception_ros.system import ros_environment
from diception_ros.system.processes import Subprocess

ROOT = Path(__file__).resolve().parents[1]
SIZES = {'640x480': (480, 640), '1280x720': (720, 1280), '1920x1080': (1080, 1920)}
TASKS = {1: ['depth'], 3: ['depth', 'normal', 'entity']}
# What is listened to of each task: what machines read, not what is painted for eyes.
TOPICS = {
    'depth': 'disparity/image', 'normal': 'normal/image', 'entity': 'entity/label',
}  # fmt: skip
# Seconds without images, in which the use of the processor is measured, too.
IDLE = 5
OUT = 'out '  # begins a line of a process: stamp of an image and when its answers were out, ns


class Row(NamedTuple):
    """What one of the two processes did.

    Attributes:
        p50: milliseconds, median.
        p99: milliseconds.
        answered: images.
        cpu: % of a core while images came.
        idle: % of a core afterwards.
    """

    p50: float
    p99: float
    answered: int
    cpu: float
    idle: float


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
        print(f'{OUT}{stamp} {time.time_ns()}', flush=True)

    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, 'image', pass_on, best_effort)
    rclpy.spin(node)


def subscribe():
    """Receive images and do nothing."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('subscriber')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, 'image', lambda message: None, best_effort)
    rclpy.spin(node)


def worker():
    """The node of bench/zero.py, which says when the answers about an image were out."""
    import zero

    from diception_ros.node import process
    from diception_ros.node.worker import Worker

    record = Worker._record

    def noted(self, camera, result, seconds):
        print(f'{OUT}{result.query.frame.stamp_ns} {time.time_ns()}', flush=True)
        record(self, camera, result, seconds)

    Worker._record = noted
    process.run(sys.argv[sys.argv.index('--ros-args') :], zero.load)


def receive(seconds, limit, base, rounds):
    """Print the CPU of nodes that answer `limit` times a second, and of a bare subscriber."""
    trees = {'node': ROOT, **({'base': base} if base else {})}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        children = {}
        commands = {'subscriber': ([__file__, 'subscribe'], os.environ)}
        for name, tree in trees.items():
            arguments = ['--ros-args', '-r', f'__node:={name}', '-p', 'tasks:=[depth]']
            arguments += ['-p', f'max_rate_hz:={limit}']
            environment = {**os.environ, 'PYTHONPATH': str(tree)}
            commands[name] = [str(tree / 'bench' / 'zero.py'), *arguments], environment
        for name, (command, environment) in commands.items():
            children[name] = Subprocess(
                name, [sys.executable, *command], Path(folder) / f'{name}.log', environment
            )
            stack.callback(children[name].end)
        listened = {f'/{name}/{TOPICS["depth"]}': name for name in trees}
        found = {name: [] for name in children}
        for _ in range(rounds):
            heard, busy, idle = film(children, SIZES['1280x720'], listened, seconds, 30)[1:]
            for name in children:
                count = sum(number for topic, number in heard.items() if listened[topic] == name)
                above = 100 * (busy[name] / seconds - idle[name] / IDLE)
                found[name].append((count / seconds, above, 100 * idle[name] / IDLE))
    print('| | results/s | CPU % above idle | of all rounds | idle CPU % |\n|---|---|---|---|---|')
    for name, rows in found.items():
        rate, above, idle = np.median(rows, axis=0)
        spread = ', '.join(f'{row[1]:.1f}' for row in sorted(rows, key=lambda row: row[1]))
        print(f'| {name} | {rate:.2f} | {above:.1f} | {spread} | {idle:.1f} |')


def measure(size, tasks, seconds, rate):
    """Rows of the node and of the relay for images of a size, and how many were sent."""
    given = f'tasks:=[{", ".join(tasks)}]'
    commands = {'node': ['worker', '--ros-args', '-p', given], 'relay': ['relay']}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        children = {}
        for name, arguments in commands.items():
            command = [sys.executable, __file__, *arguments]
            children[name] = Subprocess(name, command, Path(folder) / f'{name}.log')
            stack.callback(children[name].end)
        listened = ['/relayed', *(f'/perception/{TOPICS[task]}' for task in tasks)]
        sent, _, busy, idle = film(children, size, listened, seconds, rate)
        stack.close()
        rows = []
        for name, child in children.items():
            lines = [line.split()[1:] for line in child.lines() if line.startswith(OUT)]
            out = {int(stamp): int(then) for stamp, then in lines}
            took = [(out[stamp] - stamp) / 1e6 for stamp in sent if stamp in out]
            p50, p99 = np.percentile(took, (50, 99))
            rows.append(Row(p50, p99, len(took), 100 * busy[name] / seconds,
                            100 * idle[name] / IDLE))  # fmt: skip
    return *rows, len(sent)


def film(children, size, listened, seconds, rate):
    """Be the camera, and listen to some topics.

    Returns:
        stamps that were sent, messages by topic, and each process's CPU seconds while and after
        it.
    """
    import psutil
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('camera')
    heard = dict.fromkeys(listened, 0)

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

    processes = {name: psutil.Process(child.pid) for name, child in children.items()}

    def used():
        return {name: sum(one.cpu_times()[:2]) for name, one in processes.items()}

    def since(before):
        return {name: now - before[name] for name, now in used().items()}

    limit = time.monotonic() + 60
    while not all(heard.values()):
        for child in children.values():
            child.check()
        assert time.monotonic() < limit, heard
        publish_for(0.5)
    publish_for(1)
    before, heard_before = used(), dict(heard)
    sent = publish_for(seconds)
    busy = since(before)
    heard_then = {topic: count - heard_before[topic] for topic, count in heard.items()}
    publish_for(0.5, sending=False)
    before = used()
    publish_for(IDLE, sending=False)
    idle = since(before)
    node.destroy_node()
    rclpy.shutdown()
    return sent, heard_then, busy, idle


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=20, help='of images, for each line')
    parser.add_argument('--limit', type=float, default=0.0, help='answers a second; see above')
    parser.add_argument('--base', type=Path, help='with --limit: another checkout')
    parser.add_argument('--rounds', type=int, default=5, help='with --limit')
    parser.add_argument('--rate', type=float, default=10, help='images a second')
    args = parser.parse_args()
    if args.limit:
        with ros_environment.domain() as number:
            os.environ.update(ros_environment.variables(number), OMP_NUM_THREADS='1')
            receive(args.seconds, args.limit, args.base and args.base.resolve(), args.rounds)
        return
    print(
        '| image | tasks | p50 ms | p99 ms | relay p50 | relay p99 | p99 ratio | answered '
        '| CPU % | idle CPU % |'
    )
    print('|---|---|---|---|---|---|---|---|---|---|')
    with ros_environment.domain() as number:
        os.environ.update(ros_environment.variables(number), OMP_NUM_THREADS='1')
        for name, size in SIZES.items():
            for count, tasks in TASKS.items():
                ours, bare, sent = measure(size, tasks, args.seconds, args.rate)
                print(
                    f'| {name} | {count} | {ours.p50:.1f} | {ours.p99:.1f} | {bare.p50:.1f} | '
                    f'{bare.p99:.1f} | {ours.p99 / bare.p99:.1f} | {ours.answered} of {sent} | '
                    f'{ours.cpu:.0f} | {ours.idle:.1f} |',
                    flush=True,
                )


if __name__ == '__main__':
    {'relay': relay, 'worker': worker, 'subscribe': subscribe}.get(
        sys.argv[1] if sys.argv[1:] else '', main
    )()
