# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small data sets in the folder layouts in which the real ones come."""

from pathlib import Path

import cv2
import numpy as np
from task_examples import example

from diception_ros import tasks
from diception_ros.core import images

# Of each protocol: the images' paths, and their size (H, W).
PLACES = {
    'nyuv2': (['test/kitchen_0004/rgb_0001.png', 'test/study_0002/rgb_0001.png'], (480, 640)),
    'kitti': (
        [f'2011_09_26/2011_09_26_drive_{k:04d}_sync/image_02/data/0000000069.png' for k in (2, 9)],
        (375, 1242),
    ),
    'eth3d': ([f'rgb/{name}/images/dslr_images/DSC_0219.JPG' for name in ('office', 'pipes')],
              (40, 60)),
    'scannet': ([f'scene0406_0{k}/color/000300.jpg' for k in (1, 2)], (48, 64)),
    'diode': (['indoors/scene_00021/scan_00189/00021_00189_indoors_200_010.png',
               'outdoor/scene_00022/scan_00196/00022_00196_outdoor_350_020.png'], (48, 64)),
    'nyuv2_normals': (['test/000000_img.png', 'test/000001_img.png'], (48, 64)),
    'scannet_normals': (['scene0001_01/001170_img.png', 'scene0002_00/001170_img.png'], (48, 64)),
    'ibims_normals': (['corridor_01_img.png', 'office_02_img.png'], (48, 64)),
    'diode_normals': (['indoors/scene_00021/scan_00189/00021_00189_indoors_200_010.png',
                       'indoors/scene_00021/scan_00190/00021_00190_indoors_200_010.png'],
                      (48, 64)),
}  # fmt: skip


def write(name: str, root: Path, kind: str = 'npy') -> list[np.ndarray]:
    """Write two images of a protocol and their truths.

    Args:
        name: of the protocol.
        root: a new folder.
        kind: of files of normals, 'npy' or 'png'.

    Returns:
        The truths: (H, W) metres, or (H, W, 3) unit vectors, camera optical frame; NaN unknown.
    """
    places, size = PLACES[name]
    truths = []
    for k, place in enumerate(places):
        rng = np.random.default_rng([k, len(name)])
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, rng.integers(0, 256, (*size, 3), np.uint8))
        if name.endswith('normals'):
            side = max(size)
            truth = example(tasks.get('normal'), rng, side).vectors[: size[0], : size[1]].copy()
            stem = place.removesuffix('_img.png').removesuffix('.png')
            write_normals(root / f'{stem}_normal.{kind}', truth)
        else:
            truth = rng.uniform(1, 9, size)
            truth[rng.random(size) < 0.2] = np.nan
            truth = WRITERS[name](root, place, truth)
        truths.append(truth)
    return truths


def write_normals(path: Path, vectors: np.ndarray) -> None:
    """As Marigold's sets and DIODE (.npy) or as DSINE's (.png)."""
    if path.suffix == '.npy':
        np.save(path, np.nan_to_num(vectors * [1, -1, -1]).astype(np.float32))
        return
    rgb = np.rint((-vectors + 1) / 2 * 255)
    images.write(path, np.nan_to_num(rgb).astype(np.uint8))


def _png(path: Path, depth: np.ndarray, per_metre: float) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.rint(np.nan_to_num(depth) * per_metre).astype(np.uint16)
    cv2.imwrite(str(path), stored)
    return np.where(stored > 0, stored / per_metre, np.nan)


def _nyuv2(root, place, depth):
    return _png(root / place.replace('/rgb_', '/depth_'), depth, 1000)


def _kitti(root, place, depth):
    _, drive, _, _, number = place.split('/')
    return _png(root / drive / 'proj_depth/groundtruth/image_02' / number, depth, 256)


def _eth3d(root, place, depth):
    scene, number = place.split('/')[1], place.split('/')[-1]
    path = root / f'depth/{scene}_dslr_depth/{scene}/ground_truth_depth/dslr_images/{number}'
    path.parent.mkdir(parents=True)
    np.nan_to_num(depth, nan=np.inf).astype('<f4').tofile(path)
    return depth


def _scannet(root, place, depth):
    return _png(root / place.replace('/color/', '/depth/').replace('.jpg', '.png'), depth, 1000)


def _diode(root, place, depth):
    stem = str(root / place).removesuffix('.png')
    np.save(f'{stem}_depth.npy', np.nan_to_num(depth, nan=5)[..., None].astype(np.float32))
    np.save(f'{stem}_depth_mask.npy', np.isfinite(depth).astype(np.float32))
    return depth


WRITERS = {'nyuv2': _nyuv2, 'kitti': _kitti, 'eth3d': _eth3d, 'scannet': _scannet, 'diode': _diode}
