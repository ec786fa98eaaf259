# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Point cloud and laser scan of a frame, made of its metric depth and its other labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import cloud
from diception_ros.core.labels import Instances, Label, MetricDepth, Normals
from diception_ros.messages import camera_info, make_header, outputs, point_clouds
from diception_ros.perception.query import FrameResult, Note, Query, cause

if TYPE_CHECKING:
    from diception_ros.core.frame import Intrinsics
    from diception_ros.messages import Types
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.tasks import Task

OUTPUTS = (outputs.POINTS, outputs.SCAN)
TOPICS = frozenset(output.topic for output in OUTPUTS)
# What REP 103 appends to the name of a frame with the axes of an image.
_OPTICAL = '_optical'


def task_names(active: tuple[Task[Any], ...]) -> set[str]:
    """The tasks beside depth whose labels go into the cloud, or decide on its points.

    These are the first with normals, with instances, and with categories.
    """
    normals = [task.name for task in active if issubclass(task.label, Normals)]
    instances = [task for task in active if issubclass(task.label, Instances)]
    classes = [task.name for task in instances if task.takes_category]
    return {*normals[:1], *[task.name for task in instances[:1]], *classes[:1]}


def needs_gravity(settings: PerceptionSettings, topics: frozenset[str]) -> bool:
    """Whether results depend on the direction of gravity, and the settings do not tell it.

    Args:
        settings: in effect.
        topics: relative names of topics with subscribers.
    """
    if settings.points.direction is not None or settings.depth.metric == 'off':
        return False
    return outputs.SCAN.topic in topics or needs_floor(settings)


def needs_floor(settings: PerceptionSettings) -> bool:
    """Whether the settings ask for the floor; a scan needs it whatever they are."""
    return settings.depth.metric == 'height' or settings.points.ground != 'keep'


def gravity_of(query: Query, settings: PerceptionSettings) -> tuple[float, float, float] | None:
    """The direction of gravity in the optical frame, as it is set, or by /tf; None: not known."""
    return settings.points.direction or query.gravity


def normals_of(labels: Mapping[str, Label]) -> Normals | None:
    """The first label with normals."""
    return next((label for label in labels.values() if isinstance(label, Normals)), None)


def add_messages(
    types: Types,
    result: FrameResult,
    depth: MetricDepth,
    intrinsics: Intrinsics | None,
    labels: Mapping[str, Label],
) -> None:
    """Add the cloud and the scan to a result, where they are wanted, and notes and counts.

    Args:
        types: makes messages.
        result: of the frame.
        depth: metres.
        intrinsics: pinhole of the image that the depth is of, None where there is none.
        labels: of the frame, by task, all of the size of the depth.
    """
    query, settings = result.query, result.settings
    topics = TOPICS & query.topics
    if not topics:
        return
    if intrinsics is None:
        problem = query.frame.no_intrinsics or camera_info.pinhole(None, (0, 0))[1]
        text = f'no {" and no ".join(_WORDS[topic] for topic in sorted(topics))}'
        text += f', which needs a CameraInfo: {problem}'
        result.notes.append(Note(f'no camera_info {cause(problem)}', text))
        return
    categorized = _categorized(result, labels)
    classes = None
    if categorized is not None:
        classes = outputs.class_map(categorized, settings.categories)
    try:
        allowed = _allowed(settings, classes)
    except ValueError as error:
        result.notes.append(Note('no classes', str(error)))
        return
    gravity = gravity_of(query, settings)
    chosen = settings.points.filter(settings.depth.camera_height, gravity)
    normals = normals_of(labels)
    vectors = None if normals is None else normals.vectors
    if outputs.POINTS.topic in topics:
        instances = categorized
        if instances is None:
            every = (label for label in labels.values() if isinstance(label, Instances))
            instances = next(every, None)
        selection = cloud.select(depth.values, intrinsics, chosen, vectors, allowed)
        message = point_clouds.cloud(
            types, query.header, depth, intrinsics, outputs.image_at(query.frame, depth.size),
            normals, classes, None if instances is None else instances.ids, selection,
        )  # fmt: skip
        result.messages.append((outputs.POINTS.topic, message))
        _report(result, selection, chosen.ground)
    if outputs.SCAN.topic in topics:
        _add_scan(types, result, depth, intrinsics, vectors, allowed, chosen)


