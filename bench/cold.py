# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time from the start of a process to its result, beside another commit of this repository.

    python bench/cold.py [--base fbaa75e] [--rounds 3] [--measures predict refusal node replay]

Both commits (the other one in a temporary git worktree) take turns, so that a machine that is busy
for a while slows both; the best of the rounds counts. Both are compiled to bytecode first, as an
installed package is. The caches of the disk are warm after the first round; each process imports
and loads everything anew. Each side runs its own built-in model.

predict: one image of 640x480, `--tasks depth`.
refusal: `--tasks dept`, of an image that does not exist.
node: `tasks:=[depth]`, images of 640x480 at 10 Hz from this process, over DDS on loopback: until
  it answers a lifecycle service, is active, has published its first result; its memory after 20.
replay: frames/s of `diception replay`, depth and normals, from bags of 45 and of 5 frames.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).resolve().parents[1]
SIZE = (480, 640)
RATE_HZ = 10
RESULTS = 20
LONG, SHORT = 45, 5
TOPIC = '/perception/disparity/image'
DEADLINE_S = 300
UNITS = {'memory MB': 'MB', 'memory without that of Fast DDS MB': 'MB', 'replay frames/s': '1/s'}


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--base', default='fbaa75e', help='commit to compare with')
    parser.add_argument('--rounds', type=int, default=3)
    measures = {'predict': predict, 'refusal': refusal, 'node': node, 'replay': replay}
    parser.add_argument('--measures', nargs='+', choices=measures, default=list(measures))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, checkout(args.base) as base:
        work = Path(temporary)
        for tree in (base, ROOT):
            subprocess.run(
                [sys.executable, '-m', 'compileall', '-q', tree / 'diception_ros'], check=True
            )
        prepare(work, args.measures)
        found = {'base': [], 'now': []}
        for number in range(args.rounds):
            for side, tree in (('base', base), ('now', ROOT)):
                out = work / f'{side}{number}'
                out.mkdir()
                values = {}
                for name in args.measures:
                    values |= measures[name](tree, work, out)
                found[side].append(values)
                shown = ', '.join(f'{key} {value:.2f}' for key, value in values.items())
                print(f'round {number + 1}, {side}: {shown}', file=sys.stderr, flush=True)
    print(f'| | {args.base} | now | ratio |\n|---|---|---|---|')
    for key in found['base'][0]:
        best = max if UNITS.get(key) == '1/s' else min
        before, now = (best(values[key] for values in found[side]) for side in ('base', 'now'))
        unit = UNITS.get(key, 's')
        print(f'| {key} | {before:.2f} {unit} | {now:.2f} {unit} | {now / before:.3f} |')


