# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D recordings of one's own camera as ground truth of depth and normals.

SOURCE/rgb/NAME.jpg     or .png .jpeg .bmp .webp
SOURCE/depth/NAME.png   16 bits, millimetres along the optical axis, 0 unknown; or .npy in metres
SOURCE/meta.json        optional: {"intrinsics": [fx, fy, cx, cy]}, pixels of the images

A folder of such folders is several sources. A bag with a colour image and a registered depth
image is one, too: the depth whose stamp is nearest belongs to the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.labels import MetricDepth, Normals
from diception_ros.datasets import decode
from diception_ros.datasets.annotation import IMAGE_SUFFIXES, check_sizes, files_in, load_json
from diception_ros.datasets.ground_truth import truth_from_message
from diception_ros.datasets.labelled import bag_at
from diception_ros.system import safe_load

if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag

# Field of view of a camera whose intrinsics are unknown: 60 degrees across, between the colour
# cameras of RealSense D435 (69) and Kinect (62) and those of phones held upright.
DEFAULT_FOV_DEG = 60.0
# A plane is fitted in windows of 2 R + 1 pixels, R = 8 in an image of 640 pixels: 6 cm at 2 m. The
# noise of the normals falls with its square, and objects that are thinner are lost.
WINDOW_SHARE = 1 / 80
# A fit counts where its residual is below 1 % of the depth: sensor noise at 3 m is near that.
MAX_RESIDUAL = 0.01
# Share of a window that must be known.
MIN_KNOWN = 0.6
LAYOUT = (
    'expected rgb/NAME.jpg (or .png) with depth/NAME.png (16 bits, millimetres, 0 unknown) or '
    'depth/NAME.npy (metres), and meta.json with "intrinsics": [fx, fy, cx, cy] where known, in '
    'the folder or in each of its folders; or a bag with colour and depth'
)


@dataclass(frozen=True)
class RgbdFrame:
    """One image with its true depth.

    Attributes:
        name: of the file, or the stamp.
        frame: the image, with intrinsics.
        depth: of the image's size.
    """

    name: str
    frame: Frame
    depth: MetricDepth


@dataclass(frozen=True)
class RgbdSource:
    """Frames of one camera.

    Attributes:
        name: of the folder or bag.
        intrinsics_known: whether they are given; else DEFAULT_FOV_DEG is taken.
        read: iterates over the frames, from the first one each time.
        count: number of frames; of a bag as many as it has images.
    """

    name: str
    intrinsics_known: bool
    read: Callable[[], Iterator[RgbdFrame]]
    count: int


def find_sources(place: Path, image_topic: str = '', depth_topic: str = '') -> list[RgbdSource]:
    """The sources in a folder or bag, by name; files are read later.

    Raises:
        FileNotFoundError: no such place, or an image without depth.
        ValueError: the place has no such layout.
    """
    if not place.exists():
        raise FileNotFoundError(f'{place}: no such folder or bag; {LAYOUT}')
    if place.is_dir():
        folders = [place, *sorted(path for path in place.iterdir() if path.is_dir())]
        with_rgb = [path for path in folders if (path / 'rgb').is_dir()]
        if with_rgb:
            return [_folder(path) for path in with_rgb]
    bag = bag_at(place)
    if bag is None:
        raise ValueError(f'{place}: no RGB-D frames in it; {LAYOUT}')
    return [_bag(bag, image_topic, depth_topic)]


def in_turn(sources: Sequence[RgbdSource]) -> Iterator[tuple[RgbdSource, RgbdFrame]]:
    """The frames of all sources, one of each in turn."""
    streams: list[Iterable[RgbdFrame]] = [source.read() for source in sources]
    for row in itertools.zip_longest(*streams):
        yield from (
            (source, rgbd_frame)
            for source, rgbd_frame in zip(sources, row, strict=True)
            if rgbd_frame is not None
        )


def default_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """The pinhole of an image (H, W) with square pixels and DEFAULT_FOV_DEG across."""
    height, width = size
    focal = width / 2 / math.tan(math.radians(DEFAULT_FOV_DEG) / 2)
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2)


def _folder(place: Path) -> RgbdSource:
    pairs = []
    for image in files_in(place / 'rgb'):
        if image.suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(
                f'{image}: expected an image, which ends in {", ".join(IMAGE_SUFFIXES)}'
            )
        depths = [place / 'depth' / f'{image.stem}{suffix}' for suffix in ('.png', '.npy')]
        depth = next((path for path in depths if path.is_file()), None)
        if depth is None:
            raise FileNotFoundError(f'{image}: there is no {depths[0]} or .npy; {LAYOUT}')
        pairs.append((image, depth))
    if not pairs:
        raise ValueError(f'{place / "rgb"}: no image in it; {LAYOUT}')
    meta = place / 'meta.json'
    content = load_json(meta) if meta.is_file() else {}
    intrinsics = _intrinsics(content.get('intrinsics'), meta)
    known = intrinsics is not None and content.get('intrinsics_known', True) is not False
    return RgbdSource(place.name, known, partial(_read_folder, pairs, intrinsics), len(pairs))


def _intrinsics(value: Any, where: Path) -> Intrinsics | None:
    if value is None:
        return None
    try:
        numbers = [float(number) for number in value]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise ValueError
        return Intrinsics(*numbers)
    except (ValueError, *safe_load.MALFORMED) as error:
        raise ValueError(
            f'{where}: expected "intrinsics": [fx, fy, cx, cy] in pixels, got {value!r}'
        ) from error


