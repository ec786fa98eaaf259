# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metric depth from a disparity: fixed, fitted to references, or by the camera's height."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import cloud, geometry
from diception_ros.core.frame import Transform, transform_from
from diception_ros.core.geometry import FitReport, ScaleShift, align, evaluate_fit, smooth
from diception_ros.core.labels import Disparity, MetricDepth, Normals
from diception_ros.messages import frame_name
from diception_ros.perception.query import Note
from diception_ros.perception.settings import IDENTITY

if TYPE_CHECKING:
    from diception_ros.core.frame import Intrinsics
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.perception.tracking import Memory

# Larger reference images are subsampled to about this number of pixels.
_MAX_REFERENCE_PIXELS = 2**17
# Rays closer to the horizon than this (8 degrees) are left out: an error of one degree in the
# direction of gravity changes their depth by an eighth.
_MIN_SLOPE = 0.14
# Relative difference of heights up to which two level surfaces count as one.
_SAME_LEVEL = 0.15


class DepthReferences(NamedTuple):
    """Reference depths at pixels of a frame.

    Attributes:
        rows: (N,) int64, pixels.
        columns: (N,) int64, pixels.
        depth: (N,) float64, metres along the optical axis.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    depth: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reference:
    """Depth references of one stamp: an image or points, not both.

    Attributes:
        stamp_ns: of the measurement, nanoseconds.
        frame_id: of the message.
        image: (h, w) float32, metres along the optical axis of the camera, NaN = unknown; of
            the same view as the frame, at any resolution. None where there are points.
        points: (N, 3) float32, metres, camera optical frame. None where there is an image.

    Raises:
        ValueError: both or neither, or of another shape.
    """

    stamp_ns: int
    frame_id: str
    image: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.points is None):
            raise ValueError('Reference: expected an image or points, got both or neither')
        shape = self.image.shape if self.image is not None else ()
        if self.image is not None and (len(shape) != 2 or not self.image.size):
            raise ValueError(f'Reference.image: expected (H, W), got {shape}')
        if self.points is not None and (self.points.ndim != 2 or self.points.shape[1] != 3):
            raise ValueError(f'Reference.points: expected (N, 3), got {self.points.shape}')

    def at_pixels(self, size: tuple[int, int], intrinsics: Intrinsics | None) -> DepthReferences:
        """The references in an image of the frame of `size` (H, W); of a large image a subset.

        Raises:
            ValueError: points without the pinhole of that image.
        """
        if self.points is not None:
            return _projected(self.points, size, intrinsics)
        assert self.image is not None
        (high, wide), (height, width) = self.image.shape, size
        step = max(1, math.isqrt(self.image.size // _MAX_REFERENCE_PIXELS))
        some = self.image[step // 2 :: step, step // 2 :: step]
        rows, columns = np.nonzero(np.isfinite(some) & (some > 0))
        depth = some[rows, columns].astype(np.float64)
        rows, columns = rows * step + step // 2, columns * step + step // 2
        # The pixel of the frame that contains the centre of the reference's pixel.
        return DepthReferences(
            (2 * rows + 1) * height // (2 * high), (2 * columns + 1) * width // (2 * wide), depth
        )


def reference_from(message: Any, transform: Transform) -> Reference:
    """Read a sensor_msgs/Image (16UC1 mm, 32FC1 m), its compressedDepth, or a PointCloud2.

    An image is of the camera optical frame, in which `transform` gives the pose of a cloud's.

    Raises:
        ValueError: the message cannot be read, or its encoding is none of a depth.
    """
    # Imported here, since the command line's help reads the settings without loading OpenCV.
    from diception_ros.messages import images as image_messages
    from diception_ros.messages import point_clouds, stamp_of

    stamp_ns, frame_id = stamp_of(message.header), message.header.frame_id
    if hasattr(message, 'point_step'):
        points = point_clouds.points_from(message).astype(np.float64)
        moved = points @ transform.rotation.T + transform.translation
        return Reference(stamp_ns, frame_id, points=moved.astype(np.float32))
    try:
        metres = image_messages.depth_from(message)
    except ValueError as error:
        raise ValueError(f'depth reference: {error}') from error
    return Reference(stamp_ns, frame_id, image=metres)


def _projected(
    points: NDArray[np.float32], size: tuple[int, int], intrinsics: Intrinsics | None
) -> DepthReferences:
    if intrinsics is None:
        raise ValueError(
            'depth reference: points need a calibrated CameraInfo beside the image, got none'
        )
    ahead = points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0)].astype(np.float64)
    column = ahead[:, 0] / ahead[:, 2] * intrinsics.fx + intrinsics.cx
    row = ahead[:, 1] / ahead[:, 2] * intrinsics.fy + intrinsics.cy
    inside = (column >= -0.5) & (column < size[1] - 0.5) & (row >= -0.5) & (row < size[0] - 0.5)
    return DepthReferences(
        np.floor(row[inside] + 0.5).astype(np.int64),
        np.floor(column[inside] + 0.5).astype(np.int64),
        ahead[inside, 2],
    )


class MetricDepthResult(NamedTuple):
    """Metric depth of a disparity.

    Attributes:
        depth: metres; None if none may be published.
        fit: to the reference; None if none was tried.
        problem: why there is no depth; '' where there is one.
        notes: the same as a warning, and why a depth may be wrong.
    """

    depth: MetricDepth | None
    fit: FitReport | None
    problem: str
    notes: list[Note]


class _NoReferencesError(Exception):
    """No depth references for a frame.

    Args:
        kind: of the note.
        problem: why.
    """

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


def estimate_metric_depth(
    disparity: Disparity,
    intrinsics: Intrinsics | None,
    frame_id: str,
    reference: Any | None,
    settings: PerceptionSettings,
    memory: Memory,
    normals: Normals | None = None,
    gravity: tuple[float, float, float] | None = None,
) -> MetricDepthResult:
    """Metres of a disparity.

    Args:
        disparity: of the frame.
        intrinsics: pinhole of the image that the disparity is of, where there is one.
        frame_id: of the frame.
        reference: for aligned: depths of the frame's stamp, a Reference or its message; None if
            there are none.
        settings: `depth.metric` must not be 'off'.
        memory: state of the camera; the scale and shift are stored in it.
        normals: for height: of the frame, of the size of the disparity.
        gravity: for height: its direction in the optical frame; None: not known.
    """
    if settings.depth.metric == 'fixed':
        scale_shift = ScaleShift(settings.depth.scale, settings.depth.shift)
        return MetricDepthResult(geometry.to_metric(disparity, scale_shift), None, '', [])
    notes: list[Note] = []
    try:
        if settings.depth.metric == 'height':
            source = 'the height of the camera'
            references = floor_references(disparity, intrinsics, normals, settings, gravity)
        else:
            source = 'the depth reference'
            reference = _read(reference, settings)
            references = _at_pixels(reference, disparity.size, intrinsics)
            notes = _frame_notes(reference, frame_id, settings)
    except _NoReferencesError as error:
        text = f'no depth in metres: {error}'
        return MetricDepthResult(None, None, str(error), [Note(error.kind, text)])
    known = disparity.values[references.rows, references.columns]
    criteria = settings.depth.criteria
    fit = align(known, references.depth, criteria)
    if not fit.ok:
        problem = f'bad fit to {source}: {fit.problem}'
        notes.append(Note('bad fit', f'no depth in metres: {problem}'))
        return MetricDepthResult(None, fit, problem, notes)
    if memory.scale_shift is not None and settings.temporal.smooth:
        blended = smooth(memory.scale_shift, fit.scale_shift, settings.temporal.smooth)
        smoothed = evaluate_fit(blended, known, references.depth, criteria)
        # If the scene changed so much that the last scale does not fit, smoothing starts again.
        fit = smoothed if smoothed.ok else fit
    memory.scale_shift = fit.scale_shift
    return MetricDepthResult(geometry.to_metric(disparity, fit.scale_shift), fit, '', notes)


def _read(reference: Any | None, settings: PerceptionSettings) -> Reference:
    if reference is None:
        raise _NoReferencesError('no reference', (
            f'no depth reference within {settings.depth.tolerance_s} s of the frame; check that '
            'it comes, that its stamps are those of the images, and depth.tolerance_s'
        ))  # fmt: skip
    if isinstance(reference, Reference):
        return reference
    try:
        return reference_from(reference, transform_from(settings.depth.reference_transform))
    except ValueError as error:
        raise _NoReferencesError('reference', str(error)) from error


def _at_pixels(
    reference: Reference, size: tuple[int, int], intrinsics: Intrinsics | None
) -> DepthReferences:
    try:
        return reference.at_pixels(size, intrinsics)
    except ValueError as error:
        raise _NoReferencesError('reference', str(error)) from error


class _LevelPixels(NamedTuple):
    """Pixels of a frame that show level surfaces, seen from above.

    Attributes:
        rows: (N,) int64, pixels.
        columns: (N,) int64, pixels.
        disparity: (N,) float32.
        down: (N,) float64, how far a ray of depth 1 goes down.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    disparity: NDArray[np.float32]
    down: NDArray[np.float64]