@contextlib.contextmanager
def checkout(commit):
    """A worktree of a commit, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        git = ['git', '-C', str(ROOT), 'worktree']
        tree = Path(folder, 'tree')
        subprocess.run([*git, 'add', '--quiet', '--detach', tree, commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, 'remove', '--force', tree], check=True)


def prepare(work, measures):
    """Write the image and the bags that both sides read."""
    sys.path.insert(0, str(ROOT / 'test'))
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(work / 'image.png')
    if 'replay' in measures:
        import recordings

        for count in (LONG, SHORT):
            recordings.write(work / f'bag{count}', recordings.recorded(count, size=SIZE))


def command(tree, *arguments):
    """The command line `diception ...` of a tree, and its environment."""
    line = [sys.executable, '-m', 'diception_ros', *map(str, arguments)]
    return line, {**os.environ, 'PYTHONPATH': str(tree), 'PYTHONUNBUFFERED': '1'}


def option(tree):
    """The option of `predict` that names tasks; commits before 30 November 2026 have another."""
    return '--tasks' if (tree / 'diception_ros' / 'workflows').exists() else '--task'


def run(tree, out, *arguments, fails=False):
    """Seconds of wall time and of processor time of a command."""
    line, environment = command(tree, *arguments)
    begin = time.perf_counter()
    with (out / 'log.txt').open('ab') as log:
        process = subprocess.Popen(line, env=environment, cwd=out, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if (process.returncode != 0) != fails:
        raise RuntimeError(f'{line} ended with {status}: {(out / "log.txt").read_text()}')
    return wall, usage.ru_utime + usage.ru_stime


def predict(tree, work, out):
    """One image, one task."""
    wall, cpu = run(
        tree, out, 'predict', work / 'image.png', option(tree), 'depth', '--out', out / 'results'
    )
    return {'predict': wall, 'predict, processor time': cpu}


def refusal(tree, work, out):
    """A task that does not exist."""
    del work
    wall, cpu = run(
        tree, out, 'predict', 'x', option(tree), 'dept', '--out', out / 'refused', fails=True
    )
    return {'refusal': wall, 'refusal, processor time': cpu}


def replay(tree, work, out):
    """Frames per second, without the start of the process."""
    walls, cpus = zip(
        *(
            run(tree, out, 'replay', work / f'bag{count}.mcap', '--out', out / f'{count}.mcap',
                '--tasks', 'depth', 'normal')
            for count in (LONG, SHORT)
        ), strict=True,
    )  # fmt: skip
    frames = LONG - SHORT
    return {
        'replay frames/s': frames / (walls[0] - walls[1]),
        'replay, processor time a frame': (cpus[0] - cpus[1]) / frames,
    }


def node(tree, work, out):
    """The node in a process, a camera and a listener in this one."""
    del work
    from diception_ros.system import ros_environment

    ros_environment.prepare()
    with ros_environment.domain() as number:
        line, environment = command(tree, 'node', '--ros-args', '-p', 'tasks:=[depth]')
        environment = {**environment, **ros_environment.variables(number), 'PYTHONPATH': str(tree)}
        if tree == ROOT:  # names its own; the base has the one that its launch file names
            for name in ros_environment.VARIABLES:
                environment.pop(name, None)
        log = out / 'node.txt'
        with log.open('wb') as file, listener(number) as peer:
            begin = time.time()
            process = subprocess.Popen(line, env=environment, cwd=out, stdout=file, stderr=file)
            try:
                peer.until(lambda: peer.answer_s, process, log)
                peer.until(lambda: len(peer.results) >= RESULTS, process, log)
                status = Path(f'/proc/{process.pid}/status').read_text()
                cpu = sum(map(int, Path(f'/proc/{process.pid}/stat').read_text()
                              .rpartition(')')[2].split()[11:13]))  # fmt: skip
            finally:
                process.terminate()
                process.wait()
    active = re.search(r'\[(\d+\.\d+)\] \[perception\]: active', log.read_text())
    memory = {
        name: int(re.search(rf'{name}:\s+(\d+) kB', status)[1]) * 1024 / 1e6
        for name in ('VmRSS', 'RssShmem')
    }
    return {
        'node: first answer of a service': peer.answer_s - begin,
        'node: active': float(active[1]) - begin,
        'node: first result': peer.results[0] - begin,
        f'node: processor time until {RESULTS} results': cpu / os.sysconf('SC_CLK_TCK'),
        'memory MB': memory['VmRSS'],
        'memory without that of Fast DDS MB': memory['VmRSS'] - memory['RssShmem'],
    }


class Peer:
    """A camera at `RATE_HZ`, a listener, and a client that asks for the lifecycle's state."""

    def __init__(self, rclpy, context):
        from lifecycle_msgs.srv import GetState
        import numpy as np
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        self.results, self.answer_s = [], 0.0
        self._node = rclpy.create_node('cold', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._node.create_subscription(
            Image, TOPIC, lambda message: self.results.append(time.time()), 10
        )
        self._camera = self._node.create_publisher(Image, '/image', 1)
        self._client = self._node.create_client(GetState, '/perception/get_state')
        self._request, self._asked = GetState.Request(), None
        self._image = Image(encoding='rgb8', height=SIZE[0], width=SIZE[1], step=3 * SIZE[1])
        pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
        self._image.data.frombytes(pixels.tobytes())
        self._node.create_timer(1 / RATE_HZ, self._tick)

    def _tick(self):
        self._image.header.stamp = self._node.get_clock().now().to_msg()
        self._camera.publish(self._image)
        if self.answer_s:
            return
        if self._asked is not None and self._asked.done():
            self.answer_s = time.time()
        elif self._asked is None and self._client.service_is_ready():
            self._asked = self._client.call_async(self._request)

    def until(self, condition, process, log):
        """Spin until a condition holds."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(f'the node did not get there: {log.read_text()}')
            self._executor.spin_once(timeout_sec=0.1)


@contextlib.contextmanager
def listener(number):
    """A peer in a ROS domain."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=number)
    try:
        yield Peer(rclpy, context)
    finally:
        context.try_shutdown()


if __name__ == '__main__':
    main()
