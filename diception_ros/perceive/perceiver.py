# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One camera frame in, messages out: what a running node and a replay of a bag have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from diception_ros.perceive.settings import PerceptionSettings

if TYPE_CHECKING:
    from diception_ros.alignment import FitReport
    from diception_ros.frame import Frame
    from diception_ros.messages.outputs import Output
    from diception_ros.messages.types import Types
    from diception_ros.perceive.references import Reference
    from diception_ros.predict import Prediction, Predictor
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
        reference: depths for `depth.metric: aligned`, None where there are none for this frame.
    """

    camera: str
    frame: Frame
    header: Any
    info: Any | None
    tasks: tuple[str, ...]
    points: tuple[Point, ...] = ()
    categories: tuple[str, ...] = ()
    wanted: frozenset[str] = frozenset()
    reference: Reference | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of one request.

    Attributes:
        messages: relative topic and message, in the order of the tasks; all with the request's
            header.
        predictions: of the model, one for each task and category that was asked.
        seconds: by task (the model's share and reading its picture), 'model' (encoding, denoising
            and decoding, all tasks together) and 'messages' (all that comes after the model).
        fit: of the depth to the reference, good or not; None where none was tried.
        notes: warnings.
    """

    messages: list[tuple[str, Any]]
    predictions: list[Prediction]
    seconds: Mapping[str, float]
    fit: FitReport | None = None
    notes: list[Note] = field(default_factory=list)


class Perceiver:
    """Answers requests with one model; `perceive` from one thread, the rest from any.

    Args:
        predictor: the model.
        types: makes messages.
        settings: what is asked, and how.

    Raises:
        ValueError: the settings do not suit the model.
    """

    def __init__(self, predictor: Predictor, types: Types, settings: PerceptionSettings) -> None:
        raise NotImplementedError

    @property
    def settings(self) -> PerceptionSettings:
        """What holds for the next request."""
        raise NotImplementedError

    def outputs(self, settings: PerceptionSettings | None = None) -> list[Output]:
        """Every topic that may come out under these settings, by default the present ones."""
        raise NotImplementedError

    def needed(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """The tasks that topics need, in the order of the settings.

        The cloud needs the depth, and of the tasks that are set the first with normals and the
        first with instances. With `lazy: false` all tasks are needed.

        Args:
            wanted: relative names of the topics that somebody listens to.
        """
        raise NotImplementedError

    def check(self, settings: PerceptionSettings, categories: Sequence[str] = ()) -> None:
        """Make sure that the model can do what is asked; runs nothing, changes nothing.

        Args:
            settings: what is to hold.
            categories: that are to be looked for beside those of the settings.

        Raises:
            ValueError: the resolution does not suit the model, or it knows no embedding for a
                category; the message names what does and which is near.
        """
        raise NotImplementedError

    def change(self, settings: PerceptionSettings) -> None:
        """Let other settings hold from the next request on.

        Raises:
            ValueError: they do not suit the model; nothing is changed then.
        """
        raise NotImplementedError

    def perceive(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            ValueError: a task that does not exist or a category without embedding.
            RuntimeError: out of memory on a GPU even for one answer at a time.
        """
        raise NotImplementedError

    def perceive_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer several requests in one go; the answers are those of `perceive`, in turn.

        Raises: as `perceive`.
        """
        raise NotImplementedError

    def forget(self, camera: str | None = None) -> None:
        """Drop what is kept from frame to frame of a camera, or of all."""
        raise NotImplementedError