def floor_references(
    disparity: Disparity,
    intrinsics: Intrinsics | None,
    normals: Normals | None,
    settings: PerceptionSettings,
    gravity: tuple[float, float, float] | None = None,
) -> DepthReferences:
    """Depths of the floor's pixels, which follow from the height of the camera above it.

    A ray r of depth 1 meets the floor at the depth z = height / -(up . r), where up is the mean
    normal of level surfaces. Of several levels (floor, table) the lowest is the floor: a fit to
    all of them gives depths, and therefore heights, up to one common factor.

    Args:
        disparity: of the frame.
        intrinsics: pinhole of the image that the disparity is of.
        normals: of the frame.
        settings: `depth.camera_height`, and the criteria of the fit.
        gravity: its direction in the optical frame; None: not known.

    Raises:
        _NoReferencesError: no floor is seen, or what is needed to find it is missing.
    """
    level = _level_pixels(disparity, intrinsics, normals, gravity)
    height, criteria = settings.depth.camera_height, settings.depth.criteria
    references = DepthReferences(level.rows, level.columns, height / level.down)
    scale_shift = align(level.disparity, references.depth, criteria).scale_shift
    if not scale_shift.scale > 0:
        return references
    inverse = level.disparity * scale_shift.scale + scale_shift.shift
    with np.errstate(divide='ignore'):
        below = np.where(inverse > 0, level.down / inverse, 0)
    lowest = cloud.lowest_level(below[below > cloud.MIN_HEIGHT], criteria.min_points)
    if lowest is None or lowest < (1 + _SAME_LEVEL) * height:
        return references
    # A second level separates scale from shift, so the one that was taken for the floor stays.
    floor, other = (np.abs(below / level_of - 1) < _SAME_LEVEL for level_of in (lowest, height))
    depth = np.where(floor, references.depth, references.depth * (height / lowest))
    some = floor | other
    return DepthReferences(level.rows[some], level.columns[some], depth[some])


