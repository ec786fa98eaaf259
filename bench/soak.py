# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the node for long under faults, and checks what must hold all the time.

    python bench/soak.py [--minutes 60] [--model builtin] [--rate 2] [--log soak.jsonl]

The node has two cameras, each a process of its own. A round of a minute is a storm (cameras end,
are killed, stopped and started; valid and invalid parameters; prompts; SIGSTOP and SIGCONT of the
node; stamps and /clock that jump back and forth; deactivation; viewers that come and go; broken
images) and a calm of 20 s in which everything is as at the start.

Checked of every diagnostics message: received = processed + dropped + failed + waiting, for the
node and each camera. Checked of every result: its header is one of its camera. Checked in each
calm: as many threads and file descriptors as in the first round after which 100 images were
processed, and at most 2 % more memory in use. That is the private resident memory (without pages
of files and shared memory, which the kernel takes away and gives back) at a moment when the heaps
of the C library keep no free pages: the node returns them at the first image after a change of
parameters, and without viewers it processes none after it. Before that moment memory is measured
with what the heaps keep, too, which differs by round; a robot needs room for its highest value.
The exit code is 1 if something did not hold.
"""

from __future__ import annotations

import argparse
from collections import Counter
import contextlib
from contextlib import ExitStack
import fcntl
import json
import os
from pathlib import Path
import random
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

from diception_ros.system import ros_environment
from diception_ros.system.processes import Subprocess

CAMERAS = ('front', 'rear')
NODE = '/perception'
SIZE = (48, 64)
# Seconds of a round, and of the calm at its end.
ROUND, CALM = 60.0, 20.0
# Seconds that measuring takes, about.
MEASURE = 14.0
# Memory in use by that of the first round after WARM images were processed; in those before, tasks
# and settings are used for the first time.
GROWTH, WARM = 1.02, 100
START = {
    'tasks': ['depth', 'entity'], 'max_rate_hz': 0.0, 'num_inference_steps': 1,
    'guidance_scale': 1.0, 'depth__metric': 'off', 'temporal__smooth': 0.0, 'tta_shifts': 2,
    'temporal__track_ids': True, 'semantic__categories': ['person'], 'output_size': 'camera',
    'lazy': True, 'ensemble_size': 1,
}  # fmt: skip
# Parameters that a storm sets, valid ones first. The invalid ones are refused.
VALID = [
    *({name: value} for name, value in START.items()),
    {'tasks': ['depth', 'normal', 'segmentation']}, {'tasks': ['semantic', 'pose', 'depth']},
    {'num_inference_steps': 2}, {'guidance_scale': 2.0}, {'max_rate_hz': 0.5},
    {'tta_shifts': 1}, {'ensemble_size': 2}, {'temporal__smooth': 0.9},
    {'temporal__track_ids': False}, {'semantic__categories': ['chair', 'table']},
    {'output_size': 'model'}, {'lazy': False}, {'temporal__noise': 'per_frame'},
    {'depth__metric': 'fixed', 'depth__scale': 1.0, 'depth__shift': 0.1},
    {'depth__metric': 'aligned'},
]  # fmt: skip
# The largest batch of all valid settings, whose memory ONNX Runtime and torch keep.
LARGEST = {
    'tasks': ['semantic', 'pose', 'depth'], 'ensemble_size': 2, 'guidance_scale': 2.0,
    'num_inference_steps': 2, 'tta_shifts': 2,
}  # fmt: skip
INVALID = [
    {'num_inference_steps': 0}, {'max_rate_hz': float('nan')}, {'max_rate_hz': -1.0},
    {'tasks': ['depht']}, {'tasks': []}, {'semantic__categories': ['unknown']},
    {'cameras': ['other']}, {'depth__metric': 'fixed', 'depth__scale': 0.0},
    {'tta_shifts': 10**6}, {'guidance_scale': float('inf')}, {'output_size': 'huge'},
]  # fmt: skip
TOPICS = {'disparity/image': 'depth', 'entity/label': 'entity', 'normal/image': 'normal',
          'segmentation/mask': 'segmentation', 'semantic/label': 'semantic'}  # fmt: skip


def tag(camera, sec, sequence):
    """Last three digits of a stamp, by which the rest of it and the camera are known."""
    return (sec * 31 + sequence * 7 + 500 * CAMERAS.index(camera)) % 1000


def is_of(camera, header):
    """Whether a header is one that this camera makes."""
    sequence, found = divmod(header.stamp.nanosec, 1000)
    return found == tag(camera, header.stamp.sec, sequence) and header.frame_id == camera


def camera(name, rate, seed):
    """Publish images and CameraInfo until SIGINT, some broken, some with stamps that jump."""
    import nodes
    import rclpy
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    chance = random.Random(seed)
    rclpy.init(args=[])
    node = rclpy.create_node(f'camera_{name}')
    images = node.create_publisher(Image, f'{name}/image', 2)
    infos = node.create_publisher(CameraInfo, f'{name}/camera_info', 2)
    shift, sequence = 0.0, chance.randrange(10**5)
    while rclpy.ok():
        sequence += 1
        if chance.random() < 0.02:
            shift = chance.choice([0, 0, -3600, 3600, -1, 1, -1e8, 1e6])
        header = Header(frame_id=name)
        header.stamp.sec = int(time.time() + shift)
        number = sequence % 10**6
        header.stamp.nanosec = number * 1000 + tag(name, header.stamp.sec, number)
        size = SIZE if chance.random() < 0.95 else (40, 80)
        message = nodes.image(nodes.rgb_array(sequence % 50, size), header=header)
        if chance.random() < 0.03:
            message.step = 1
        elif chance.random() < 0.02:
            message.encoding = chance.choice(['h264', '', 'rgb8 '])
        infos.publish(nodes.info(header, size))
        images.publish(message)
        time.sleep(1 / rate)


def warm_rounds(rounds):
    """The rounds after WARM images were processed."""
    return [one for one in rounds if one['processed'] >= WARM]


class Soak:
    """The node, its cameras and viewers, and what was found wrong."""

    def __init__(self, args, domain, folder, stack):
        import nodes

        self.args, self.folder, self.domain = args, folder, domain
        self.chance = random.Random(args.seed)
        self.peer = stack.enter_context(nodes.Peer(domain, 'soak'))
        # Fast DDS drops answers for a client that it has just found; every request here may come
        # twice.
        self.peer.ask = self.peer.look_up
        self.wrong, self.done = Counter(), Counter()
        self.heard, self.levels, self.diagnostics = Counter(), Counter(), 0
        self.cameras, self.started, self.viewers = {}, 0, {}
        self.last = {}
        self.stack = stack
        given = {
            'cameras': f'[{", ".join(CAMERAS)}]', 'threads': 1, 'watchdog_s': 5.0,
            **{name.replace('__', '.'): json.dumps(value) for name, value in START.items()},
        }  # fmt: skip
        program = [str(Path(__file__).with_name('zero.py'))]
        if args.model != 'zero':
            program = ['-m', 'diception_ros', 'node']
            given['model'] = args.model
        pairs = (part for one in given.items() for part in ('-p', '{}:={}'.format(*one)))
        self.node = Subprocess(
            'node', [sys.executable, *program, '--ros-args', *pairs], folder / 'node.log'
        )
        stack.callback(self.node.end)
        stack.callback(self.end_cameras)

    def start(self, name):
        self.started += 1
        command = [sys.executable, __file__, 'camera', name, str(self.args.rate),
                   str(self.args.seed + self.started)]  # fmt: skip
        self.cameras[name] = Subprocess(name, command, self.folder / f'{name}.log')

    def end_cameras(self):
        for one in self.cameras.values():
            os.kill(one.pid, signal.SIGCONT)
            one.end(10)

    def view(self, camera):
        """Listen to all results of a camera and check their headers."""
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        def check(topic, message):
            self.heard[camera, topic] += 1
            if not is_of(camera, message.header):
                self.wrong['results with a foreign header'] += 1

        self.viewers[camera] = [
            self.peer.node.create_subscription(
                Image, f'{NODE}/{camera}/{topic}',
                lambda message, topic=topic: check(topic, message), QoSProfile(depth=50),
            )
            for topic in TOPICS
        ]  # fmt: skip

    def unview(self, camera):
        for one in self.viewers.pop(camera, ()):
            self.peer.node.destroy_subscription(one)

    def listen(self):
        from diagnostic_msgs.msg import DiagnosticArray

        def check(array):
            self.diagnostics += 1
            for status in array.status:
                if not status.name.startswith(NODE):
                    continue
                self.levels[ord(status.level), status.message[:60]] += 1
                found = {pair.key: pair.value for pair in status.values}
                if 'received' not in found:
                    continue
                names = ('received', 'processed', 'dropped', 'failed', 'waiting')
                received, *rest = (int(found[name]) for name in names)
                if received != sum(rest):
                    self.wrong['diagnostics that do not add up'] += 1
                self.last[status.name] = dict(zip(names, (received, *rest), strict=True))

        self.peer.node.create_subscription(DiagnosticArray, '/diagnostics', check, 10)

    def settle(self):
        """Everything as at the start."""
        os.kill(self.node.pid, signal.SIGCONT)
        for name in CAMERAS:
            running = self.cameras.get(name)
            if running is None or running.code is not None:
                self.start(name)
            else:
                os.kill(running.pid, signal.SIGCONT)
            if name not in self.viewers:
                self.view(name)
        if self.peer.get('use_sim_time'):
            self.peer.set(use_sim_time=False)
        if self.peer.state() == 'inactive':
            self.peer.change('activate')
        if refused := self.peer.set(temporal__noise='fixed', **START):
            self.wrong[f'the first parameters are refused: {refused}'] += 1

    def set(self, values):
        return self.peer.set(**values)

    # What a storm does.

    def parameters(self):
        for _ in range(12):
            self.set(self.chance.choice(VALID))
            if not self.set(self.chance.choice(INVALID)):
                self.wrong['invalid parameters that were accepted'] += 1

    def prompts(self):
        from geometry_msgs.msg import Point
        from std_msgs.msg import String
        from std_srvs.srv import Trigger

        name = self.chance.choice(CAMERAS)
        click = self.peer.publisher(f'{NODE}/{name}/prompt/click', Point)
        words = self.peer.publisher(f'{NODE}/prompt/categories', String)
        for _ in range(20):
            click.publish(Point(x=self.chance.uniform(-9, 90), y=self.chance.uniform(-9, 60)))
            words.publish(
                String(data=self.chance.choice(['chair', 'person, table', '', ',', 'q']))
            )
            self.peer.spin(0.01)
        self.peer.ask(f'{NODE}/{name}/prompt/clear', Trigger)
        self.peer.node.destroy_publisher(click)
        self.peer.node.destroy_publisher(words)

    def stop_node(self):
        os.kill(self.node.pid, signal.SIGSTOP)
        self.peer.spin(self.chance.uniform(1, 5))
        os.kill(self.node.pid, signal.SIGCONT)

    def stop_camera(self):
        one = self.cameras[self.chance.choice(CAMERAS)]
        if one.code is None:
            os.kill(one.pid, signal.SIGSTOP)
            self.peer.spin(self.chance.uniform(1, 7))
            os.kill(one.pid, signal.SIGCONT)

    def end_camera(self):
        name = self.chance.choice(CAMERAS)
        self.cameras[name].end()
        self.start(name)

    def kill_camera(self):
        """Without notice: the node learns of it when Fast DDS's lease of 20 s ends."""
        name = self.chance.choice(CAMERAS)
        one = self.cameras[name]
        if one.code is None:
            mapped = Path(f'/proc/{one.pid}/maps').read_text().split()
            os.kill(one.pid, signal.SIGKILL)
            one.wait(10)
            for path in {part for part in mapped if part.startswith('/dev/shm/')}:
                self.remove_orphan(Path(path))
        self.start(name)

    @staticmethod
    def remove_orphan(path):
        """Remove a shared memory segment that no process owns: its owner locks the _el file."""
        lock = Path(f'{path}_el')
        if lock.exists():
            with lock.open() as file, contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)

    def jump_clock(self):
        from rosgraph_msgs.msg import Clock

        publisher = self.peer.node.create_publisher(Clock, '/clock', 10)
        self.peer.set(use_sim_time=True)
        now = time.time()
        for shift in (0, 5, -5, 100, -100, 1e6, 0, -now + 1, -now + 100, 0):
            for step in range(5):
                sec, nanosec = divmod(int((now + shift + step / 10) * 1e9), 10**9)
                message = Clock()
                message.clock.sec, message.clock.nanosec = sec, nanosec
                publisher.publish(message)
                self.peer.spin(0.05)
        self.peer.set(use_sim_time=False)
        self.peer.node.destroy_publisher(publisher)

    def deactivate(self):
        self.peer.change('deactivate')
        self.peer.spin(1)
        self.peer.change('activate')

    def change_viewers(self):
        name = self.chance.choice(CAMERAS)
        if name in self.viewers:
            self.unview(name)
        else:
            self.view(name)

    ACTIONS = (parameters, prompts, stop_node, stop_camera, end_camera, kill_camera, jump_clock,
               deactivate, change_viewers)  # fmt: skip

    def storm(self, seconds):
        """All actions in random order, again and again."""
        end, left = time.monotonic() + seconds, []
        while time.monotonic() < end:
            if not left:
                left = self.chance.sample(self.ACTIONS, len(self.ACTIONS))
            action = left.pop()
            if self.args.verbose:
                print(f'{time.time():.1f} {action.__name__}', flush=True)
            action(self)
            self.done[action.__name__] += 1
            self.peer.spin(self.chance.uniform(0.2, 2))
            self.node.check()

    def measure(self):
        import psutil

        one = psutil.Process(self.node.pid)
        return {
            'private_mb': self.private_mb(one, 1.0), 'rss_mb': one.memory_info().rss / 1e6,
            'threads': one.num_threads(), 'fds': one.num_fds(),
            'cpu_s': sum(one.cpu_times()[:2]), 'in_use_mb': self.in_use_mb(one),
        }  # fmt: skip

    def private_mb(self, process, period):
        """Median of five: an image in work needs some for a moment."""
        infos = []
        for _ in range(5):
            infos.append(process.memory_info())
            self.peer.spin(period)
        return statistics.median((info.rss - info.shared) / 1e6 for info in infos)

    def in_use_mb(self, process):
        """Private memory while the heaps keep no free pages."""
        for name in CAMERAS:
            self.unview(name)
        self.peer.spin(1)
        self.set({'temporal__smooth': 0.5})
        images = {name: self.received(name) for name in CAMERAS}
        # Two of each: the first may have been on its way.
        self.peer.until(
            lambda: all(self.received(name) >= images[name] + 2 for name in CAMERAS), seconds=600
        )
        found = self.private_mb(process, 0.5)
        for name in CAMERAS:
            self.view(name)
        self.settle()
        return found

    def seen(self):
        """Whether a depth of each camera came."""
        for one in (self.node, *self.cameras.values()):
            one.check()
        return all(self.heard[name, 'disparity/image'] for name in CAMERAS)

    def warm_up(self):
        """Every setting once with images, so that what is loaded at the first use is loaded."""
        for values in VALID:
            self.set(values)
            self.peer.spin(1)
        self.settle()
        self.set(LARGEST)
        before = self.processed()
        self.peer.until(lambda: self.processed() >= before + 3, seconds=600)
        self.settle()

    def processed(self):
        """Images of both cameras, by the last diagnostics."""
        return self.last.get(NODE, {}).get('processed', 0)

    def received(self, camera):
        """Images of a camera, by the last diagnostics."""
        return self.last.get(f'{NODE}: camera {camera}', {}).get('received', 0)

    def run(self):
        """The rounds; returns the measures at the end of each."""
        rounds = []
        self.listen()
        for name in CAMERAS:
            self.start(name)
            self.view(name)
        self.peer.until(self.seen, seconds=600)
        begin = time.monotonic()
        self.warm_up()
        while (now := time.monotonic() - begin) < self.args.minutes * 60:
            next_end = (now // ROUND + 1) * ROUND
            self.storm(max(5.0, next_end - CALM - now))
            self.settle()
            self.peer.spin(max(CALM, begin + next_end - time.monotonic()) - MEASURE)
            self.node.check()
            found = {'at_s': time.monotonic() - begin, **self.measure()}
            found['processed'] = self.processed()
            rounds.append(found)
            counts = {
                'counts': dict(self.last),
                'done': dict(self.done),
                'wrong': dict(self.wrong),
            }
            print(json.dumps({k: round(v, 1) for k, v in found.items()}), flush=True)
            with self.args.log.open('a') as file:
                file.write(json.dumps({**found, **counts}) + '\n')
        return rounds

    def judge(self, rounds):
        """Count what did not hold between the first warm round and the later ones."""
        warm = warm_rounds(rounds)
        for one in warm[1:]:
            for name in ('threads', 'fds'):
                if one[name] != warm[0][name]:
                    self.wrong[f'rounds with other {name}'] += 1
            if one['in_use_mb'] > GROWTH * warm[0]['in_use_mb']:
                self.wrong['rounds with more than 2 % more memory in use'] += 1

    def report(self, rounds):
        """Print the table of docs and RESULTS."""
        print(
            '| minute | in use MB | private MB | MB | threads | descriptors | CPU s | processed |'
        )
        print('|---|---|---|---|---|---|---|---|')
        step = max(1, len(rounds) // 8)
        for one in (
            rounds[::step] if rounds[-1] in rounds[::step] else [*rounds[::step], rounds[-1]]
        ):
            print(
                f'| {one["at_s"] / 60:.0f} | {one["in_use_mb"]:.1f} | {one["private_mb"]:.1f} | '
                f'{one["rss_mb"]:.1f} | {one["threads"]} | {one["fds"]} | {one["cpu_s"]:.0f} | '
                f'{one["processed"]} |'
            )
        warm = warm_rounds(rounds)
        if warm:
            first, last = warm[0], warm[-1]
            used, kept = ([one[name] for one in warm] for name in ('in_use_mb', 'private_mb'))
            print(f'of {len(warm)} rounds: in use first {first["in_use_mb"]:.1f}, last '
                  f'{last["in_use_mb"]:.1f}, from {min(used):.1f} to {max(used):.1f} MB; with '
                  f'what the heaps keep from {min(kept):.1f} to {max(kept):.1f} MB')  # fmt: skip
        else:
            print(f'memory was not judged: no round after {WARM} images; run longer')
        print(f'{self.diagnostics} diagnostics; last counts {self.last}')
        print(f'{sum(self.heard.values())} results heard; {self.started} cameras started')
        print(f'done: {dict(self.done)}')
        for (level, message), count in self.levels.most_common(12):
            print(f'  level {level}, {count} times: {message}')
        print(f'did not hold: {dict(self.wrong) or "nothing"}')


def main():
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--model', default='builtin', help='or zero: a model of no cost')
    parser.add_argument('--rate', type=float, default=2, help='images a second of each camera')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--log', type=Path, default=Path('soak.jsonl'), help='one line a round')
    parser.add_argument('--verbose', action='store_true', help='print each action')
    args = parser.parse_args()
    with (
        ros_environment.domain() as number,
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as stack,
    ):
        own = ros_environment.variables(number)
        os.environ.update(own, OMP_NUM_THREADS='1', MALLOC_ARENA_MAX='2')
        soak = Soak(args, number, Path(folder), stack)
        try:
            rounds = soak.run()
        except BaseException:
            print((Path(folder) / 'node.log').read_text()[-4000:])
            raise
        soak.judge(rounds)
        soak.report(rounds)
        log = (Path(folder) / 'node.log').read_text()
        args.log.with_suffix('.node.log').write_text(log)
        stack.close()
        if soak.node.code:
            soak.wrong[f'exit code {soak.node.code}'] += 1
    return 1 if soak.wrong else 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['camera']:
        camera(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(main())
