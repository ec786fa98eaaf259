# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Point cloud filters for costmaps, the ground plane, and a planar scan, of a depth image.

All functions work on the depth image, not on points: adjacent pixels are neighbours on the
surface, and the inverse depth of a plane is linear in the pixel coordinates. All coordinates are
in the camera optical frame: x right, y down, z forward, metres.

In all functions `depth` is (H, W) float32, metres along the optical axis, NaN = unknown;
`intrinsics` is the pinhole of that image; and `normals` are (H, W, 3) float32, unit, NaN =
unknown, or None where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import axes

BoolMap = NDArray[np.bool_]

# Angle over which neighbours are compared, radians: 2 pixels of a 640x480 image of 60 degrees. A
# depth edge of a network is several pixels wide, more in a larger image of the same view.
NEIGHBOUR_ANGLE = 0.004
# Gravity in the optical frame of a level camera.
_LEVEL = (0.0, 1.0, 0.0)
# Pixels that the ground plane is fitted to: the fit takes 4 ms and is stable to a millimetre.
GROUND_SAMPLES = 4096
# Largest angle between up and a normal of the ground, degrees: while up is only roughly known, and
# once it is measured. Walls are at 90 degrees, wheelchair ramps at 5.
UP_ROUGHLY, UP_MEASURED = 45.0, 20.0
# Share of the samples that a ground plane must hold: 64 of 4096, a strip of 7 image rows of 480.
GROUND_SHARE = 1 / 64
# Of several levels (floor, seats, tables) the lowest with this share of the largest is the ground.
LEVEL_SHARE = 0.1
# Minimum height of the camera above the ground, metres: that of a robot vacuum.
MIN_HEIGHT = 0.03
# Relative error of the height of a level up to which it agrees with the camera's.
HEIGHT_ERROR = 0.25
# Larger voxel grids are not allocated in memory.
_CELLS = 2**27
# Pixels that are filtered at a time: 256 kB of float32, so that the data of a filter fits a cache.
_STRIPE = 2**16


class Plane(NamedTuple):
    """The ground: points p with normal . p + height = 0.

    Attributes:
        normal: (3,) float64, unit, up, camera optical frame.
        height: of the camera above it, metres.
    """

    normal: NDArray[np.float64]
    height: float


@dataclass(frozen=True)
class CloudFilter:
    """Which points are kept; the defaults keep all.

    Attributes:
        range_min: smallest distance from the camera, metres.
        range_max: largest distance from the camera, metres; 0: no limit.
        stride: every n-th pixel of every n-th row.
        voxel: side of cubes of which one point each is kept, metres; 0: all.
        edge_filter: whether points between the surfaces at a depth edge are dropped.
        edge_angle: largest angle between ray and normal, degrees.
        edge_jump: relative difference of depth to the neighbours on both sides.
        ground: 'keep', 'drop' or 'only'.
        ground_height: points lower than this above the plane are ground, metres.
        gravity: (x, y, z), the direction of gravity in the optical frame, any length; None: not
            known, the camera is level to 45 degrees.
        camera_height: of the camera above the ground, metres; 0: not known.
    """

    range_min: float = 0.0
    range_max: float = 0.0
    stride: int = 1
    voxel: float = 0.0
    edge_filter: bool = False
    edge_angle: float = 85.0
    edge_jump: float = 0.05
    ground: str = 'keep'
    ground_height: float = 0.05
    gravity: tuple[float, float, float] | None = None
    camera_height: float = 0.0


