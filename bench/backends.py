# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Torch beside ONNX Runtime: start, memory, and predictions of one frame, the whole Predictor.

Each backend has a process of its own; they take turns, and the best of all rounds counts.

    python bench/backends.py --threads 1
    python bench/backends.py --threads 1 --base fbaa75e [--model DIR]

With --base the Predictor of another commit (in a temporary git worktree) with its own built-in
model takes turns with them, and a last column says how many times as many predictions onnx makes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
import subprocess
import sys
import time

TASKS = ('depth', 'normal', 'segmentation', 'entity', 'pose', 'semantic')
COUNTS = (1, 4, 6)
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
    predictor, Frame, Point, Prompt = load(args.serve, args.model, args.threads)
    load_s = {'load_cpu_s': time.process_time() - begin, 'load_s': time.perf_counter() - wall}
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    given = {'segmentation': {'points': (Point(320, 240),)}, 'semantic': {'category': 'person'}}
    prompts = [Prompt(task, **given.get(task, {})) for task in TASKS]
    pages = Path('/proc/self/statm')
    for _ in sys.stdin:
        found = {}
        for count in COUNTS:
            frame = Frame(image)
            start = time.process_time(), time.perf_counter()
            seconds = [one.seconds for one in predictor.predict([frame], prompts[:count])]
            found[count] = [
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
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--base', help='a commit to compare with')
    parser.add_argument('--serve', choices=(*BACKENDS, 'base'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args)
    with contextlib.ExitStack() as stack:
        trees = dict.fromkeys(BACKENDS, ROOT)
        if args.base:
            import cold

            trees = {'base': stack.enter_context(cold.checkout(args.base)), **trees}
        found = rounds(trees, args)
    names = list(trees)
    rows = []
    for what, key in (('import and load, processor s', 'load_cpu_s'), ('memory, MB', 'memory_mb')):
        rows.append((what, [min(one[key] for one in found[name]) for name in names]))
    for count in COUNTS:
        for what, place in (('processor', 0), ('wall', 1), ('network, wall', 2)):
            best = [min(one['ms'][str(count)][place] for one in found[name]) for name in names]
            rows.append((f'{count} predictions, {what} ms', best))
    ratios = 'onnx by torch |' + (' base by onnx |' if args.base else '')
    print(f'| | {" | ".join(names)} | {ratios}')
    print('|---' * (len(names) + ratios.count('|') + 1) + '|')
    for what, values in rows:
        torch_, onnx = values[-2:]
        ends = [onnx / torch_, *([values[0] / onnx] if args.base else [])]
        cells = [f'{value:.3g}' for value in values] + [f'{end:.2f}' for end in ends]
        print(f'| {what} | {" | ".join(cells)} |')
    return None


def rounds(trees: dict[str, Path], args: argparse.Namespace) -> dict[str, list[dict]]:
    """What each process measured, round by round; they take turns."""
    command = [sys.executable, __file__, '--model', args.model, '--threads', str(args.threads)]
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
