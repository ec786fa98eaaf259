# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long decoding takes, how good it is, and how a published method does on the same images.

    taskset -c 1 python bench/decode.py [--size 768] [--repeats 15] [--images 6] [--scan]

Prints milliseconds by task, quality and milliseconds of instances, and how many joints are found.
Milliseconds are CPU time of one thread, so that what else runs on the machine does not count.
Instances are compared with the paper's Algorithm 2 in our colours and in random ones; its
thresholds are not published, so the best of a scan on other images (--scan) is used.
"""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # before numpy and OpenCV read it

import argparse
from collections.abc import Callable
from functools import partial
import itertools
from pathlib import Path
import sys
import time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

from algorithm_2 import algorithm_2
import cv2
import image_degradations as degraded
from image_degradations import Rgb
import numpy as np
from task_examples import example, random_instances, random_skeletons

from diception_ros import tasks
from diception_ros.core.labels import Instances

# ---- channels ------------------------------------------------------------------------------


def all_three(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    """Blur, then noise, then eight bits."""
    return degraded.eight_bit(degraded.noise(degraded.blur(rgb), rng))


def image_decoder(rgb: Rgb, rng: np.random.Generator, drift: float = 0.04) -> Rgb:
    """Like an image decoder: low-pass, noise that neighbours and channels share, slow drift.

    At 768 pixels the blur has 1.2 pixels, the noise sigma 0.04 and a range of 2 pixels; both
    shrink with the image. The drift, of standard deviation `drift`, does not touch the black.
    """
    side = len(rgb)
    scale = side / 768
    slow = cv2.resize(
        rng.normal(0, 1, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    out = rgb + drift * slow / slow.std() * (rgb.max(axis=2, keepdims=True) > 0)
    out = cv2.GaussianBlur(out, (0, 0), max(0.6, 1.2 * scale))
    grain = rng.normal(0, 1, rgb.shape).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), max(0.5, 2 * scale))
    mix = 0.6 * np.eye(3) + 0.4
    mix /= np.linalg.norm(mix, axis=1, keepdims=True)
    out = out + 0.04 * (grain / grain.std()) @ mix.T.astype(np.float32)
    return np.clip(out, 0, 1).astype(np.float32)


CHANNELS: dict[str, Callable[[Rgb, np.random.Generator], Rgb]] = {
    'clean': lambda rgb, rng: rgb,
    '8 bit': lambda rgb, rng: degraded.eight_bit(rgb),
    'jpeg 70': lambda rgb, rng: degraded.jpeg(rgb),
    'noise 0.05': degraded.noise,
    'blur 1': lambda rgb, rng: degraded.blur(rgb),
    'blur+noise+8': all_three,
    'decoder': image_decoder,
}


# ---- colours -------------------------------------------------------------------------------


def random_colors(truth: Instances, rng: np.random.Generator) -> Rgb:
    """Uniform in RGB, 0.2 from one another and from black: more like what the paper describes."""
    colors = [np.zeros(3)]
    while len(colors) <= truth.ids.max():
        new = rng.random(3)
        if np.linalg.norm(np.array(colors) - new, axis=1).min() > 0.2:
            colors.append(new)
    return np.array(colors, np.float32)[truth.ids]


COLORS: dict[str, Callable[[Instances, np.random.Generator], Rgb]] = {
    'ours': lambda truth, rng: tasks.get('entity').encode(truth),
    'random': random_colors,
}

# ---- tables --------------------------------------------------------------------------------


def scan(size: int, images: int) -> None:
    """Mean IoU of Algorithm 2 by its thresholds, over both kinds of colours and all channels."""
    task = tasks.get('entity')
    rows = []
    for tolerance, soft in itertools.product((0.1, 0.15, 0.2, 0.25), (0.4, 0.7, 1.0, 2.0)):
        scores = []
        for colors, channel, k in itertools.product(COLORS, CHANNELS.values(), range(images)):
            rng = np.random.default_rng(1000 + k)
            truth = random_instances(rng, size, 20)
            rgb = channel(COLORS[colors](truth, rng), rng)
            found = algorithm_2(rgb, None, tolerance, soft)
            scores.append(task.score(found, truth)['mean_iou'])
        rows.append((float(np.mean(scores)), tolerance, soft))
    print(f'Algorithm 2 at {size} pixels\n{"mean IoU":>10}{"tolerance":>11}{"soft":>6}')
    for score, tolerance, soft in sorted(rows, reverse=True):
        print(f'{score:10.3f}{tolerance:11.2f}{soft:6.1f}')


def milliseconds(decode: Callable[[Rgb], Any], rgb: Rgb) -> tuple[Any, float]:
    """What decoding gives, and the CPU time of this thread that it took."""
    begin = time.thread_time()
    out = decode(rgb)
    return out, 1e3 * (time.thread_time() - begin)


def times(size: int, repeats: int) -> None:
    """Milliseconds of every task, on its own examples."""
    print(
        f'decode at {size} pixels: ms of CPU time of the one thread, over {repeats} images\n'
        f'{"task":14}{"channel":14}{"median":>8}{"p99":>8}'
    )
    for name in tasks.names():
        task = tasks.get(name)
        for channel in ('clean', 'blur+noise+8'):
            took = []
            for k in range(repeats):
                rng = np.random.default_rng(k)
                rgb = CHANNELS[channel](task.encode(example(task, rng, size)), rng)
                took.append(milliseconds(task.decode, rgb)[1])
            print(
                f'{name:14}{channel:14}{np.median(took):8.1f}{np.percentile(took, 99):8.1f}',
                flush=True,
            )


def instances(size: int, images: int, count: int) -> None:
    """Quality and time next to Algorithm 2."""
    task = tasks.get('entity')
    print(
        f'\n{count} instances at {size} pixels, mean of {images}: '
        'ours / Algorithm 2 / Algorithm 2 told how many there are'
    )
    print(f'{"colors":8}{"channel":14}{"mean IoU":>20}{"f1":>20}{"miscount":>18}{"ms":>22}')
    for (colors, paint), (name, channel) in itertools.product(COLORS.items(), CHANNELS.items()):
        rows = []
        for seed in range(images):
            rng = np.random.default_rng(seed)
            truth = random_instances(rng, size, count)
            rgb = channel(paint(truth, rng), rng)
            row = []
            there = len(truth.scores)
            told = partial(algorithm_2, clusters=there + 1)
            for decode in (task.decode, algorithm_2, told):
                found, took = milliseconds(decode, rgb)
                score = task.score(found, truth)
                row.append((score['mean_iou'], score['f1'], abs(len(found.scores) - there), took))
            rows.append(row)
        iou, f1, off, took = np.mean(rows, axis=0).T
        print(
            f'{colors:8}{name:14}{iou[0]:8.3f}{iou[1]:6.3f}{iou[2]:6.3f}'
            f'{f1[0]:8.3f}{f1[1]:6.3f}{f1[2]:6.3f}{off[0]:8.1f}{off[1]:5.1f}{off[2]:5.1f}'
            f'{took[0]:8.1f}{took[1]:7.1f}{took[2]:7.1f}',
            flush=True,
        )


def pose(size: int, images: int) -> None:
    """How many joints are found, and told, through each channel."""
    task = tasks.get('pose')
    print(f'\n1 to 4 people side by side at {size} pixels')
    print(f'{"channel":14}{"located 2 px":>14}{"typed 2 px":>12}{"oks":>8}{"pck":>8}')
    for name, channel in CHANNELS.items():
        near = typed = total = 0
        scores = []
        for seed in range(images):
            rng = np.random.default_rng(seed)
            truth = random_skeletons(rng, size, 1 + seed % 4)
            found = task.decode(channel(task.encode(truth), rng))
            scores.append(task.score(found, truth))
            here = truth.visibility > 0
            points = np.concatenate([found.joints[found.visibility > 0], found.untyped])
            for person, seen in zip(truth.joints, here):  # noqa: B905 - one length
                off = np.linalg.norm(points[:, None] - person[seen][None], axis=2)
                near += int((off.min(axis=0, initial=np.inf) <= 2).sum())
                off = np.linalg.norm(found.joints[:, seen] - person[seen], axis=2)
                typed += int((off <= 2).sum(axis=1).max(initial=0))
            total += int(here.sum())
        oks, pck = (np.mean([s[key] for s in scores]) for key in ('oks', 'pck'))
        print(
            f'{name:14}{near / total:14.3f}{typed / total:12.3f}{oks:8.3f}{pck:8.3f}', flush=True
        )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=768, help='side of the images, pixels')
    parser.add_argument('--repeats', type=int, default=15, help='images per time')
    parser.add_argument('--images', type=int, default=6, help='images per figure of quality')
    parser.add_argument('--scan', action='store_true', help='scan the thresholds of Algorithm 2')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.scan:
        scan(args.size, args.images)
        return
    times(args.size, args.repeats)
    for count in (20, 45):
        instances(args.size, args.images, count)
    pose(args.size, 4 * args.images)


if __name__ == '__main__':
    main()
