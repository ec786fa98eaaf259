# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the Perceiver is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from diception_ros.alignment import FitReport
    from diception_ros.frame import Frame
    from diception_ros.predict import Prediction
    from diception_ros.prompt import Point


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