@dataclass(frozen=True, eq=False)
class Selection:
    """The points of a depth image that are kept.

    Attributes:
        stride: of the pixels; the first is (stride - 1) // 2.
        keep: (h, w) bool, for each of these pixels.
        organized: whether dropped points stay in the cloud, as NaN.
        plane: the ground, None where none was looked for or found.
        counts: points that are kept, and by each filter those that it dropped, in its order: all
            numbers add up to the pixels of the depth image.
    """

    stride: int
    keep: BoolMap
    organized: bool
    plane: Plane | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def select(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    chosen: CloudFilter,
    normals: NDArray[np.float32] | None = None,
    allowed: BoolMap | None = None,
) -> Selection:
    """Apply all filters to a depth image; `allowed`: (H, W), pixels of the categories to keep."""
    pixels = grid(chosen.stride)
    z = depth[pixels]
    lens = strided(intrinsics, chosen.stride)
    counts = {'stride': depth.size - z.size}
    keep = ~np.isnan(z)
    counts['unknown'] = int(z.size - np.count_nonzero(keep))
    plane = None

    def drop(name: str, wrong: BoolMap) -> None:
        nonlocal keep
        before = np.count_nonzero(keep)
        keep = keep & ~wrong
        counts[name] = int(before - np.count_nonzero(keep))

    if chosen.range_min > 0 or chosen.range_max > 0:
        distance = z * _ray_lengths(z.shape, lens)
        drop('range', ~in_range(distance, chosen.range_min, chosen.range_max))
    if chosen.edge_filter:
        wrong = flying(depth, intrinsics, chosen.edge_angle, chosen.edge_jump, normals)
        drop('edge', wrong[pixels])
    if chosen.ground != 'keep':
        plane = find_ground(depth, intrinsics, chosen.gravity, normals, chosen.camera_height)
        if plane is None:
            low = np.zeros(z.shape, bool)
        else:
            low = heights(z, lens, plane) < chosen.ground_height
        drop('ground', ~low if chosen.ground == 'only' else low)
    if allowed is not None:
        drop('classes', ~allowed[pixels])
    if chosen.voxel > 0:
        drop('voxel', ~_one_of_each_voxel(z, keep, lens, chosen.voxel))
    counts['kept'] = int(np.count_nonzero(keep))
    return Selection(chosen.stride, keep, chosen.voxel == 0, plane, counts)


def in_range(distance: NDArray[np.float32], low: float, high: float) -> BoolMap:
    """Where a distance is at least `low` and at most `high`; a high of 0 is no limit."""
    inside = distance >= low
    return inside & (distance <= high) if high > 0 else inside


def strided(intrinsics: Intrinsics, stride: int) -> Intrinsics:
    """The pinhole of an image of every n-th pixel, from (n - 1) // 2."""
    first = (stride - 1) // 2
    return Intrinsics(
        intrinsics.fx / stride,
        intrinsics.fy / stride,
        (intrinsics.cx - first) / stride,
        (intrinsics.cy - first) / stride,
    )


def flying(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    angle: float,
    jump: float,
    normals: NDArray[np.float32] | None = None,
) -> BoolMap:
    """Flying points at depth edges: (H, W) bool, False where the depth is unknown.

    A network blurs a depth edge, so its pixels lie between the two surfaces. A point is dropped if
    among its neighbours one is nearer and one is farther, both by more than `jump` (a relative
    difference) and by more than the surface's own slope, which the normal gives: the two surfaces
    themselves stay, as does an object that is narrower than the neighbourhood. Where the surface
    is seen at an `angle` (degrees) from its normal or more, an error of a pixel moves a point far,
    so it is dropped too.
    """
    import cv2  # here, since code that only makes messages needs no OpenCV

    reach = max(1, round(NEIGHBOUR_ANGLE * (intrinsics.fx + intrinsics.fy) / 2))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    columns, rows = axes(depth.shape, intrinsics)
    steep = np.float32(math.cos(math.radians(angle)) ** 2)
    flying_pixels = np.empty(depth.shape, bool)
    for part in stripes(depth.shape):
        first, last = max(0, part.start - reach), part.stop + reach
        inverse = np.float32(1) / depth[first:last]
        unknown = np.isnan(inverse)
        gaps = bool(unknown.any())
        near = cv2.dilate(np.where(unknown, np.float32(0), inverse) if gaps else inverse, kernel)
        far = cv2.erode(
            np.where(unknown, np.float32(np.inf), inverse) if gaps else inverse, kernel
        )
        inside = slice(part.start - first, part.stop - first)
        near, far, inverse = near[inside], far[inside], inverse[inside]
        # (near - v) / v and (v - far) / v, of which the smaller counts.
        between = np.minimum(near - inverse, inverse - far)
        if normals is None:
            flying_pixels[part] = between > np.float32(jump) * inverse
            continue
        x, y, z = (normals[part, :, axis] for axis in range(3))
        # Product of the normal and the ray of depth 1: on a plane the inverse depth changes from
        # column to column by x / fx / this of itself.
        along = np.abs(x * columns + y * rows[part, None] + z)
        slope = np.abs(x) * np.float32(reach / intrinsics.fx)
        slope += np.abs(y) * np.float32(reach / intrinsics.fy)
        bad = np.isnan(along)
        if bad.any():  # an unknown normal gives no slope
            along[bad], slope[bad] = 1, 0
        slope += np.float32(jump) * along
        lengths = columns**2 + (rows[part, None] ** 2 + np.float32(1))
        flying_pixels[part] = between * along > slope * inverse
        flying_pixels[part] |= (along**2 < steep * lengths) & (inverse > 0)
    return flying_pixels


