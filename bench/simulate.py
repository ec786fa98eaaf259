# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames per second of the simulation, labels of all six tasks included, by size of the image.

    taskset -c 0 python bench/simulate.py [--sizes 64 128 256] [--views 4] [--scenes 8] [--gl egl]
        [--realism all] [--furniture FOLDER]

Prints a line for each size and each number of views of a scene; a new scene takes time of its own.
"""

import argparse
import time

from diception_ros import tasks
from diception_ros.simulation import sample_stream, scenes
from diception_ros.simulation.realism import Realism
from diception_ros.simulation.renderer import Renderer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=int, nargs='+', default=[64, 128, 192, 256, 512],
                        help='sides of the images, pixels')  # fmt: skip
    parser.add_argument('--views', type=int, nargs='+', default=[1, 4, 8], help='of a scene')
    parser.add_argument('--scenes', type=int, default=8, help='for each line')
    parser.add_argument('--realism', default='', help='settings of `Realism`, by commas')
    parser.add_argument('--furniture', help='folder of furniture models')
    parser.add_argument('--gl', choices=('egl', 'osmesa'), help='what renders')
    args = parser.parse_args()
    realism = Realism.parse(args.realism, args.furniture)
    print('size  views per scene  frames/s')
    for size in args.sizes:
        for views in args.views:
            with Renderer((size, size), args.gl) as renderer:
                # The first scenes read models and paint images that later ones share.
                for number in range(2):
                    list(sample_stream.scene_views(
                        renderer, 0, number, 'train', 1, realism=realism
                    ))  # fmt: skip
                started, frames = time.perf_counter(), 0
                for number in range(args.scenes):
                    for k, view in enumerate(
                        sample_stream.scene_views(
                            renderer, 0, number, 'train', views, realism=realism
                        )
                    ):
                        rng = scenes.rng_for(0, number, 'train', sample_stream.PROMPTS + 2 * k)
                        sample_stream.make_samples(view, tasks.names(), rng, '')
                        frames += 1
            print(f'{size:4d}  {views:15d}  {frames / (time.perf_counter() - started):8.1f}')


if __name__ == '__main__':
    main()
