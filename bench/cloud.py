# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the filters of the cloud drop and keep, where the truth is known, and how long they take.

    python bench/cloud.py --scenes 8
    python bench/cloud.py --scenes 0 --real FOLDER
    python bench/cloud.py --scenes 0 --time

Simulated rooms, validation split, robot's camera, 640x480. Two inputs: "resampled" is the true
depth after it went through an image of --side pixels, as that of a network does, with the true
normals; "model" is what the model predicts, scaled to the truth. A point flies if it is farther
than 5 cm and 5 % of its distance from every true surface that is in view.

FOLDER has SOURCE/rgb/N.jpg, SOURCE/depth/N.png (mm, 0 unknown) and SOURCE/meta.json with `size`
and `intrinsics` (fx, fy, cx, cy).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
import json
from pathlib import Path
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Distance from every true surface from which a point flies, metres and share of its own distance.
FLYING = 0.05
# What is above this is an obstacle, metres; and below this, for no robot is higher.
LOW, HIGH = 0.05, 2.0


class Scene(NamedTuple):
    """A depth image beside its truth.

    Attributes:
        depth: (H, W) float32, metres, to be filtered.
        normals: (H, W, 3) float32.
        truth: (H, W) float32, metres, NaN unknown.
        lens: pinhole of both.
        floor: (H, W) bool, pixels of the floor; None where it is not known.
        height: (H, W) float32, true height above the floor, metres; None where it is not known.
        instance: (H, W) int, the object at each pixel, None where it is not known.
        gravity: (3,), its direction in the optical frame, None where it is not known.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32] | None
    truth: NDArray[np.float32]
    lens: Any
    floor: NDArray[np.bool_] | None = None
    height: NDArray[np.float32] | None = None
    instance: NDArray[np.int32] | None = None
    gravity: tuple[float, float, float] | None = None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--scenes', type=int, default=8, help='simulated rooms, two views each')
    parser.add_argument('--side', type=int, default=256, help='of the network, pixels')
    parser.add_argument('--real', type=Path, help='folder of frames with true depth')
    parser.add_argument('--time', action='store_true', help='measure the time')
    args = parser.parse_args()
    if args.scenes:
        table('rooms', rooms(args.scenes, args.side, args.model))
    if args.real:
        table('real frames', real(args.real, args.side, args.model))
        heights(args.real, args.model)
    if args.time:
        times()


def table(title: str, scenes: Iterator[tuple[str, Scene]]) -> None:
    """Print means over the scenes of each input."""
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for name, scene in scenes:
        found[name].append(measure(scene))
    columns = list(dict.fromkeys(key for rows in found.values() for row in rows for key in row))
    print(f'\n{title}: ' + ', '.join(f'{len(rows)} images {name}' for name, rows in found.items()))
    print(f'| input | {" | ".join(columns)} |\n|---|{"---|" * len(columns)}')
    for name, rows in found.items():
        cells = []
        for column in columns:
            known = [row[column] for row in rows if np.isfinite(row.get(column, np.nan))]
            cells.append(f'{np.mean(known):.2f}' if known else '-')
        print(f'| {name} | {" | ".join(cells)} |', flush=True)


def measure(scene: Scene) -> dict[str, float]:
    """What the filters do to one image, in per cent."""
    from scipy.spatial import cKDTree

    from diception_ros.core import cloud
    from diception_ros.core.geometry import back_project
    from diception_ros.core.labels import MetricDepth

    surface = back_project(MetricDepth(scene.truth), scene.lens).reshape(-1, 3)
    tree = cKDTree(surface[np.isfinite(surface[:, 2])])
    points = back_project(MetricDepth(scene.depth), scene.lens)
    # Every second pixel each way: the search takes a second for 80000 points.
    known = np.zeros(scene.depth.shape, bool)
    known[::2, ::2] = np.isfinite(scene.depth[::2, ::2]) & np.isfinite(scene.truth[::2, ::2])
    apart, _ = tree.query(points[known])
    distance = np.linalg.norm(points[known], axis=1)
    flies = (apart > FLYING) & (apart > FLYING * distance)
    out = {'flying': 100 * flies.mean()}
    for word, normals in (('', scene.normals), (', no normals', None)):
        drop = cloud.select(scene.depth, scene.lens, cloud.CloudFilter(edge_filter=True), normals)
        keep = drop.keep[known]
        out[f'flying after{word}'] = 100 * (flies & keep).sum() / max(1, keep.sum())
        out[f'points dropped{word}'] = 100 * (1 - keep.mean())
    if scene.floor is None or scene.height is None or scene.instance is None:
        return out
    obstacle = ~scene.floor & (scene.height > LOW) & (scene.height < HIGH)
    for word, gravity in (('', scene.gravity), (', gravity not known', None)):
        chosen = cloud.CloudFilter(ground='drop', gravity=gravity)
        found = cloud.select(scene.depth, scene.lens, chosen, scene.normals)
        out[f'floor found{word}'] = 100.0 * (found.plane is not None)
        if found.plane is None or not scene.floor.any():
            continue
        out[f'floor left{word}'] = 100 * found.keep[scene.floor].mean()
        out[f'obstacle points lost{word}'] = 100 * (1 - found.keep[obstacle].mean())
        if word:
            continue
        sizes = np.bincount(scene.instance[obstacle])
        left = np.bincount(scene.instance[obstacle & found.keep], minlength=len(sizes))
        # As many pixels as a costmap notices.
        objects = sizes >= 50
        out['obstacles with < 10 % left'] = 100 * (left[objects] < 0.1 * sizes[objects]).mean()
    return out


def resampled(truth: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Depth through an image of side x side pixels; unknown stays unknown."""
    import cv2

    inverse = np.nan_to_num(1 / truth)
    weight = np.isfinite(truth).astype(np.float32)
    shape = (truth.shape[1], truth.shape[0])
    small, seen = (cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA)
                   for one in (inverse, weight))  # fmt: skip
    small = np.where(seen > 0, small / np.maximum(seen, 1e-6), 0).astype(np.float32)
    out = cv2.resize(small, shape, interpolation=cv2.INTER_CUBIC)
    return np.where((weight > 0) & (out > 1e-3), 1 / np.maximum(out, 1e-3), np.nan).astype(
        np.float32
    )


