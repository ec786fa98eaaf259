# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The messages that go out about one frame: of each answer, of the metres, and the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.labels import Disparity, Instances, Label, MetricDepth, Normals
from diception_ros.messages import camera_info, outputs, point_clouds
from diception_ros.perception.metric_depth import Metres, to_metres
from diception_ros.perception.query import Note, Request
from diception_ros.perception.settings import DEPTH, PerceptionSettings

if TYPE_CHECKING:
    from diception_ros.core.alignment import FitReport
    from diception_ros.core.frame import Frame, Intrinsics
    from diception_ros.messages.base import Types
    from diception_ros.perception.tracking import Memory
    from diception_ros.tasks import Task


# What to do where no CameraInfo was received.
_NO_INFO = camera_info.pinhole(None, (0, 0))[1]


class Published(NamedTuple):
    """What goes out about a frame; see `request.Answer`."""

    messages: list[tuple[str, Any]]
    fit: FitReport | None
    notes: list[Note]


def publish(
    types: Types,
    request: Request,
    labels: Mapping[str, Label],
    categories: tuple[str, ...],
    settings: PerceptionSettings,
    memory: Memory,
) -> Published:
    """Make the messages that are wanted, and metres where they are set and wanted.

    Args:
        types: makes messages.
        request: says what is wanted, and has the header.
        labels: the answers, by task.
        categories: that were looked for.
        settings: say where metres come from.
        memory: of the camera.
    """
    messages: list[tuple[str, Any]] = []
    metres: Metres | None = None
    problem = request.frame.no_intrinsics
    notes: list[Note] = []
    if problem:
        text = f'CameraInfo is not used: {problem}. Only results that need it are left out'
        notes.append(Note('camera_info', text))
    for name, label in labels.items():
        messages += _of(types, settings.registry.get(name), label, request, categories)
        if name == DEPTH and isinstance(label, Disparity) and _wants_metres(types, request):
            metres = _metres(request, label, settings, memory)
            if metres is not None and metres.depth is not None:
                messages += _of(types, tasks.get(DEPTH), metres.depth, request, categories)
    if metres is None:
        return Published(messages, None, notes)
    notes += metres.notes
    if metres.depth is not None and outputs.POINTS.topic in request.wanted:
        intrinsics = _intrinsics(request.frame, metres.depth.size)
        if intrinsics is None:
            text = f'no cloud, which needs a CameraInfo: {problem or _NO_INFO}'
            notes.append(Note('no camera_info', text))
        else:
            cloud = _cloud(types, request, metres.depth, intrinsics, labels)
            messages.append((outputs.POINTS.topic, cloud))
    return Published(messages, metres.fit, notes)


def _of(
    types: Types, task: Task[Any], label: Label, request: Request, categories: tuple[str, ...]
) -> list[tuple[str, Any]]:
    info = request.info
    if info is not None and not camera_info.describes(info, request.frame.size):
        info = None
    return outputs.from_label(
        types, task, label, None, request.header, request.frame, request.wanted, info,
        categories if task.takes_category else (),
    )  # fmt: skip


def _wants_metres(types: Types, request: Request) -> bool:
    declared = outputs.declared(tasks.get(DEPTH), types, MetricDepth)
    return not request.wanted.isdisjoint([outputs.POINTS.topic, *(one.topic for one in declared)])


def _metres(
    request: Request, label: Disparity, settings: PerceptionSettings, memory: Memory
) -> Metres | None:
    if settings.depth.metric == 'off':
        return None
    frame = request.frame
    intrinsics = _intrinsics(frame, label.size)
    return to_metres(label, intrinsics, frame.frame_id, request.reference, settings, memory)


def _cloud(
    types: Types,
    request: Request,
    depth: MetricDepth,
    intrinsics: Intrinsics,
    labels: Mapping[str, Label],
) -> Any:
    picture = outputs.picture_at(request.frame, depth.size)
    normals = next((one for one in labels.values() if isinstance(one, Normals)), None)
    things = next((one for one in labels.values() if isinstance(one, Instances)), None)
    return point_clouds.cloud(types, request.header, depth, intrinsics, picture, normals, things)


def _intrinsics(frame: Frame, size: tuple[int, int]) -> Intrinsics | None:
    """The pinhole of the frame's picture at the size of an answer: the camera's or the model's."""
    if frame.intrinsics is None or size == frame.size:
        return frame.intrinsics
    return frame.intrinsics.to_model(images.Fit(frame.size, size[0]))