def _read_folder(
    pairs: list[tuple[Path, Path]], intrinsics: Intrinsics | None
) -> Iterator[RgbdFrame]:
    for image, file in pairs:
        rgb = decode.rgb(image.read_bytes(), str(image))
        depth = decode.depth(decode.load_array(file), str(file))
        check_sizes(rgb.shape[:2], depth.size, str(image), str(file))
        pinhole = intrinsics or default_intrinsics(rgb.shape[:2])
        yield RgbdFrame(image.stem, Frame(rgb, intrinsics=pinhole), depth)


def _bag(path: Path, image_topic: str, depth_topic: str) -> RgbdSource:
    from diception_ros.bags import frames
    from diception_ros.bags.reader import Bag

    with Bag(path) as bag:
        wanted = (image_topic,) if image_topic else ()
        depths = (depth_topic or _depth_topic(bag),)
        (camera,) = frames.choose(bag, wanted, references=depths)
        count = bag.topics[camera.topic].count or 0
    return RgbdSource(path.stem, bool(camera.info), partial(_read_bag, path, camera), count)


def _depth_topic(bag: Bag) -> str:
    """The only topic of depth images of a bag."""
    from diception_ros.bags import frames

    topics = []
    for topic in bag.topics.values():
        if topic.msgtype not in frames.IMAGES:
            continue
        for raw in bag.messages([topic.name]):
            message = bag.decode(raw)
            encoding = getattr(message, 'encoding', getattr(message, 'format', ''))
            if encoding in ('16UC1', 'mono16', '32FC1') or 'compresseddepth' in encoding.lower():
                topics.append(topic.name)
            break
    if len(topics) != 1:
        raise ValueError(
            f'{bag.path}: expected one topic of depth images, got '
            f'{", ".join(topics) or "none"}; name it with --label-topic'
        )
    return topics[0]


def _read_bag(path: Path, camera: Any) -> Iterator[RgbdFrame]:
    from diception_ros.bags.frames import FrameSelection, ImageFrame, frames
    from diception_ros.bags.reader import Bag

    with Bag(path) as bag:
        for item in frames(bag, [camera], FrameSelection()):
            if not isinstance(item, ImageFrame) or item.reference is None:
                continue
            frame, where = item.frame, f'{path}: {camera.reference}'
            label = truth_from_message(tasks.get('depth'), item.reference, ())
            assert isinstance(label, MetricDepth)
            check_sizes(frame.size, label.size, f'{path}: {camera.topic}', where)
            pinhole = frame.intrinsics or default_intrinsics(frame.size)
            image = Frame(frame.image, frame.stamp_ns, frame.frame_id, pinhole)
            yield RgbdFrame(str(frame.stamp_ns), image, label)


def plane_normals(depth: MetricDepth, intrinsics: Intrinsics) -> Normals:
    """Normals of planes fitted to a measured depth map; unknown where the fit is bad.

    The inverse depth of a plane is linear in the pixel, and the noise of stereo and structured
    light is constant in it: a linear least-squares fit in a window is the plane. It is bad where
    the residual is more than MAX_RESIDUAL of the depth, as at edges, or where less than MIN_KNOWN
    of the window is known.
    """
    height, width = depth.size
    radius = max(1, round(width * WINDOW_SHARE))
    side = 2 * radius + 1
    known = depth.valid
    weight = known.astype(np.float64)
    inverse = np.where(known, 1 / depth.values.astype(np.float64), 0.0)
    # Relative to the middle of the window, which keeps the sums small: x of a window is what is
    # left when its middle is taken from the pixel.
    step = np.arange(-radius, radius + 1, dtype=np.float64)
    flat = np.ones(side)

    def total(values: NDArray[np.float64], across: Any, down: Any) -> NDArray[np.float64]:
        out = cv2.sepFilter2D(values, -1, across, down, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(out, np.float64)

    n, q = total(weight, flat, flat), total(inverse, flat, flat)
    x, y = total(weight, step, flat), total(weight, flat, step)
    xx, xy, yy = (
        total(weight, step**2, flat),
        total(weight, step, step),
        total(weight, flat, step**2),
    )
    xq, yq = total(inverse, step, flat), total(inverse, flat, step)
    qq = total(inverse**2, flat, flat)
    matrix = np.stack([xx, xy, x, xy, yy, y, x, y, n], -1).reshape(height, width, 3, 3)
    right = np.stack([xq, yq, q], -1)[..., None]
    usable = known & (n >= MIN_KNOWN * side**2)
    matrix[~usable] = np.eye(3)
    a, b, c = np.moveaxis(np.linalg.solve(matrix, right)[..., 0], -1, 0)
    # The sum of squares that the fit leaves.
    rest = qq - a * xq - b * yq - c * q
    with np.errstate(invalid='ignore', divide='ignore'):
        residual = np.sqrt(np.maximum(rest, 0) / n) / np.abs(c)
    usable &= (residual < MAX_RESIDUAL) & (c > 0)
    u = np.arange(width) - intrinsics.cx
    v = np.arange(height)[:, None] - intrinsics.cy
    away = np.stack([a * intrinsics.fx, b * intrinsics.fy, c - a * u - b * v], -1)
    length = np.linalg.norm(away, axis=-1)
    usable &= length > 0
    with np.errstate(invalid='ignore', divide='ignore'):
        vectors = -away / length[..., None]
    return Normals(np.where(usable[..., None], vectors, np.nan).astype(np.float32))