def predict(model: Any, image: NDArray[np.uint8], truth: NDArray[np.float32]) -> Any:
    """Depth at the scale of the truth, normals, and the disparity; None for a bad fit."""
    from diception_ros.core.frame import Frame
    from diception_ros.core.geometry import align, to_metric
    from diception_ros.core.prompt import Prompt
    from diception_ros.core.settings import FitCriteria

    frame = Frame(image)
    prompts = [Prompt('depth'), Prompt('normal')]
    depth, normal = model.infer([frame] * 2, prompts, [model.settings] * 2)
    some = depth.label.values[::4, ::4].ravel()
    fit = align(some, truth[::4, ::4].ravel(), FitCriteria(max_residual=1, min_inliers=0))
    if not fit.scale_shift.scale > 0:
        return None
    return to_metric(depth.label, fit.scale_shift).values, normal.label.vectors, depth.label


def rooms(scenes: int, side: int, name: str) -> Iterator[tuple[str, Scene]]:
    """Views of simulated rooms."""
    from diception_ros.perception.predictor import Predictor
    from diception_ros.simulation import sample_stream
    from diception_ros.simulation.assets import NUMBERS
    from diception_ros.simulation.renderer import Renderer

    model = Predictor.load(name)
    with Renderer((480, 640)) as renderer:
        for number in range(scenes):
            views = sample_stream.scene_views(renderer, 7, number, 'validation', 2, 'robot')
            for view in views:
                category = view.category()
                floor = np.isin(category, [NUMBERS['floor'], NUMBERS['rug']])
                rays = view.camera.rays().reshape(*view.size, 3)
                height = (view.camera.position + view.depth[..., None] * rays)[..., 2]
                gravity = tuple((-view.camera.rotation[2]).tolist())
                truth = (
                    view.depth, view.camera.intrinsics, floor, height, view.instance, gravity,
                )  # fmt: skip
                yield 'true', Scene(view.depth, view.normals, *truth)
                yield 'resampled', Scene(resampled(view.depth, side), view.normals, *truth)
                if (answer := predict(model, view.image, view.depth)) is not None:
                    yield 'model', Scene(*answer[:2], *truth)


def frames(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.float32], Any]]:
    """Real frames: source, image, true depth, pinhole; two of each five."""
    import cv2

    from diception_ros.core.frame import Intrinsics

    for about in sorted(folder.glob('*/meta.json')):
        facts = json.loads(about.read_text())
        for number in facts['frames'][::3]:
            image = cv2.imread(str(about.parent / 'rgb' / f'{number}.jpg'))
            depth = cv2.imread(str(about.parent / 'depth' / f'{number}.png'), cv2.IMREAD_UNCHANGED)
            truth = np.where(depth > 0, depth / np.float32(1000), np.nan).astype(np.float32)
            lens = Intrinsics(*map(float, facts['intrinsics']))
            yield about.parent.name, np.ascontiguousarray(image[..., ::-1]), truth, lens


def real(folder: Path, side: int, name: str) -> Iterator[tuple[str, Scene]]:
    """Real frames, of which the floor is not known."""
    from diception_ros.perception.predictor import Predictor

    model = Predictor.load(name)
    for _, image, truth, lens in frames(folder):
        yield 'resampled', Scene(resampled(truth, side), None, truth, lens)
        if (answer := predict(model, image, truth)) is not None:
            yield 'model', Scene(*answer[:2], truth, lens)


