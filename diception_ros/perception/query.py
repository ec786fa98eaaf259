# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the Perceiver is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import PredictSettings

if TYPE_CHECKING:
    from diception_ros.core.alignment import FitReport
    from diception_ros.core.frame import Frame
    from diception_ros.core.prompt import Point


class Note(NamedTuple):
    """Something that people should read once.

    Attributes:
        kind: the same for notes of the same cause, whatever their numbers: log one of each.
        text: a sentence.
    """

    kind: str
    text: str


@dataclass(frozen=True, eq=False)
class Request:
    """One frame, and what is asked about it.

    Attributes:
        camera: its name; what is kept from frame to frame is kept by it.
        frame: the picture, `messages.pictures.frame_from` its message.
        header: std_msgs/Header of the image message; every message that comes out bears it.
        info: sensor_msgs/CameraInfo of the picture, None where there is none.
        tasks: to be asked, such as what `Perceiver.needed` says; those whose turn it is not
            (`every_n`) are left out.
        points: on the thing that is meant, pixels of the frame; without any, tasks that take
            points are left out.
        categories: to be looked for; empty: those of the settings.
        wanted: relative names of the topics that somebody listens to; no other message is made.
        reference: depths for `depth.metric: aligned`: the Image or PointCloud2 that matches the
            frame, or a Reference read from it; None where there are none. One that cannot be used
            becomes a note.
    """

    camera: str
    frame: Frame
    header: Any
    info: Any | None
    tasks: tuple[str, ...]
    points: tuple[Point, ...] = ()
    categories: tuple[str, ...] = ()
    wanted: frozenset[str] = frozenset()
    reference: Any | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of one request.

    Attributes:
        messages: relative topic and message, in the order of the tasks; all with the request's
            header.
        predictions: of the model, one for each task and category that was asked.
        seconds: by task (the model's share and reading its picture), 'model' (encoding, denoising
            and decoding, all tasks together) and 'messages' (all that comes after the answers).
        fit: of the depth to the reference, good or not; None where none was tried.
        notes: warnings.
    """

    messages: list[tuple[str, Any]]
    predictions: list[Prediction]
    seconds: Mapping[str, float]
    fit: FitReport | None = None
    notes: list[Note] = field(default_factory=list)


# One prompt about one frame, and how it is to be answered.


@dataclass(frozen=True, eq=False)
class Question:
    """What `Predictor.ask` is given.

    Attributes:
        frame: what it is about; the frame of several questions is encoded once if they hold the
            same object.
        prompt: what is asked; points in pixels of the frame.
        settings: how the model answers.
        at_model_size: leave the answer at the size of the model's square, (S, S).
    """

    frame: Frame
    prompt: Prompt
    settings: PredictSettings
    at_model_size: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer, at the size of the frame that was asked about.

    Attributes:
        label: the answer.
        prompt: the question.
        stamp_ns: of the frame, nanoseconds.
        frame_id: of the frame.
        seconds: by stage, see `stages.STAGES`. What a batch took is shared equally among its
            answers, so the seconds of all predictions of a call add up to the call's.
        uncertainty: (H, W) float32, where the answers of an ensemble differ, in the unit that
            `ensemble.merge` names; None without an ensemble.
    """

    label: Label
    prompt: Prompt
    stamp_ns: int
    frame_id: str
    seconds: Mapping[str, float]
    uncertainty: NDArray[np.float32] | None