def _level_pixels(
    disparity: Disparity,
    intrinsics: Intrinsics | None,
    normals: Normals | None,
    gravity: tuple[float, float, float] | None,
) -> _LevelPixels:
    """The pixels of level surfaces; arguments and error as of `floor_references`."""
    if intrinsics is None:
        raise _NoReferencesError(
            'no camera_info', "the camera's height needs a calibrated CameraInfo"
        )
    if normals is None:
        raise _NoReferencesError(
            'no normals', 'the frame has no normals, which the height needs; set every_n.normal 1'
        )
    step = max(1, math.isqrt(disparity.values.size // cloud.GROUND_SAMPLES))
    pixels = cloud.grid(step)
    normals_and_mask = cloud.up_normals(normals.vectors[pixels].reshape(-1, 3), gravity)
    if normals_and_mask is None:
        raise _NoReferencesError(
            'no floor', 'no floor is seen: too few normals point up (points.gravity, /tf)'
        )
    up, level = normals_and_mask
    values = disparity.values[pixels]
    x, y = geometry.axes(values.shape, cloud.strided(intrinsics, step))
    down = -(x * up[0] + (y * up[1] + up[2])[:, None]).reshape(-1)
    # The depth of rays near the horizon is undetermined.
    level &= (down > _MIN_SLOPE) & np.isfinite(values.reshape(-1))
    rows, columns = np.divmod(np.flatnonzero(level), values.shape[1])
    first = pixels[0].start
    return _LevelPixels(
        rows * step + first, columns * step + first, values.reshape(-1)[level],
        down[level].astype(np.float64),
    )  # fmt: skip


def _frame_notes(reference: Reference, frame_id: str, settings: PerceptionSettings) -> list[Note]:
    if frame_name(reference.frame_id) == frame_name(frame_id):
        return []
    if reference.image is not None:
        text = (
            f'the depth reference is of frame {reference.frame_id!r}, the image of {frame_id!r}; '
            'it is taken to be of the same view, so use one that is registered to the image'
        )
    elif settings.depth.reference_transform == IDENTITY:
        text = (
            f'the reference cloud is of frame {reference.frame_id!r}, the image of {frame_id!r}; '
            'give the pose of one in the other as depth.reference_transform'
        )
    else:
        return []
    return [Note('reference frame', text)]