def heights(folder: Path, name: str) -> None:
    """Print the scale that `depth.metric: height` gives, by the floor of the true depth."""
    from diception_ros.core import cloud, settings
    from diception_ros.core.labels import Normals
    from diception_ros.perception.metric_depth import estimate_metric_depth
    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.perception.tracking import Memory

    model = Predictor.load(name)
    found: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for source, image, truth, lens in frames(folder):
        plane = cloud.find_ground(truth, lens)
        answer = predict(model, image, truth)
        if plane is None or answer is None:
            continue
        for word, gravity in (('normals', ''), ('given', ' '.join(map(str, -plane.normal)))):
            chosen = settings.changed(
                PerceptionSettings(),
                {
                    'depth.metric': 'height',
                    'depth.camera_height': plane.height,
                    'points.gravity': gravity,
                },
            )
            metres = estimate_metric_depth(
                answer[2],
                lens,
                '',
                None,
                chosen,
                Memory(),
                Normals(answer[1]),
                chosen.points.direction,
            )
            good = metres.depth is not None
            ratio = float(np.nanmedian(metres.depth.values / truth)) if good else float('nan')
            found[f'{source} | {word}'].append((good, ratio))
    print('\n| source | gravity | frames whose true depth has a floor | with metres | '
          'depth / truth: median | 10 % | 90 % |\n|---|---|---|---|---|---|---|')  # fmt: skip
    for source, rows in found.items():
        ratios = [ratio for good, ratio in rows if good] or [float('nan')]
        low, middle, high = np.nanquantile(ratios, [0.1, 0.5, 0.9])
        print(f'| {source} | {len(rows)} | {sum(good for good, _ in rows)} | {middle:.2f} | '
              f'{low:.2f} | {high:.2f} |')  # fmt: skip


def times(repeats: int = 30) -> None:
    """Print processor and wall milliseconds, the best of interleaved repeats."""
    import cv2

    cv2.setNumThreads(1)
    columns = [times_at(high, wide, repeats) for high, wide in ((480, 640), (720, 1280))]
    print('\n| what | 640x480: ms (wall), ratio | 1280x720: ms (wall), ratio |\n|---|---|---|')
    for name in columns[0]:
        cells = [
            f'{cpu:.1f} ({wall:.1f}), {cpu / column["back-projection (yardstick)"][0]:.1f}'
            for column in columns
            for cpu, wall in [column[name]]
        ]
        print(f'| {name} | {" | ".join(cells)} |')


def times_at(high: int, wide: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Processor and wall milliseconds at one size, and prints the megabytes of the messages."""
    from diception_ros.bags.typestore import BagTypes
    from diception_ros.core import cloud
    from diception_ros.core.frame import Intrinsics
    from diception_ros.core.geometry import back_project
    from diception_ros.core.labels import MetricDepth, Normals
    from diception_ros.messages import make_header, point_clouds

    # A floor, a wall 4 m away and a box before it, with a little noise.
    lens = Intrinsics(0.9 * wide, 0.9 * wide, wide / 2, high / 2)
    floor = 0.6 / np.maximum((np.arange(high) - lens.cy) / lens.fy, 1e-6)
    depth = np.repeat(np.minimum(floor, 4.0)[:, None], wide, axis=1).astype(np.float32)
    normals = np.zeros((high, wide, 3), np.float32)
    normals[floor < 4.0, :, 1] = -1
    normals[floor >= 4.0, :, 2] = -1
    box = slice(high // 3, 2 * high // 3), slice(wide // 3, wide // 2)
    depth[box], normals[box] = 1.5, (0, 0, -1)
    depth *= np.random.default_rng(0).uniform(0.999, 1.001, depth.shape).astype(np.float32)
    ids, image = np.ones((high, wide), np.int32), np.zeros((high, wide, 3), np.uint8)
    types = BagTypes()
    given = (
        types, make_header(types, 0, 'cam'), MetricDepth(depth), lens, image, Normals(normals),
        ids, ids,
    )  # fmt: skip

    def select(**more: Any) -> Any:
        return cloud.select(depth, lens, cloud.CloudFilter(**more), normals)

    costmap: dict[str, Any] = {
        'range_min': 0.3, 'range_max': 5.0, 'edge_filter': True, 'ground': 'drop',
    }  # fmt: skip
    whole, thin = select(**costmap), select(**costmap, stride=2, voxel=0.05)
    made = {
        'back-projection (yardstick)': lambda: back_project(given[2], lens),
        'range': lambda: select(range_min=0.3, range_max=5.0),
        'edge_filter': lambda: select(edge_filter=True),
        'ground': lambda: select(ground='drop'),
        'voxel': lambda: select(voxel=0.05),
        'range, edge_filter, ground': lambda: select(**costmap),
        'the same, stride 2, voxel 5 cm': lambda: select(**costmap, stride=2, voxel=0.05),
        'message of all points': lambda: point_clouds.cloud(*given),
        'message, filtered, organised': lambda: point_clouds.cloud(*given, whole),
        'message, stride 2, voxel 5 cm': lambda: point_clouds.cloud(*given, thin),
        'scan': lambda: cloud.scan(depth, lens, whole.keep, 0.1, 10.0),
    }
    best = dict.fromkeys(made, (np.inf, np.inf))
    for _ in range(repeats):
        for name, call in made.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            cpu, wall = 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)
            best[name] = min(best[name][0], cpu), min(best[name][1], wall)
    sizes = [len(point_clouds.cloud(*given, one).data) / 1e6 for one in (None, thin)]
    print(f'{wide}x{high}: {sizes[0]:.1f} MB, thinned {sizes[1]:.2f} MB')
    return best


if __name__ == '__main__':
    main()
