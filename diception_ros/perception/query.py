# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Containers of a frame: the Query, the network's Predictions, and the FrameResult."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label, MetricDepth
from diception_ros.core.prompt import Point, Prompt

if TYPE_CHECKING:
    from diception_ros.core.geometry import FitReport
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.tasks import Task


class Note(NamedTuple):
    """A warning for the user.

    Attributes:
        kind: the same for notes of the same cause, whatever their numbers: log one of each.
        text: a sentence.
    """

    kind: str
    text: str


# Lists, numbers and names in quotation marks.
_VALUES = re.compile(r"\[.*?\]|'.*?'|[-+]?\d[-+.\de]*|\b(?:nan|inf)\b")


def cause(text: str) -> str:
    """A reason without values and advice: the same for every reason of one cause."""
    return _VALUES.sub('...', text.partition(';')[0])


@dataclass(frozen=True, eq=False)
class Query:
    """One frame and what is wanted of it.

    Attributes:
        camera: its name; state from frame to frame is kept per camera.
        frame: the image, as `messages.images.frame_from` decodes its message.
        header: std_msgs/Header of the image message; all messages of the result have it.
        info: sensor_msgs/CameraInfo of the image, None if there is none.
        tasks: to predict, such as `Perceiver.tasks_for_topics`; `every_n` leaves some out.
        points: on the object for tasks that take points, pixels of the frame; without any, these
            tasks are left out.
        topics: relative names of topics with subscribers; no other message is made.
        reference: depths for `depth.metric: aligned`: the Image or PointCloud2 that matches the
            frame, or a Reference read from it; None if there is none. One that cannot be used
            becomes a note.
        gravity: its direction in the optical frame by /tf, see `Perceiver.needs_gravity`; None
            where it is not known. `points.gravity` goes before it.
    """

    camera: str
    frame: Frame
    header: Any
    info: Any | None
    tasks: tuple[Task[Any], ...]
    points: tuple[Point, ...] = ()
    topics: frozenset[str] = frozenset()
    reference: Any | None = None
    gravity: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The label of one prompt.

    Attributes:
        label: of the frame's size, or of the network's output size if that was asked for.
        prompt: the prompt.
        stamp_ns: of the frame, nanoseconds.
        frame_id: of the frame.
        seconds: by stage, see `model.sampler.STAGES`. The seconds of a batch are shared equally
            among its predictions, so those of all predictions of a call add up to the call's.
        uncertainty: (H, W) float32, the spread of an ensemble in the unit that
            `ensembling.merge` documents; None without an ensemble.
    """

    label: Label
    prompt: Prompt
    stamp_ns: int
    frame_id: str
    seconds: Mapping[str, float]
    uncertainty: NDArray[np.float32] | None


@dataclass(eq=False)
class FrameResult:
    """What `Perceiver.infer` begins and `Perceiver.postprocess` completes for one query.

    Attributes:
        query: the query.
        settings: in effect when the query was inferred.
        prompts: of the tasks whose turn it was, those of a task side by side.
        predictions: of the network, one for each prompt.
        labels: by task, as they are published: categories combined, ids tracked.
        metric_depth: metres of the depth, None where no topic needs them or a fit failed.
        messages: relative topic and message, in the order of the tasks.
        seconds: by task (its share of the model and decoding), 'model' (encoding, denoising and
            decoding of all tasks) and 'messages' (postprocessing).
        fit: of the depth to the reference, good or not; None if none was tried.
        depth_problem: why there is no metric depth, '' if there is; None where none was estimated:
            no topic needs it, or it was not the turn of the depth.
        cloud: points of the cloud and how many each filter dropped, see `core.cloud.Selection`;
            and the camera's 'ground_height' above the floor, metres. Empty without a cloud.
        notes: warnings.
    """

    query: Query
    settings: PerceptionSettings
    prompts: list[Prompt] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    metric_depth: MetricDepth | None = None
    messages: list[tuple[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    fit: FitReport | None = None
    depth_problem: str | None = None
    cloud: dict[str, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
