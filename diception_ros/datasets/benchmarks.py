# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Protocols of the paper's data sets.

A protocol defines where images and ground truth lie in the usual folder, which part of an image
the model receives, and which pixels count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import difflib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.images import MAX_PIXELS
from diception_ros.core.labels import MetricDepth, Normals
from diception_ros.datasets import decode
from diception_ros.system import safe_load
from diception_ros.tasks.normal import IMAGE_TO_CAMERA_AXES

Size = tuple[int, int]  # (H, W), pixels

_MAX_ROWS = 1_000_000  # of images in one file


@dataclass(frozen=True)
class Protocol:
    """How a data set is read and scored.

    Attributes:
        name: of the file, and the word on the command line.
        task: 'depth' or 'normal'.
        layout: what the folder holds, for messages.
        pattern: glob of the images in the folder.
        folders: where the images may lie in it instead, such as 'val'; what `truths` returns is
            looked for there, and beside it.
        more_patterns: further globs, of other copies of the data set.
        arrays: .npy files that may stand in the folder instead, (N, H, W, 3) RGB of all images
            and (N, H, W) metres; () if there is no such copy.
        truths: for an image's path in the folder, the paths of the files of its truth; several
            choices, of which the first complete one is taken.
        read: for these files and the image's size, the truth of the whole image.
        images: number in the paper's table.
        partial: whether images without truth are normal, and skipped.
        metres: pixels of the truth at or beyond these two are unknown, and predictions are clipped
            to them.
        alignment_side: longer side of the grid of pixels by which scale and shift are fitted; 0
            for all.
        window: rows and columns of the part that the model receives; None for the whole image.
        counted: (H, W) bool, the pixels of that part that count; None for all.
        published: the paper's figures by metric.
    """

    name: str
    task: str
    layout: str
    pattern: str
    truths: Callable[[str], Sequence[tuple[str, ...]]]
    read: Callable[[Sequence[Path], Size], MetricDepth | Normals]
    images: int
    partial: bool = False
    folders: tuple[str, ...] = ()
    more_patterns: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    metres: tuple[float, float] = (0.0, float('inf'))
    alignment_side: int = 0
    window: Callable[[Size], tuple[slice, slice]] | None = None
    counted: Callable[[Size], NDArray[np.bool_]] | None = None
    published: Mapping[str, float] = field(default_factory=dict)


def names() -> list[str]:
    """Names of all protocols, in alphabetical order."""
    return sorted(_PROTOCOLS)