def _add_scan(
    types: Types,
    result: FrameResult,
    depth: MetricDepth,
    intrinsics: Intrinsics,
    normals: NDArray[np.float32] | None,
    allowed: NDArray[np.bool_] | None,
    filters: cloud.CloudFilter,
) -> None:
    query, chosen = result.query, result.settings.scan
    frame_id = scan_frame(query.frame.frame_id, chosen.frame)
    if not frame_id:
        text = (
            f'no scan: the frame of the image, {query.frame.frame_id!r}, has no {_OPTICAL} in its '
            'name; set scan.frame to a frame with x ahead, y left and z up'
        )
        result.notes.append(Note('scan frame', text))
        return
    filters = replace(filters, range_min=0.0, range_max=0.0, stride=1, voxel=0.0, ground='drop')
    selection = cloud.select(depth.values, intrinsics, filters, normals, allowed)
    obstacle = selection.keep
    if selection.plane is not None:
        height = cloud.heights(depth.values, intrinsics, selection.plane)
        obstacle = obstacle & (height <= chosen.height_max)
    ranges = cloud.scan(depth.values, intrinsics, obstacle, chosen.range_min, chosen.range_max)
    header = make_header(types, query.frame.stamp_ns, frame_id)
    message = point_clouds.laser_scan(types, header, ranges, chosen.range_min, chosen.range_max)
    result.messages.append((outputs.SCAN.topic, message))
    _report(result, selection, filters.ground)


def scan_frame(frame_id: str, chosen: str = '') -> str:
    """The frame of a scan: the chosen one, or the camera's beside its optical frame.

    Returns:
        The name, '' where none is chosen and the name of the image's frame does not tell.
    """
    return chosen or (frame_id.replace(_OPTICAL, '', 1) if _OPTICAL in frame_id else '')


def _report(result: FrameResult, selection: cloud.Selection, ground: str) -> None:
    """Counts of the cloud, or of the scan where it is alone; and whether the floor was found."""
    if not result.cloud:
        result.cloud = dict(selection.counts)
    if selection.plane is not None:
        result.cloud['ground_height'] = selection.plane.height
    elif ground != 'keep':
        text = (
            'no floor is seen, so no point counts as floor; check points.gravity, /tf and '
            'depth.camera_height if there is one in view'
        )
        result.notes.append(Note('no ground', text))


def _categorized(result: FrameResult, labels: Mapping[str, Label]) -> Instances | None:
    """Instances of the task that takes categories; None if this frame has no label of it."""
    for task in result.query.tasks:
        label = labels.get(task.name)
        if task.takes_category and isinstance(label, Instances):
            return label
    return None


def _allowed(
    settings: PerceptionSettings, classes: NDArray[np.uint8] | None
) -> NDArray[np.bool_] | None:
    """Pixels that `points.keep_classes` and `points.drop_classes` leave; None: all.

    Raises:
        ValueError: there are no categories in this frame.
    """
    words = settings.points.keep_classes or settings.points.drop_classes
    if not words:
        return None
    if classes is None:
        raise ValueError(
            'no cloud and no scan: points.keep_classes and points.drop_classes need the '
            'categories of each frame; let every_n of that task be 1'
        )
    table = np.zeros(256, bool)
    table[[settings.categories.index(word) for word in words]] = True
    if settings.points.drop_classes:
        table = ~table
    return np.asarray(table[classes])


_WORDS = {outputs.POINTS.topic: 'cloud', outputs.SCAN.topic: 'scan'}
