# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Torch beside ONNX Runtime: start, memory, and answers of one frame, the whole Predictor.

Each backend has a process of its own; they take turns, and the best of all rounds counts.

    python bench/backends.py --threads 1
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import time

TASKS = ('depth', 'normal', 'segmentation', 'entity', 'pose', 'semantic')
COUNTS = (1, 4, 6)
BACKENDS = ('torch', 'onnx')
STAGES = ('encode', 'denoise', 'decode')


def serve(args: argparse.Namespace) -> None:
    """One backend: for each line of input, the processor's milliseconds of all counts."""
    begin, wall = time.process_time(), time.perf_counter()
    from diception_ros.core.settings import ComputeSettings
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    folder.silence_library_logging()
    compute = ComputeSettings(backend=args.serve, threads=args.threads)
    predictor = Predictor.load(args.model, compute)
    load = {'load_cpu_s': time.process_time() - begin, 'load_s': time.perf_counter() - wall}
    import numpy as np

    from diception_ros.core.frame import Frame
    from diception_ros.core.prompt import Point, Prompt

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
        print(json.dumps({**load, 'memory_mb': memory, 'ms': found}), flush=True)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--serve', choices=BACKENDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args)
    command = [sys.executable, __file__, '--model', args.model, '--threads', str(args.threads)]
    processes = {
        name: subprocess.Popen(
            [*command, '--serve', name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in BACKENDS
    }
    found: dict[str, list[dict]] = {name: [] for name in BACKENDS}
    for _ in range(args.rounds):
        for name, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write('\n')
            process.stdin.flush()
            found[name].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    rows = []
    for what, key in (('import and load, processor s', 'load_cpu_s'), ('memory, MB', 'memory_mb')):
        rows.append((what, [min(one[key] for one in found[name]) for name in BACKENDS]))
    for count in COUNTS:
        for what, place in (('processor', 0), ('wall', 1), ('network, wall', 2)):
            best = [min(one['ms'][str(count)][place] for one in found[name]) for name in BACKENDS]
            rows.append((f'{count} answers, {what} ms', best))
    print('| | torch | onnx | onnx by torch |\n|---|---|---|---|')
    for what, (torch_, onnx) in rows:
        print(f'| {what} | {torch_:.3g} | {onnx:.3g} | {onnx / torch_:.2f} |')
    return None


if __name__ == '__main__':
    main()