def get(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean {close[0]!r}? ' if close else ''
        raise ValueError(f'no protocol {name!r}; {hint}known: {", ".join(known)}')
    return _PROTOCOLS[name]


# Ground truth in the files of the data sets.


def png_depth(per_metre: float) -> Callable[[Sequence[Path], Size], MetricDepth]:
    """Reader of depth in 16-bit PNG files, of which a metre is `per_metre`."""

    def read(paths: Sequence[Path], size: Size) -> MetricDepth:
        array = decode.load_array(paths[0])
        if array.dtype != np.uint16 or array.ndim != 2:
            raise ValueError(
                f'{paths[0]}: expected depth as a grey 16-bit PNG, got {decode.described(array)}'
            )
        _check_size(paths[0], array.shape, size)
        return decode.depth(array, str(paths[0]), per_metre)

    return read


def raw_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read 32-bit floats, row by row, without a header; metres, infinity is unknown."""
    content = np.fromfile(paths[0], '<f4')
    if content.size != size[0] * size[1]:
        raise ValueError(
            f'{paths[0]}: expected {size[0] * size[1]} 32-bit floats for an image of {size} '
            f'(H, W), got {content.size}'
        )
    return decode.depth(content.reshape(size), str(paths[0]))


def npy_rows(path: Path) -> NDArray[Any]:
    """Many images or labels in one .npy file, (N, H, W) or (N, H, W, 3); mapped, not read.

    Raises:
        ValueError: it is no such file, or of another shape or kind.
    """
    rows = safe_load.npy_file(path, _MAX_ROWS * 3 * MAX_PIXELS)
    if rows.ndim not in (3, 4) or rows.shape[3:] not in ((), (3,)) or rows.dtype.kind not in 'fu':
        raise ValueError(
            f'{path}: expected (N, H, W) or (N, H, W, 3) of bytes or floats, got '
            f'{decode.described(rows)}'
        )
    return rows


def rgb_row(path: Path, row: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, one image of `npy_rows`; some copies hold its bytes as floats."""
    values = np.array(npy_rows(path)[row])
    if values.ndim != 3 or not (np.isfinite(values) & (values >= 0) & (values <= 255)).all():
        raise ValueError(f'{path}: expected RGB values from 0 to 255, got others in image {row}')
    pixels: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return pixels


def depth_row(path: Path, row: int, size: Size) -> MetricDepth:
    """Depth in metres, one of `npy_rows`."""
    values = np.array(npy_rows(path)[row])
    _check_size(path, values.shape, size)
    return decode.depth(values, f'{path}, image {row}')


def npy_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read depth in metres and the mask of known pixels, two .npy files."""
    metres, mask = (decode.load_array(path).squeeze() for path in paths)
    for path, array in zip(paths, (metres, mask), strict=True):
        _check_size(path, array.shape, size)
    return decode.depth(np.where(mask.astype(bool), metres, np.float32(np.nan)), str(paths[0]))


def benchmark_normals(paths: Sequence[Path], size: Size) -> Normals:
    """Read normals of an evaluation set, by the kind of file.

    .npy: (H, W, 3) floats with x right, y up, z to the viewer, unknown where zero: Marigold's
    evaluation sets and DIODE. .png: 8 bits for [-1, 1], x right, y down, z forward, but pointing
    away from the camera, unknown where black: DSINE's evaluation sets.
    """
    path, array = paths[0], decode.load_array(paths[0])
    expected = 'three floats' if path.suffix == '.npy' else 'an 8-bit RGB PNG'
    kind = 'f' if path.suffix == '.npy' else 'u'
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != kind:
        raise ValueError(
            f'{path}: expected normals of shape (H, W, 3), {expected}, got '
            f'{decode.described(array)}'
        )
    _check_size(path, array.shape[:2], size)
    return decode.normals(
        array, str(path), IMAGE_TO_CAMERA_AXES if kind == 'f' else -decode.OPTICAL
    )


def normals_beside(image: str) -> list[tuple[str, ...]]:
    """Where the normals of N_img.png or N.png lie: N_normal.npy or N_normal.png."""
    stem = image.rsplit('.', 1)[0].removesuffix('_img')
    return [(f'{stem}_normal.npy',), (f'{stem}_normal.png',)]


def _check_size(path: Path, shape: tuple[int, ...], size: Size) -> None:
    if shape != size:
        raise ValueError(f"{path}: expected its image's size {size} (H, W), got {shape}")


def normals_table(
    mean: float, median: float, within_11_25: float, within_22_5: float, within_30: float
) -> dict[str, float]:
    """A row of the paper's table of normals, which has percentages."""
    return {
        'mean_deg': mean,
        'median_deg': median,
        'within_11_25': within_11_25 / 100,
        'within_22_5': within_22_5 / 100,
        'within_30': within_30 / 100,
    }


# DIODE, depth: the validation set, indoors and outdoors.
#
# Source: the evaluation of Marigold and GenPercept, and DIODE's own val.tar.gz.


def _diode_truths(image: str) -> list[tuple[str, ...]]:
    stem = image.removesuffix('.png')
    return [(f'{stem}_depth.npy', f'{stem}_depth_mask.npy')]


DIODE = Protocol(
    name='diode',
    task='depth',
    layout='indoors/ and outdoor/ SCENE/SCAN/N.png with N_depth.npy (metres) and N_depth_mask.npy',
    pattern='*door*/scene_*/scan_*/*.png',
    truths=_diode_truths,
    read=npy_depth,
    images=771,
    folders=('val',),
    metres=(0.6, 350.0),
    published={'abs_rel': 0.289, 'delta1': 0.722},
)


# DIODE, normals: the indoor part of the validation set.
#
# Source: DIODE's own val.tar.gz and val_normals.tar.gz, unpacked into one folder.


DIODE_NORMALS = Protocol(
    name='diode_normals',
    task='normal',
    layout='indoors/SCENE/SCAN/N.png with N_normal.npy',
    pattern='indoors/scene_*/scan_*/*.png',
    truths=normals_beside,
    read=benchmark_normals,
    images=325,
    folders=('val',),
    published=normals_table(16.297, 11.117, 50.548, 83.325, 88.774),
)


# ETH3D, depth: the training set of the high-resolution multi-view benchmark.
#
# Scale and shift are fitted by a grid of pixels of 1024 on the longer side, errors are over all
# pixels.
#
# Source: the evaluation of Marigold and GenPercept, and their eth3d.tar.


def _eth3d_truths(image: str) -> list[tuple[str, ...]]:
    # rgb/SCENE/images/dslr_images/N.JPG
    _, scene, _, kind, name = image.split('/')
    return [(f'depth/{scene}_dslr_depth/{scene}/ground_truth_depth/{kind}/{name}',)]


ETH3D = Protocol(
    name='eth3d',
    task='depth',
    layout='rgb/SCENE/images/dslr_images/N.JPG with '
    'depth/SCENE_dslr_depth/SCENE/ground_truth_depth/dslr_images/N.JPG (32-bit floats, metres)',
    pattern='rgb/*/images/dslr_images/*.JPG',
    truths=_eth3d_truths,
    read=raw_depth,
    images=454,
    metres=(1e-5, float('inf')),
    alignment_side=1024,
    published={'abs_rel': 0.050, 'delta1': 0.975},
)


# iBims-1, normals: the 100 images whose figures the paper's table shows beside ScanNet's.
#
# Source: Marigold's evaluation set; that of DSINE holds OpenEXR files, which are not read.


IBIMS_NORMALS = Protocol(
    name='ibims_normals',
    task='normal',
    layout='N_img.png with N_normal.npy, in the folder or in ibims/',
    pattern='**/*_img.png',
    truths=normals_beside,
    read=benchmark_normals,
    images=100,
)


# KITTI, depth: Eigen's test split in the benchmark's crop.
#
# The model sees the crop of 352 x 1216 pixels; what counts lies in Eigen's part of it.
#
# Source: the evaluation of Marigold and GenPercept, and their kitti_eigen_split_test.tar.


HEIGHT, WIDTH = 352, 1216
TOP, BOTTOM, LEFT, RIGHT = 0.3324324, 0.91351351, 0.0359477, 0.96405229


def benchmark_crop(size: Size) -> tuple[slice, slice]:
    """The lowest 352 rows and the middle 1216 columns.

    Raises:
        ValueError: the image is smaller.
    """
    top, left = size[0] - HEIGHT, (size[1] - WIDTH) // 2
    if top < 0 or left < 0:
        raise ValueError(
            f'kitti: expected images of at least ({HEIGHT}, {WIDTH}) pixels (H, W), got {size}'
        )
    return slice(top, top + HEIGHT), slice(left, left + WIDTH)


def kitti_eigen_crop(size: Size) -> NDArray[np.bool_]:
    """(H, W) bool, Eigen's part of what the model sees."""
    height, width = size
    inside = np.zeros(size, np.bool_)
    rows = slice(int(TOP * height), int(BOTTOM * height))
    inside[rows, int(LEFT * width) : int(RIGHT * width)] = True
    return inside


def _kitti_truths(image: str) -> list[tuple[str, ...]]:
    # DATE/DRIVE/image_02/data/N.png -> DRIVE/proj_depth/groundtruth/image_02/N.png
    _, drive, camera, _, name = image.split('/')
    truth = f'{drive}/proj_depth/groundtruth/{camera}/{name}'
    above = ('', 'val/', 'train/', 'data_depth_annotated/val/', 'data_depth_annotated/train/')
    return [(f'{folder}{truth}',) for folder in above]


KITTI = Protocol(
    name='kitti',
    task='depth',
    layout='DATE/DRIVE/image_02/data/N.png with DRIVE/proj_depth/groundtruth/image_02/N.png '
    '(16 bits, 1/256 metre)',
    pattern='*/*_sync/image_02/data/*.png',
    folders=('raw', 'raw_data', 'kitti_raw'),
    truths=_kitti_truths,
    read=png_depth(256),
    images=652,
    partial=True,  # 45 of the split's 697 images have none
    metres=(1e-5, 80.0),
    window=benchmark_crop,
    counted=kitti_eigen_crop,
    published={'abs_rel': 0.069, 'delta1': 0.949},
)


# NYUv2, depth: the labelled test set in Eigen's crop.
#
# Source: the evaluation of Marigold and GenPercept, and their nyu_labeled_extracted.tar.


ROWS, COLUMNS = slice(45, 471), slice(41, 601)  # of 480 x 640 pixels


def nyu_eigen_crop(size: Size) -> NDArray[np.bool_]:
    """(H, W) bool, Eigen's crop.

    Raises:
        ValueError: the image is not 640 x 480, for which the crop is given.
    """
    if size != (480, 640):
        raise ValueError(f'nyuv2: expected images of (480, 640) pixels (H, W), got {size}')
    inside = np.zeros(size, np.bool_)
    inside[ROWS, COLUMNS] = True
    return inside


def _nyuv2_truths(image: str) -> list[tuple[str, ...]]:
    stem = image.rsplit('.', 1)[0]
    return [(stem.replace('/rgb_', f'/{name}_') + '.png',) for name in ('depth', 'sync_depth')]


NYUV2 = Protocol(
    name='nyuv2',
    task='depth',
    layout='test/SCENE/rgb_NNNN.png with test/SCENE/depth_NNNN.png (16 bits, millimetres), or '
    'eigen_test_rgb.npy with eigen_test_depth.npy (metres)',
    pattern='test/*/rgb_*.png',
    more_patterns=('test/*/rgb_*.jpg',),  # as BTS wrote them, with sync_depth_NNNN.png
    arrays=('eigen_test_rgb.npy', 'eigen_test_depth.npy'),  # nyu_test.zip of DenseDepth
    folders=('official_splits', 'nyu_test'),
    truths=_nyuv2_truths,
    read=png_depth(1000),
    images=654,
    metres=(1e-3, 10.0),
    counted=nyu_eigen_crop,
    published={'abs_rel': 0.061, 'delta1': 0.960},
)


# NYUv2, normals: the labelled test set.
#
# Source: DSINE's dsine_eval.zip, which StableNormal takes too, or Marigold's evaluation set.


NYUV2_NORMALS = Protocol(
    name='nyuv2_normals',
    task='normal',
    layout='test/N_img.png with test/N_normal.png (DSINE) or test/N_normal.npy (Marigold)',
    pattern='test/*_img.png',
    truths=normals_beside,
    read=benchmark_normals,
    images=654,
    published=normals_table(18.338, 10.106, 52.850, 77.079, 82.903),
)


# ScanNet, depth: 800 images of the validation scenes.
#
# Source: the evaluation of Marigold and GenPercept, and their scannet_val_sampled_800_1.tar.


SCANNET = Protocol(
    name='scannet',
    task='depth',
    layout='SCENE/color/N.jpg with SCENE/depth/N.png (16 bits, millimetres, of one size)',
    pattern='scene*/color/*.jpg',
    truths=lambda image: [(image.replace('/color/', '/depth/').replace('.jpg', '.png'),)],
    read=png_depth(1000),
    images=800,
    folders=('scans', 'scans_test'),
    metres=(1e-3, 10.0),
    published={'abs_rel': 0.072, 'delta1': 0.944},
)


# ScanNet, normals: 300 images of FrameNet's test split.
#
# Source: DSINE's dsine_eval.zip, which StableNormal takes too, or Marigold's evaluation set.


SCANNET_NORMALS = Protocol(
    name='scannet_normals',
    task='normal',
    layout='SCENE/N_img.png with SCENE/N_normal.png (DSINE) or SCENE/N_normal.npy (Marigold)',
    pattern='scene*/*_img.png',
    truths=normals_beside,
    read=benchmark_normals,
    images=300,
    published=normals_table(18.842, 10.266, 53.610, 74.895, 82.864),
)

_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        DIODE, DIODE_NORMALS, ETH3D, IBIMS_NORMALS, KITTI, NYUV2, NYUV2_NORMALS, SCANNET,
        SCANNET_NORMALS,
    )
}  # fmt: skip
