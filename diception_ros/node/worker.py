# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The one thread that answers frames: takes one from the slots, asks, publishes, and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from diception_ros.core.frame import Frame
from diception_ros.core.geometry import transform_from
from diception_ros.core.prompt import Point
from diception_ros.messages import base, encodings
from diception_ros.messages import images as image_messages
from diception_ros.messages.base import MessageError, Types
from diception_ros.node import watchdog
from diception_ros.node.diagnostics import Timings
from diception_ros.node.frame_queue import Outcome, Slots, Ticket
from diception_ros.node.log import KINDS, Log
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.metric_depth import reference_from
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import Request
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import threads

if TYPE_CHECKING:
    from diception_ros.core.alignment import FitReport
    from diception_ros.node.camera_input import Camera
    from diception_ros.node.publishers import Publishers
    from diception_ros.perception.metric_depth import Reference
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.query import Answer

# Frames without a clock after which there is none, rather than none yet.
PATIENCE = 10


class Worker:
    """Answers frames while it is started.

    Args:
        slots: where frames wait.
        perceiver: answers them.
        cameras: by name, what comes in beside the frames.
        publishers: where answers go.
        now: time and whether it is simulated: nanoseconds of the node's clock.
        log: of the node.

    Attributes:
        timings: of the last frames: 'model', 'overhead', and of each task its name and its name
            followed by ' latency'.
        failed: by camera, how many frames failed of each kind of fault.
        fits: by camera, the last fit to a depth reference.
        infos: by camera, how the CameraInfo of the last frame was found.
        idle: topics that nobody listens to, '' while frames are answered.
    """

    def __init__(
        self,
        slots: Slots,
        perceiver: Perceiver,
        cameras: Mapping[str, Camera],
        publishers: Publishers,
        now: Callable[[], tuple[int, bool]],
        log: Log,
    ) -> None:
        self.timings = Timings()
        self.failed: dict[str, Counter[str]] = {camera: Counter() for camera in cameras}
        self.fits: dict[str, FitReport | None] = dict.fromkeys(cameras)
        self.infos = dict.fromkeys(cameras, 'none')
        self.idle = ''
        self._slots, self._perceiver, self._cameras = slots, perceiver, cameras
        self._publishers, self._now, self._log = publishers, now, log
        self._decode = encodings.decoder(perceiver.settings.conversion, log.info)
        self._thread: threading.Thread | None = None
        self._forget = threading.Event()
        self._clockless = 0

    def start(self) -> None:
        """Let frames in and answer them."""
        self._slots.open()
        self._thread = threading.Thread(target=self._run, name='worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let no frames in, and wait until the one in work is answered."""
        self._slots.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def forget(self) -> None:
        """Before the next frame drop what is kept from frame to frame."""
        self._forget.set()

    def _run(self) -> None:
        while (ticket := self._slots.take()) is not None:
            outcome: Outcome = 'failed'
            try:
                outcome = self._answer(ticket)
            except Exception as error:
                # Whatever it is, the next frame may be all right.
                self._fail(ticket.camera, error)
            finally:
                self._slots.done(ticket.camera, outcome)

    def _answer(self, ticket: Ticket) -> Outcome:
        began = time.perf_counter()
        camera, message = self._cameras[ticket.camera], ticket.message
        wanted = self._publishers.wanted(camera.name)
        tasks = self._perceiver.needed(wanted)
        if not tasks:
            self._say_idle()
            return 'idle'
        if self.idle:
            self.idle = ''
            self._log.info('an output has a subscriber again')
            self._log.again('idle')
        if self._forget.is_set():
            self._forget.clear()
            self._perceiver.forget()
        info, self.infos[camera.name] = camera.info_of(message)
        no_info = camera.infos.why_none(message) if info is None else ''
        frame = image_messages.frame_from(message, info, self._decode, no_info)
        self._check_clock(frame.stamp_ns)
        camera.frame_id = frame.frame_id
        points, removed = camera.points.of(frame.size)
        if removed:
            self._log.warning(
                f'{camera.prefix}prompt: {removed} points removed, since the pictures have '
                'another size now'
            )
        answer = self._perceiver.perceive(
            Request(
                camera.name,
                frame,
                message.header,
                info,
                tasks,
                points,
                wanted=wanted,
                reference=self._reference(camera, frame.stamp_ns),
            )
        )
        self._publishers.publish(camera.name, answer.messages)
        self._note(camera, answer, frame.stamp_ns, time.perf_counter() - began)
        return 'processed'

    def _reference(self, camera: Camera, stamp_ns: int) -> Reference | None:
        settings = self._perceiver.settings
        if settings.depth.metric != 'aligned':
            return None
        message = camera.references.nearest(stamp_ns, round(settings.depth.tolerance_s * 1e9))
        if message is None:
            return None
        return reference_from(message, transform_from(settings.depth.reference_transform))

    def _note(self, camera: Camera, answer: Answer, stamp_ns: int, seconds: float) -> None:
        now_ns, _ = self._now()
        for task, share in answer.seconds.items():
            if task not in ('model', 'messages'):
                self.timings.add(task, share)
                self.timings.add(f'{task} latency', (now_ns - stamp_ns) / 1e9)
        model = answer.seconds.get('model', 0.0)
        self.timings.add('model', model)
        self.timings.add('overhead', seconds - model)
        if answer.fit is not None:
            self.fits[camera.name] = answer.fit
        for note in answer.notes:
            self._log.warning_once(f'{camera.name} {note.kind}', f'{camera.prefix}{note.text}')

    def _say_idle(self) -> None:
        self.idle = ', '.join(self._publishers.names())
        self._log.info_once('idle', f'idle: no subscriber of {self.idle}')

    def _check_clock(self, stamp_ns: int) -> None:
        now_ns, simulated = self._now()
        # The clock of a recording may begin a little after its pictures.
        self._clockless = self._clockless + 1 if now_ns == 0 else 0
        if 0 < self._clockless < PATIENCE:
            return
        if problem := watchdog.clock_mismatch(now_ns, stamp_ns, simulated):
            self._log.warning_once(f'clock, {"none" if now_ns == 0 else simulated}', problem)

    def _fail(self, camera: str, error: Exception) -> None:
        where = f'camera {camera}: ' if camera else ''
        if isinstance(error, MessageError):
            kind, text = error.kind, str(error)
        elif isinstance(error, (ValueError, RuntimeError, OSError)):
            kind, text = type(error).__name__, str(error)
        else:
            kind, text = type(error).__name__, traceback.format_exc()
        failed = self.failed[camera]
        # Broken messages may differ in endless ways; a few of them are enough to tell.
        failed[kind if kind in failed or len(failed) < KINDS else 'other'] += 1
        self._log.error_once(
            f'{camera} {kind}', f'{where}frame skipped, as others of this kind will be: {text}'
        )


def about(worker: Worker, camera: str) -> dict[str, Any]:
    """The values of a camera's diagnostics that the worker knows."""
    fit = worker.fits[camera]
    values: dict[str, Any] = {'camera_info': worker.infos[camera]}
    if fit is not None:
        values |= {
            'fit_points': fit.points,
            'fit_inliers': fit.inliers,
            'fit_residual': fit.residual,
            'fit_problem': fit.problem,
        }
    failed = dict(worker.failed[camera])  # a copy, since the worker goes on
    return {**values, **{f'failed_{kind}': n for kind, n in failed.items()}}


# Loading the model and trying it once, with progress in the log. Imports torch when it runs.


if TYPE_CHECKING:
    from diception_ros.perception.predictor import Predictor

# What `load` is.
Load = Callable[
    [NodeSettings, PerceptionSettings, Types, Callable[[str], None]], tuple['Predictor', Perceiver]
]
# A camera of no name that can be given, so that nothing of it is kept.
_NOBODY = 'warm-up '


def load(
    node: NodeSettings, perception: PerceptionSettings, types: Types, say: Callable[[str], None]
) -> tuple[Predictor, Perceiver]:
    """The model, ready to answer at its usual speed.

    Args:
        node: which model, and where it runs.
        perception: what is asked, and how.
        types: makes messages.
        say: told how far it is.

    Raises:
        FileNotFoundError: no such model folder.
        ValueError: a device that is not there, or settings that do not suit the model.
    """
    begin = time.monotonic()
    say(f'configuring, 1 of 3: importing torch for the model {node.model!r}')
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    folder.silence_library_logging()
    count = threads.limit(node.compute.threads, node.compute.device)
    say(f'configuring, 2 of 3: loading {node.model!r} onto {node.compute.device}, {count} threads')
    predictor = Predictor.load(node.model, node.compute)
    perceiver = Perceiver(predictor, types, perception)
    say(f'configuring, 3 of 3: a first answer ({time.monotonic() - begin:.1f} s so far)')
    warm_up(perceiver, types)
    say(f'configured in {time.monotonic() - begin:.1f} s')
    return predictor, perceiver


def warm_up(perceiver: Perceiver, types: Types) -> None:
    """Ask all tasks about a grey picture; what is slow the first time is slow now."""
    settings = perceiver.settings
    names = settings.asked
    pointed = any(settings.registry.get(name).takes_points for name in names)
    frame = Frame(np.full((48, 64, 3), 128, np.uint8))
    perceiver.perceive(
        Request(
            _NOBODY,
            frame,
            base.header(types, 0, ''),
            None,
            names,
            (Point(32, 24),) if pointed else (),
        )
    )
    perceiver.forget(_NOBODY)
