# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Torch beside ONNX Runtime: start, memory, and predictions of one frame, the whole Predictor.

Each backend has a process of its own; they take turns, and the best of all rounds counts.

    python bench/backends.py --sides torch:1 onnx:1
    python bench/backends.py --sides base:1 base:2 onnx:1 onnx:2 --base fbaa75e [--model DIR]
    python bench/backends.py --sides onnx:1 onnx:1@INT8

A side is a backend and its threads, perhaps with @ and a model folder of its own, or `base`, the
Predictor of another commit (in a temporary git worktree) with its own built-in model. The last
column is the first side's value by the last one's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import time

TASKS = ('depth', 'normal', 'segmentation', 'entity', 'pose', 'semantic')
# Frames of one call and tasks of each.
CALLS = ((1, 1), (1, 4), (1, 6), (8, 1))
BACKENDS = ('torch', 'onnx')
ROOT = Path(__file__).resolve().parents[1]
STAGES = ('encode', 'denoise', 'decode')


def load(backend: str, model: str, threads: int):
    """The Predictor of the tree that is imported, and its Frame, Point and Prompt."""
    if backend == 'base':  # names of commits before 30 November 2026
        import torch

        from diception_ros.frame import Frame
        from diception_ros.predict import Predictor
        from diception_ros.prompt import Point, Prompt

        torch.set_num_threads(threads)
        return Predictor.load('builtin'), Frame, Point, Prompt
    from diception_ros.core.frame import Frame
    from diception_ros.core.prompt import Point, Prompt
    from diception_ros.core.settings import ComputeSettings
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    folder.silence_library_logging()
    compute = ComputeSettings(backend=backend, threads=threads)
    return Predictor.load(folder.resolve(model), compute), Frame, Point, Prompt


def serve(args: argparse.Namespace) -> None:
    """One backend: for each line of input, the processor's milliseconds of all counts."""
    begin, wall = time.process_time(), time.perf_counter()
    backend, _, threads = args.serve.partition(':')
    threads, _, model = threads.partition('@')
    predictor, Frame, Point, Prompt = load(backend, model or args.model, int(threads))
    load_s = {'load_cpu_s': time.process_time() - begin, 'load_s': time.perf_counter() - wall}
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    given = {'segmentation': {'points': (Point(320, 240),)}, 'semantic': {'category': 'person'}}
    prompts = [Prompt(task, **given.get(task, {})) for task in TASKS]
    pages = Path('/proc/self/statm')
    for _ in sys.stdin:
        found = {}
        for views, count in CALLS:
            frames = [Frame(image) for _ in range(views)]
            start = time.process_time(), time.perf_counter()
            seconds = [one.seconds for one in predictor.predict(frames, prompts[:count])]
            found[f'{views} frames, {count} tasks'] = [
                1e3 * (time.process_time() - start[0]),
                1e3 * (time.perf_counter() - start[1]),
                1e3 * sum(one[stage] for one in seconds for stage in STAGES),
            ]  # fmt: skip
        memory = int(pages.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6
        print(json.dumps({**load_s, 'memory_mb': memory, 'ms': found}), flush=True)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--sides', nargs='+', type=side, default=['torch:1', 'onnx:1'])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--base', default='fbaa75e', help='the commit of base')
    parser.add_argument('--serve', type=side, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args)
    with contextlib.ExitStack() as stack:
        trees = dict.fromkeys(args.sides, ROOT)
        if bases := [name for name in args.sides if name.startswith('base')]:
            import cold

            trees |= dict.fromkeys(bases, stack.enter_context(cold.checkout(args.base)))
        found = rounds(trees, args)
    rows = []
    for what, key in (('import and load, processor s', 'load_cpu_s'), ('memory, MB', 'memory_mb')):
        rows.append((what, [min(one[key] for one in found[name]) for name in trees]))
    for views, count in CALLS:
        call = f'{views} frames, {count} tasks'
        for what, place in (('processor', 0), ('wall', 1), ('network, wall', 2)):
            times = [[one['ms'][call][place] for one in found[name]] for name in trees]
            rows.append((f'{call}: {what} ms', list(map(min, times))))
            if what == 'wall':
                medians = list(map(statistics.median, times))
                rows.append((f'{call}: median wall ms', medians))
    print(f'| | {" | ".join(trees)} | first by last |')
    print('|---' * (len(trees) + 2) + '|')
    for what, values in rows:
        cells = [f'{value:.3g}' for value in values]
        print(f'| {what} | {" | ".join(cells)} | {values[0] / values[-1]:.2f} |')
    return None


def side(text: str) -> str:
    """A backend and its threads, checked: `onnx:2`."""
    backend, _, threads = text.partition('@')[0].partition(':')
    if backend not in (*BACKENDS, 'base') or not threads.isdecimal():
        raise argparse.ArgumentTypeError(
            f'expected torch:N, onnx:N or base:N, perhaps with @DIR, got {text!r}'
        )
    return text


def rounds(trees: dict[str, Path], args: argparse.Namespace) -> dict[str, list[dict]]:
    """What each process measured, round by round; they take turns."""
    command = [sys.executable, __file__, '--model', args.model]
    processes = {
        name: subprocess.Popen(
            [*command, '--serve', name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONPATH': str(tree)},
        )
        for name, tree in trees.items()
    }  # fmt: skip
    found: dict[str, list[dict]] = {name: [] for name in trees}
    for _ in range(args.rounds):
        for name, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write('\n')
            process.stdin.flush()
            found[name].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return found


if __name__ == '__main__':
    main()