def stripes(size: tuple[int, ...]) -> Iterator[slice]:
    """Parts of an image's rows that fit into a cache, so that filters run part by part."""
    high = max(1, _STRIPE // max(1, size[1]))
    for first in range(0, size[0], high):
        yield slice(first, min(first + high, size[0]))


def find_ground(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    gravity: tuple[float, float, float] | None = None,
    normals: NDArray[np.float32] | None = None,
    camera_height: float = 0.0,
) -> Plane | None:
    """Find the ground plane, on which the robot stands; None if it is not visible.

    Of the pixels whose normal points up, the lowest level of sufficient size is taken, and a
    plane is fitted to it by least squares in the inverse depth, in which a plane is linear and
    all pixels have equal weight. If no floor is visible, a table may be the lowest level: only
    `camera_height` excludes that.

    Args:
        depth: metres.
        intrinsics: pinhole.
        gravity: its direction in the optical frame; None: see `up_normals`.
        normals: None: those of the depth.
        camera_height: metres; levels that are off by more than a quarter are not the ground. 0:
            not known.
    """
    step = max(1, math.isqrt(depth.size // GROUND_SAMPLES))
    pixels = grid(step)
    z, lens = depth[pixels].astype(np.float64), strided(intrinsics, step)
    rays = _rays(z.shape, lens)
    vectors = depth_normals(z, lens) if normals is None else normals[pixels].astype(np.float64)
    normals_and_mask = up_normals(vectors.reshape(-1, 3), gravity)
    if normals_and_mask is None:
        return None
    up, mask = normals_and_mask
    points = (rays * z[..., None]).reshape(-1, 3)[mask]
    below = -points @ up
    usable = below > MIN_HEIGHT
    if camera_height > 0:
        usable &= np.abs(below - camera_height) < HEIGHT_ERROR * camera_height
    points, below = points[usable], below[usable]
    least = max(3, round(GROUND_SHARE * z.size))
    if len(points) < least:
        return None
    height = lowest_level(below, least)
    if height is None:
        return None
    normal = up
    for tolerance in (0.15, 0.08, 0.08):
        near = np.abs(points @ normal + height) < tolerance * height
        if np.count_nonzero(near) < least:
            return None
        # 1 / z = -(normal / height) . ray on the plane.
        scaled = points[near] / points[near, 2:]
        solved = np.linalg.lstsq(scaled, 1 / points[near, 2], rcond=None)[0]
        length = float(np.linalg.norm(solved))
        if not length > 0:
            return None
        normal, height = -solved / length, 1 / length
        if not normal @ up > math.cos(math.radians(UP_MEASURED)):
            return None
    return Plane(normal, float(height))


def up_normals(
    vectors: NDArray[np.floating], gravity: tuple[float, float, float] | None = None
) -> tuple[NDArray[np.float64], BoolMap] | None:
    """The direction up, and the normals of level surfaces.

    Args:
        vectors: (N, 3), unit, NaN = unknown.
        gravity: its direction, any length. None: the camera is level to 45 degrees, and up is
            where the normals point that are within these: their median, so it is as good as they.

    Returns:
        (3,) float64, unit, and (N,) bool, the normals that may be those of level surfaces; None if
        they are fewer than `GROUND_SHARE` of all.
    """
    up = -np.array(gravity or _LEVEL, np.float64)
    up /= np.linalg.norm(up)
    angles = (UP_ROUGHLY,) if gravity else (UP_ROUGHLY, UP_MEASURED + 10, UP_MEASURED, UP_MEASURED)
    for step, angle in enumerate(angles):
        with np.errstate(invalid='ignore'):
            mask = vectors @ up > math.cos(math.radians(angle))
        if np.count_nonzero(mask) < GROUND_SHARE * len(vectors):
            return None
        if step < len(angles) - 1:
            # The median, as the top of a wall and the rim of a box are no level surfaces.
            up = np.median(vectors[mask].astype(np.float64), axis=0)
            up /= np.linalg.norm(up)
    return up, mask


def depth_normals(depth: NDArray[np.floating], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """Normals of a depth image of at least 2 x 2, from differences of the inverse depth.

    Returns:
        (H, W, 3) float64, unit, to the camera; NaN where a neighbour is unknown.
    """
    inverse = 1 / depth.astype(np.float64)
    if min(inverse.shape) < 2:
        return np.full((*inverse.shape, 3), np.nan)
    down, right = np.gradient(inverse)
    rays = _rays(inverse.shape, intrinsics)
    # On a plane the inverse depth is g . ray, with g along the normal.
    gx, gy = right * intrinsics.fx, down * intrinsics.fy
    g = np.stack([gx, gy, inverse - gx * rays[..., 0] - gy * rays[..., 1]], axis=-1)
    return np.asarray(-g / np.linalg.norm(g, axis=-1, keepdims=True))


def heights(
    depth: NDArray[np.float32], intrinsics: Intrinsics, plane: Plane
) -> NDArray[np.float32]:
    """(H, W) float32: height of each point above a plane, metres; NaN where unknown."""
    columns, rows = axes(depth.shape, intrinsics)
    x, y, z = plane.normal.astype(np.float32)
    along = (x * columns)[None] + (y * rows + z)[:, None]
    along *= depth
    along += np.float32(plane.height)
    return np.asarray(along)


class Scan(NamedTuple):
    """Ranges around the camera's y axis.

    Attributes:
        angle_min: of the first range, radians; 0 is ahead, left is positive.
        angle_increment: between ranges, radians.
        ranges: (N,) float32, metres; inf: nothing in range, -inf: too near, NaN: not known.
    """

    angle_min: float
    angle_increment: float
    ranges: NDArray[np.float32]


def scan(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    obstacle: BoolMap,
    range_min: float,
    range_max: float,
) -> Scan:
    """The nearest obstacle of each direction, in the plane of the optical x and z axes.

    Angles are those of the columns' rays; a range holds at least one column, near the borders
    of a wide image several. Of the `obstacle` pixels, (H, W) bool, those nearer than `range_min`
    are -inf and those farther than `range_max`, metres, are inf.

    Source: REP 117 for what is not a range.
    """
    width = depth.shape[1]
    columns, _ = axes(depth.shape, intrinsics)
    nearest = np.where(obstacle, depth, np.float32(np.inf)).min(axis=0)
    nearest[np.isnan(depth).all(axis=0)] = np.nan
    nearest *= np.hypot(columns, np.float32(1))
    angles = -np.arctan(columns.astype(np.float64))[::-1]
    increment = math.atan(1 / intrinsics.fx)
    place = np.rint((angles - angles[0]) / increment).astype(np.int64)
    ranges = np.full(int(place[-1]) + 1, np.nan, np.float32)
    # fmin ignores NaN: a column without a range does not hide its neighbour.
    np.fmin.at(ranges, place, nearest[::-1][:width])
    with np.errstate(invalid='ignore'):
        ranges[ranges > range_max] = np.inf
        ranges[ranges < range_min] = -np.inf
    return Scan(float(angles[0]), increment, ranges)


def lowest_level(below: NDArray[np.float64], least: int) -> float | None:
    """The median of the lowest level: the largest distance below the camera at which points are.

    Args:
        below: (N,) distances of points below the camera, > `MIN_HEIGHT`, any one unit of length.
        least: points that a level has; None is returned where there is no such level.
    """
    # Relative bins: an error of the depth moves a point in proportion.
    steps = np.floor(np.log(below / MIN_HEIGHT) / math.log(1.08)).astype(np.int64)
    counts = np.bincount(steps, minlength=1)
    wide = np.convolve(counts, [1, 1, 1], 'same')
    large = np.flatnonzero(wide >= max(least, LEVEL_SHARE * wide.max()))
    if not len(large):
        return None
    lowest = large[-1]
    # The top of the hill that this is the foot of.
    while lowest > 0 and wide[lowest - 1] > wide[lowest]:
        lowest -= 1
    return float(np.median(below[np.abs(steps - lowest) <= 1]))


def _one_of_each_voxel(
    depth: NDArray[np.float32], keep: BoolMap, intrinsics: Intrinsics, side: float
) -> BoolMap:
    """The last of the kept pixels of each voxel."""
    out = np.zeros(keep.size, bool)
    places = np.flatnonzero(keep)
    if not len(places):
        return out.reshape(keep.shape)
    rays = *axes(depth.shape, intrinsics), np.ones(1, np.float32)
    far = np.float32(np.nanmax(np.where(keep, depth, np.nan)))
    low = [int(np.floor(min(0, axis.min()) * far / side)) - 1 for axis in rays]
    high = [int(np.floor(max(0, axis.max()) * far / side)) + 1 for axis in rays]
    sides = [top - bottom + 1 for top, bottom in zip(high, low, strict=True)]
    cells = math.prod(sides)
    kind = np.int32 if cells < 2**31 else np.int64
    number = np.empty(len(places), kind)
    done = 0
    for part in stripes(depth.shape):
        z, chosen = depth[part], keep[part]
        whole = np.zeros((), kind)
        for axis, bottom, count in zip((rays[0], rays[1][part, None], rays[2]), low, sides,
                                       strict=True):  # fmt: skip
            cell = np.floor((z * axis)[chosen] / np.float32(side))
            whole = whole * kind(count) + (cell - np.float32(bottom)).astype(kind)
        number[done : done + len(whole)] = whole
        done += len(whole)
    if cells <= _CELLS:
        # The last write of a cell stays, so reading tells which point that was. Never cleared:
        # what was not written is not read.
        last = np.empty(cells, np.int32)
        order = np.arange(len(number), dtype=np.int32)
        last[number] = order
        winner = last[number] == order
    else:
        winner = np.zeros(len(number), bool)
        winner[len(number) - 1 - np.unique(number[::-1], return_index=True)[1]] = True
    out[places[winner]] = True
    return out.reshape(keep.shape)


def grid(stride: int) -> tuple[slice, slice]:
    """Every n-th pixel of every n-th row, from (n - 1) // 2."""
    first = (stride - 1) // 2
    return slice(first, None, stride), slice(first, None, stride)


@functools.lru_cache(maxsize=8)
def _ray_lengths(size: tuple[int, ...], intrinsics: Intrinsics) -> NDArray[np.float32]:
    """(H, W) float32: distance of a point of depth 1; read-only."""
    columns, rows = axes(size, intrinsics)
    out = np.sqrt(columns[None] ** 2 + rows[:, None] ** 2 + np.float32(1))
    out.flags.writeable = False
    return np.asarray(out)


def _rays(size: tuple[int, ...], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(H, W, 3) float64: the points of depth 1."""
    columns, rows = axes(size, intrinsics)
    rays = np.ones((*size, 3))
    rays[..., 0], rays[..., 1] = columns, rows[:, None]
    return rays
