# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions behind the page of `view`: the interface `Viewer`, and the one that runs the model.

`Session` predicts in a thread of its own. The page only changes what is wanted and looks at the
newest `Snapshot`, so it never waits for the model; of requests that were made meanwhile only the
newest is answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.bags.typestore import BagTypes
from diception_ros.core import settings as declarations
from diception_ros.core.frame import Intrinsics
from diception_ros.core.labels import Label, MetricDepth
from diception_ros.core.prompt import MAX_POINTS, Point, check_points
from diception_ros.core.settings import Declared
from diception_ros.messages import make_header
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import Query
from diception_ros.perception.settings import DEPTH, LIVE, MESSAGES, PerceptionSettings
from diception_ros.system.files import error_text
from diception_ros.viewer.sources import Source, SourceFrame

# Parameters that the page has controls of their own for, or that are read when it starts.
APART = ('tasks', 'adapters', 'semantic.categories', 'points.gravity_frame')
# Seconds that a prediction in work may take when the session is closed.
CLOSE_S = 3.0
# Images of a bag that are skipped at most to catch up with its time; then time is set anew.
MAX_SKIPPED = 100


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One image with predictions.

    Attributes:
        version: grows with every snapshot.
        image: (H, W, 3) uint8 RGB; None before the first.
        caption: what the image is.
        position: of the image on the source's scale.
        labels: by task.
        metric_depth: metres; None where they are unknown.
        intrinsics: pinhole of the image, None where it is unknown.
        points: that the prediction used.
        model_ms: time of the model, milliseconds.
        latency_ms: from the request, or the arrival of a live image, to the snapshot,
            milliseconds; NaN where it is unknown.
        dropped: images that arrived and were not predicted.
        notes: warnings.
        error: why there is no prediction, '' otherwise.
        drawn: cache of `drawing.jpeg`.
    """

    version: int = 0
    image: NDArray[np.uint8] | None = None
    caption: str = ''
    position: float = 0.0
    labels: Mapping[str, Label] = field(default_factory=dict)
    metric_depth: MetricDepth | None = None
    intrinsics: Intrinsics | None = None
    points: tuple[Point, ...] = ()
    model_ms: float = math.nan
    latency_ms: float = math.nan
    dropped: int = 0
    notes: tuple[str, ...] = ()
    error: str = ''
    drawn: dict[str, bytes] = field(default_factory=dict)


class Viewer(ABC):
    """What the page needs of a source of predictions; safe between threads.

    Methods that change something raise ValueError where it is not allowed, and change nothing.

    Attributes:
        title: what is shown.
        end: largest position; 0 where there is no way to move.
        step: of positions.
        plays: whether images follow each other by themselves.
        snapshot: the newest.
        points: on the object, pixels of the image.
        cameras: names to choose from; () where there is one camera.
        camera: the one that is shown, '' where there is one camera.
    """

    title = ''
    cameras: Sequence[str] = ()
    camera = ''
    end = 0.0
    step = 1.0
    plays = False

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.points: tuple[Point, ...] = ()

    @abstractmethod
    def available_tasks(self) -> Sequence[str]:
        """Names of all tasks that can be switched."""

    @abstractmethod
    def tasks(self) -> Sequence[str]:
        """Names of those that are on."""

    @abstractmethod
    def set_active_tasks(self, names: Sequence[str]) -> None:
        """Switch these on and all others off."""

    @abstractmethod
    def task_for_points(self) -> str:
        """The task that a point is for; '' where none takes points."""

    @abstractmethod
    def declared(self) -> list[Declared]:
        """The parameters that can be changed, beside tasks and categories."""

    @abstractmethod
    def values(self) -> Mapping[str, Any]:
        """Values of all parameters by name."""

    @abstractmethod
    def set_value(self, name: str, value: Any) -> None:
        """Change a parameter."""

    @abstractmethod
    def set_points(self, points: tuple[Point, ...]) -> None:
        """Replace the points."""

    def set_camera(self, name: str) -> None:
        """Show another camera."""
        raise ValueError(f'{self.title} has no cameras to choose from')

    def add_point(self, point: Point) -> None:
        """Add a point; the task that takes points is switched on."""
        image = self.snapshot.image
        if image is None:
            raise ValueError('there is no image to point at yet')
        name = self.task_for_points()
        points = with_point(self.points, point, (image.shape[0], image.shape[1]))
        if name and name not in self.tasks():
            self.set_active_tasks([*self.tasks(), name])
        self.set_points(points)

    def remove_point(self, place: Point) -> None:
        """Remove the point nearest to a place; nothing where there is none."""
        self.set_points(without_nearest(self.points, place))

    @property
    def playing(self) -> bool:
        """Whether images follow each other now."""
        return self.plays

    def play(self, on: bool) -> None:
        """Let images follow each other, or stop."""
        raise ValueError(f'{self.title} cannot be played')

    def seek(self, position: float) -> None:
        """Show the image at a position."""
        raise ValueError(f'{self.title} has no positions')

    @abstractmethod
    def close(self) -> None:
        """Stop all threads."""


def with_point(
    points: tuple[Point, ...], point: Point, size: tuple[int, int]
) -> tuple[Point, ...]:
    """The points and one more.

    Args:
        points: at most five, pixels.
        point: the further one; a click up to half a pixel outside is moved inside.
        size: (H, W) of the image, pixels.

    Raises:
        ValueError: it lies outside of the image, or there are five.
    """
    if len(points) >= MAX_POINTS:
        raise ValueError(
            f'the model takes at most {MAX_POINTS} points; remove one first (secondary button '
            'on the image, or the list of points)'
        )
    if not (-0.5 <= point.x <= size[1] - 0.5 and -0.5 <= point.y <= size[0] - 0.5):
        raise ValueError(f'{point} lies outside the image of {size[1]} x {size[0]} pixels')
    inside = Point(
        round(min(max(point.x, 0), size[1] - 1), 1), round(min(max(point.y, 0), size[0] - 1), 1)
    )
    check_points((*points, inside), size)
    return (*points, inside)


def without_nearest(points: tuple[Point, ...], place: Point) -> tuple[Point, ...]:
    """The points without the one nearest to a place; the same where there is none."""
    if not points:
        return points
    nearest = min(range(len(points)), key=lambda k: math.dist(points[k], place))
    return points[:nearest] + points[nearest + 1 :]


@dataclass(frozen=True)
class _Request:
    """What is wanted; compared by identity."""

    settings: PerceptionSettings
    tasks: tuple[str, ...]
    points: tuple[Point, ...]
    made_s: float


class Session(Viewer):
    """Predicts the images of a source with a model.

    Args:
        source: of images; the session closes it.
        perceiver: the model; nothing else may use it.
    """

    def __init__(self, source: Source, perceiver: Perceiver) -> None:
        super().__init__()
        self.title, self.end, self.step = source.title, source.end, source.step
        self.plays = source.plays
        self.cameras, self.camera = source.cameras, source.camera
        self._source, self._perceiver = source, perceiver
        settings = perceiver.settings
        self._wanted = _Request(settings, settings.task_names, (), time.monotonic())
        self._answered: _Request | None = None
        self._seek: float | None = 0.0
        self._playing = source.live
        self._closed = False
        self._changed = threading.Condition()
        # Of the worker: the image, labels with what they were predicted for, and the pace.
        self._item: SourceFrame | None = None
        self._number = 0
        self._labels: dict[str, tuple[Any, Label]] = {}
        self._metric: MetricDepth | None = None
        self._began: tuple[float, float] | None = None
        self._skipped = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name='viewer')

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        if not self._thread.is_alive():  # or it reads yet, and the process ends anyway
            self._source.close()

    # ---- what is wanted -------------------------------------------------------------------------

    def available_tasks(self) -> list[str]:
        return self._wanted.settings.registry.names()

    def tasks(self) -> tuple[str, ...]:
        return self._wanted.tasks

    def set_active_tasks(self, names: Sequence[str]) -> None:
        settings, registry = self._wanted.settings, self._wanted.settings.registry
        unknown = [name for name in names if name not in registry.names()]
        if unknown:
            raise ValueError(f'no task {unknown[0]!r}; expected some of {registry.names()}')
        own = [name for name in names if not registry.is_adapter(name)]
        # Tasks that are off stay in the settings: others of them may depend on a task.
        more = tuple(dict.fromkeys([*settings.tasks, *own]))
        settings = declarations.changed(settings, {'tasks': more})
        self._want(settings, tasks=tuple(name for name in registry.names() if name in names))

    def task_for_points(self) -> str:
        settings, on = self._wanted.settings, self._wanted.tasks
        takers = [
            name for name in self.available_tasks() if settings.registry.get(name).takes_points
        ]
        return next((name for name in takers if name in on), takers[0] if takers else '')

    def declared(self) -> list[Declared]:
        return [
            item for item in declarations.declared(PerceptionSettings)
            if item.name not in (*APART, *LIVE, *MESSAGES) and item.attribute != 'every_n'
        ]  # fmt: skip

    def values(self) -> dict[str, Any]:
        return declarations.values(self._wanted.settings)

    def set_value(self, name: str, value: Any) -> None:
        self._want(declarations.changed(self._wanted.settings, {name: value}))

    def set_points(self, points: tuple[Point, ...]) -> None:
        check_points(points)
        self._want(points=points)

    def set_camera(self, name: str) -> None:
        if name not in self.cameras:
            raise ValueError(f'no camera {name!r}; expected one of {", ".join(self.cameras)}')
        with self._changed:
            self.camera, self._seek = name, self.snapshot.position
        self._want(points=())

    def _want(self, settings: PerceptionSettings | None = None, **more: Any) -> None:
        """Replace the request; the one before is not answered any more."""
        if settings is not None:
            self._perceiver.check(settings)
            more['settings'] = settings
        with self._changed:
            self._wanted = replace(self._wanted, made_s=time.monotonic(), **more)
            self.points = self._wanted.points
            self._changed.notify_all()

    @property
    def playing(self) -> bool:
        return self._playing

    def play(self, on: bool) -> None:
        with self._changed:
            self._playing = on
            if on and not self._source.live and self.snapshot.position >= self.end - self.step:
                self._seek = 0.0  # again from the beginning
            self._changed.notify_all()

    def seek(self, position: float) -> None:
        with self._changed:
            self._seek = position
            self._wanted = replace(self._wanted, made_s=time.monotonic())
            self._changed.notify_all()

    # ---- the worker -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._closed
                        or self._playing
                        or self._seek is not None
                        or self._wanted is not self._answered
                    )
                )
                if self._closed:
                    return
                seek, self._seek = self._seek, None
                request, playing = self._wanted, self._playing
            since = request.made_s
            try:
                if seek is not None or playing:
                    if not (self._follow() if seek is None else self._take(seek)):
                        continue
                    since = since if seek is not None else time.monotonic()
                self._answer(request, since)
            except (OSError, ValueError, RuntimeError) as error:
                self._show(error=error_text(error))
            self._answered = request

    def _take(self, position: float) -> bool:
        """Read the image at a position; False where there is none."""
        self._began, self._item = None, None
        self._perceiver.reset()
        self._choose_camera()
        if not self._source.live:
            self._source.seek(position)
        self._item, self._number = self._source.read(), self._number + 1
        return self._item is not None

    def _choose_camera(self) -> None:
        """Let the source give images of the camera that is wanted."""
        if self._source.camera != self.camera:
            self._source.choose(self.camera)
            self.title = self._source.title

    def _follow(self) -> bool:
        """Read the next image at its time; False at the end, or where the wait was ended."""
        item = self._source.read()
        while item is not None and not self._source.live:
            now = time.monotonic()
            if self._began is None or self._skipped > MAX_SKIPPED:
                self._began, self._skipped = (now, item.position), 0
            due = self._began[0] + item.position - self._began[1]
            if due > now:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._closed or self._seek is not None or not self._playing,
                        due - now,
                    )
                break
            later = self._source.read() if now - due > 0 else None
            if later is None:
                break
            item, self._skipped = later, self._skipped + 1
            self._source.dropped += 1
        if item is None:
            with self._changed:
                self._playing, self._began = False, None
            return False
        self._item, self._number, self._skipped = item, self._number + 1, 0
        return True

    def _answer(self, request: _Request, since_s: float) -> None:
        """Predict what is not known yet of the present image, and show it."""
        item = self._item
        if item is None:
            return
        settings = request.settings
        if settings is not self._perceiver.settings:
            self._perceiver.change(settings)
        rest = {
            name: value for name, value in declarations.values(settings).items()
            if name not in ('tasks', 'semantic.categories')
        }  # fmt: skip
        points = self._points_of(request, item)
        keys = {}
        for name in request.tasks:
            task = settings.registry.get(name)
            keys[name] = (
                self._number, tuple(rest.items()),
                settings.categories if task.takes_category else (),
                points if task.takes_points else (),
            )  # fmt: skip
        stale = [name for name in request.tasks if self._labels.get(name, ('',))[0] != keys[name]]
        query = Query(
            '', item.frame, make_header(BagTypes(), item.frame.stamp_ns, item.frame.frame_id),
            item.info, tuple(map(settings.registry.get, stale)), points,
            topics=frozenset({f'{DEPTH}/image'} if settings.depth.metric != 'off' else ()),
            reference=item.reference, gravity=item.gravity,
        )  # fmt: skip
        result = self._perceiver.process(query)
        unchanged = {name: self._labels[name] for name in request.tasks if name not in stale}
        made = {name: (keys[name], label) for name, label in result.labels.items()}
        self._labels = {
            name: (unchanged | made)[name] for name in request.tasks if name in unchanged | made
        }
        if DEPTH in stale or DEPTH not in request.tasks:
            self._metric = result.metric_depth
        self._show(
            image=item.frame.image, caption=item.caption, position=item.position,
            labels={name: label for name, (_, label) in self._labels.items()},
            metric_depth=self._metric, intrinsics=item.frame.intrinsics, points=points,
            model_ms=1000 * result.seconds.get('model', 0.0),
            latency_ms=1000 * (time.monotonic() - since_s),
            notes=tuple(note.text for note in result.notes), error='',
        )  # fmt: skip

    def _points_of(self, request: _Request, item: SourceFrame) -> tuple[Point, ...]:
        """The points that lie in the image; an image of another size may be smaller."""
        height, width = item.frame.size
        return tuple(p for p in request.points if p.x <= width - 1 and p.y <= height - 1)

    def _show(self, **more: Any) -> None:
        self.snapshot = replace(
            self.snapshot, version=self.snapshot.version + 1, dropped=self._source.dropped,
            drawn={}, **more,
        )  # fmt: skip
