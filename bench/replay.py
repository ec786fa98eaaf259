# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames per second of a replay against the model alone, in one process and one run.

  python bench/replay.py --model builtin --frames 60
  python bench/replay.py --model DIR --device cuda --num-inference-steps 28 --frames 200

The model alone answers the same images, already decoded, with nothing before or behind it, with
as many threads. The two take turns, so that a machine that is busy for a while slows both. The
time of the processor, of all threads of the process together, tells on a busy machine, too, what a
replay costs; frames/s tell how much of that is hidden behind the model, which takes a free core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

import recordings

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.frames import FrameSelection, ImageFrame, choose, frames
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.prompt import Prompt
from diception_ros.model import folder
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.predictor import Predictor
from diception_ros.system import resources


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--bag', type=Path, help='a recording (default: one is made)')
    parser.add_argument('--camera', help='its topic')
    parser.add_argument('--size', default='640x480')
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--num-inference-steps', type=int, default=1)
    parser.add_argument('--guidance-scale', type=float, default=1.0)
    parser.add_argument('--tasks', nargs='+', default=['depth', 'normal'])
    parser.add_argument('--batch-frames', type=int, default=1)
    parser.add_argument('--threads', type=int, default=0, help='as of `diception replay`')
    args = parser.parse_args()
    asked = recordings.asked(
        tasks=tuple(args.tasks), num_inference_steps=args.num_inference_steps,
        guidance_scale=args.guidance_scale,
        batch_size=args.batch_frames * len(args.tasks),
    )  # fmt: skip
    count = resources.limit_threads(args.threads, args.device)
    predictor = Predictor.load(folder.resolve(args.model), device=args.device)
    with tempfile.TemporaryDirectory() as temporary:
        path = args.bag or made(Path(temporary) / 'bag', args)
        images = decoded(path, args)
        infer(predictor, images[: args.batch_frames], asked)  # warm
        rates = {'model': [], 'replay': []}
        costs = {'model': [], 'replay': []}
        for _ in range(args.rounds):
            begin = time.process_time()
            rates['model'].append(alone(predictor, images, asked, args))
            middle = time.process_time()
            rates['replay'].append(replayed(predictor, path, asked, args, Path(temporary)))
            costs['model'].append(1e3 * (middle - begin) / len(images))
            costs['replay'].append(1e3 * (time.process_time() - middle) / len(images))
    best = {name: max(found) for name, found in rates.items()}
    middle = {name: statistics.median(found) for name, found in rates.items()}
    print(f'{len(images)} frames of {images[0].size}, tasks {" ".join(args.tasks)}, '
          f'{count} threads of {resources.processors()} processors')  # fmt: skip
    print('| | best frames/s | median frames/s | least processor ms a frame |\n|---|---|---|---|')
    for name in rates:
        print(f'| {name} | {best[name]:.2f} | {middle[name]:.2f} | {min(costs[name]):.1f} |')
    ratios = sorted(b / a for a, b in zip(rates['model'], rates['replay'], strict=True))
    print(f'replay / model: {", ".join(f"{ratio:.3f}" for ratio in ratios)}')


def made(path: Path, args: argparse.Namespace) -> Path:
    """A bag of images of the size."""
    width, height = map(int, args.size.split('x'))
    return recordings.write(path, recordings.recorded(args.frames, size=(height, width)))


def decoded(path, args):
    """The frames of the bag."""
    with Bag(path) as bag:
        cameras = choose(bag, [args.camera] if args.camera else [])
        records = frames(bag, cameras, FrameSelection(limit=args.frames))
        return [record.frame for record in records if isinstance(record, ImageFrame)]


def infer(predictor, images, asked):
    """Predict all tasks for all images."""
    frames = [frame for frame in images for _ in asked.tasks]
    prompts = [Prompt(task) for _ in images for task in asked.tasks]
    return predictor.infer(frames, prompts, asked.predict_settings())


def alone(predictor, images, asked, args):
    """Frames per second of the model."""
    begin = time.perf_counter()
    for at in range(0, len(images), args.batch_frames):
        infer(predictor, images[at : at + args.batch_frames], asked)
    return len(images) / (time.perf_counter() - begin)


def replayed(predictor, path, asked, args, temporary):
    """Frames per second of the replay."""
    perceiver = Perceiver(predictor, BagTypes(), asked)
    job = Job(temporary / 'out.mcap', cameras=(args.camera,) if args.camera else (),
              max_frames=args.frames, batch_frames=args.batch_frames, force=True)  # fmt: skip
    with Bag(path) as bag:
        result = run.replay(bag, perceiver, job)
    return result.frames / result.seconds


if __name__ == '__main__':
    main()
