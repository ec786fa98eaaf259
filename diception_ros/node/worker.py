# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that processes frames. `Worker._process` calls the stages of a frame in their order.

1. `ImageSubscription` receives the image message and puts it into the `FrameQueue`, which drops
   frames that are too many (both before this thread).
2. Tasks are chosen by the topics that have subscribers.
3. The CameraInfo of the image is found by stamp, and the message is decoded to a `Frame`.
4. Point prompts, a depth reference and the direction of gravity complete the `Query`.
5. `Perceiver.infer` makes prompts and runs the network.
6. `Perceiver.postprocess` makes labels, tracks instances, fits metric depth and makes messages.
7. `Publishers` publish the messages; the queue counts the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from diception_ros.core.frame import Frame
from diception_ros.messages import MessageError, encodings
from diception_ros.messages import images as image_messages
from diception_ros.node import diagnostics
from diception_ros.node.diagnostics import KINDS, Log, Timings
from diception_ros.node.frame_queue import FrameQueue, Outcome, QueuedFrame
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import Query
from diception_ros.system import resources

if TYPE_CHECKING:
    from diception_ros.core.geometry import FitReport
    from diception_ros.node.camera_input import CameraInput, TransformInput
    from diception_ros.node.publishers import Publishers
    from diception_ros.perception.query import FrameResult
    from diception_ros.tasks import Task

# Frames without a clock after which there is none, rather than none yet.
MAX_FRAMES_WITHOUT_CLOCK = 10

# Seconds before a failed worker thread starts again.
RESTART_S = 1.0


class Worker:
    """Processes the frames of a queue in a thread of its own while it is started.

    Args:
        queue: of frames.
        perceiver: processes them.
        cameras: by name, the inputs beside the images.
        publishers: of the results.
        now: returns the node's clock, nanoseconds, and whether time is simulated.
        log: of the node.
        transforms: tell the direction of gravity.

    Attributes:
        timings: of recent frames with the present tasks and settings: 'model', 'overhead', and for
            each task its name and its name followed by ' latency'.
        failed: by camera, number of frames that failed, by type of fault.
        fits: by camera, the fit of the last metric depth; None if none was tried.
        depth_problems: by camera, why there was no metric depth, '' if there was.
        clouds: by camera, the counts of the last cloud, see `FrameResult.cloud`.
        info_matches: by camera, how the CameraInfo of the last frame was found.
        gravity: by camera, where the direction of gravity of the last frame is from: 'tf',
            'normals', or 'points.gravity' wherever that is set; otherwise ''.
        idle: topics without subscribers, '' while frames are processed.
        fault: why the thread stopped working and was restarted, '' while frames are processed.
    """

    def __init__(
        self,
        queue: FrameQueue,
        perceiver: Perceiver,
        cameras: Mapping[str, CameraInput],
        publishers: Publishers,
        now: Callable[[], tuple[int, bool]],
        log: Log,
        transforms: TransformInput,
    ) -> None:
        self.timings = Timings()
        self.failed: dict[str, Counter[str]] = {camera: Counter() for camera in cameras}
        self.fits: dict[str, FitReport | None] = dict.fromkeys(cameras)
        self.depth_problems = dict.fromkeys(cameras, '')
        self.clouds: dict[str, dict[str, float]] = {camera: {} for camera in cameras}
        self.info_matches = dict.fromkeys(cameras, 'none')
        self.gravity = dict.fromkeys(cameras, '')
        self.idle = self.fault = ''
        self._queue, self._perceiver, self._cameras = queue, perceiver, cameras
        self._publishers, self._now, self._log = publishers, now, log
        self._transforms = transforms
        self._decode = encodings.decoder(perceiver.settings.conversion, log.info)
        self._thread: threading.Thread | None = None
        self._reset, self._stopping = threading.Event(), threading.Event()
        self._clockless = 0
        self._settings = perceiver.settings  # of the last frame
        # Tasks of the last frame of each camera.
        self._running: dict[str, tuple[Task[Any], ...]] = {}

    def start(self) -> None:
        """Open the queue and process its frames."""
        self._stopping.clear()
        self._queue.open()
        self._thread = threading.Thread(target=self._run, name='worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the queue, and wait until the frame in work is finished."""
        self._stopping.set()
        self._queue.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def reset(self) -> None:
        """Drop the state from frame to frame before the next frame."""
        self._reset.set()

    def restart_statistics(self) -> None:
        """Drop timings, fits and counts of clouds, after settings changed that they depend on."""
        self.timings.clear()
        self.fits = dict.fromkeys(self.fits)
        self.depth_problems = dict.fromkeys(self.depth_problems, '')
        self.clouds = {camera: {} for camera in self.clouds}

    def _run(self) -> None:
        """Process frames until the queue is closed; an error outside of a frame restarts it."""
        while True:
            try:
                self._process_frames()
                return
            except Exception as error:
                self.fault = f'the worker thread failed and was restarted: {error!r}'
                self._log.error_once('worker', f'{self.fault}\n{traceback.format_exc()}')
                if self._stopping.wait(RESTART_S):
                    return

    def _process_frames(self) -> None:
        while (queued := self._queue.get()) is not None:
            outcome: Outcome = 'failed'
            try:
                outcome = self._process(queued)
            except Exception as error:
                # Whatever it is, the next frame may be all right.
                self._count_failure(queued.camera, error)
            finally:
                self._queue.task_done(queued.camera, outcome)
            self.fault = ''

    def _process(self, queued: QueuedFrame) -> Outcome:
        """One frame, from its message to the publishers."""
        began = time.perf_counter()
        camera, message = self._cameras[queued.camera], queued.message
        topics = self._publishers.subscribed_topics(camera.name)
        tasks = self._perceiver.tasks_for_topics(topics)
        if tasks != self._running.get(camera.name, tasks):
            self.timings.clear()
        self._running[camera.name] = tasks
        if self._perceiver.settings is not self._settings:
            self._settings = self._perceiver.settings
            resources.release_memory()  # what a larger batch may have left in the heaps
        if not any(self._running.values()):  # of no camera
            self.idle = ', '.join(self._publishers.names())
            self._log.info_once('idle', f'idle: no subscriber of {self.idle}')
        elif self.idle:
            self.idle = ''
            self._log.info('an output has a subscriber again')
            self._log.rearm('idle')
        if not tasks:
            return 'idle'
        if self._reset.is_set():
            self._reset.clear()
            self._perceiver.reset()
        info, self.info_matches[camera.name] = camera.info_of(message)
        no_info = camera.camera_infos.why_none(message) if info is None else ''
        frame = image_messages.frame_from(message, info, self._decode, no_info)
        self._check_clock(frame.stamp_ns)
        camera.frame_id = frame.frame_id
        points, removed = camera.points.for_size(frame.size)
        if removed:
            self._log.warning(
                f'{camera.prefix}prompt: {removed} points removed, since the size of the images '
                'changed'
            )
        result = self._perceiver.process(
            Query(
                camera.name,
                frame,
                message.header,
                info,
                tasks,
                points,
                topics=topics,
                reference=self._reference(camera, frame.stamp_ns),
                gravity=self._gravity(camera.name, frame, topics),
            )
        )
        if any(task.takes_category for task in tasks) and (
            result.settings.categories != self._perceiver.settings.categories
        ):
            # The numbers in its map mean other words than those in the latest LabelInfo.
            return 'stopped'
        self._publishers.publish(camera.name, result.messages)
        self._record(camera, result, time.perf_counter() - began)
        return 'processed'

    def _reference(self, camera: CameraInput, stamp_ns: int) -> Any | None:
        """The message of the depth reference of an image."""
        settings = self._perceiver.settings.depth
        if settings.metric != 'aligned':
            return None
        return camera.references.nearest(stamp_ns, round(settings.tolerance_s * 1e9))

    def _gravity(
        self, camera: str, frame: Frame, topics: frozenset[str]
    ) -> tuple[float, float, float] | None:
        """The direction of gravity in the frame of an image, by /tf."""
        points = self._perceiver.settings.points
        self.gravity[camera] = '' if points.direction is None else 'points.gravity'
        if not self._perceiver.needs_gravity(topics):  # set, or of no use
            return None
        direction = self._transforms.gravity(frame.frame_id, points.gravity_frame, frame.stamp_ns)
        self.gravity[camera] = 'normals' if direction is None else 'tf'
        return direction

    def _record(self, camera: CameraInput, result: FrameResult, seconds: float) -> None:
        """Keep the timings and the fit of a result, and log its notes."""
        for note in result.notes:
            self._log.warning_once(f'{camera.name} {note.kind}', f'{camera.prefix}{note.text}')
        if result.settings is not self._perceiver.settings:
            return  # the statistics are of the settings in effect
        now_ns, _ = self._now()
        latency = (now_ns - result.query.frame.stamp_ns) / 1e9
        for task, share in result.seconds.items():
            if task not in ('model', 'messages'):
                self.timings.add(task, share)
                self.timings.add(f'{task} latency', latency)
        model = result.seconds['model']
        self.timings.add('model', model)
        self.timings.add('overhead', seconds - model)
        if result.depth_problem is not None:  # it was the turn of the depth
            self.fits[camera.name] = result.fit
            self.depth_problems[camera.name] = result.depth_problem
        self.clouds[camera.name] = result.cloud

    def _check_clock(self, stamp_ns: int) -> None:
        now_ns, simulated = self._now()
        # The clock of a recording may begin a little after its images.
        self._clockless = self._clockless + 1 if now_ns == 0 else 0
        if 0 < self._clockless < MAX_FRAMES_WITHOUT_CLOCK:
            return
        if problem := diagnostics.clock_mismatch(now_ns, stamp_ns, simulated):
            self._log.warning_once(f'clock, {"none" if now_ns == 0 else simulated}', problem)

    def _count_failure(self, camera: str, error: Exception) -> None:
        where = f'camera {camera}: ' if camera else ''
        if isinstance(error, MessageError):
            kind, text = error.kind, str(error)
        elif isinstance(error, (ValueError, RuntimeError, OSError)):
            kind, text = type(error).__name__, str(error)
        else:
            kind, text = type(error).__name__, traceback.format_exc()
        failed = self.failed[camera]
        # Broken messages may differ in endless ways; a few kinds are enough.
        failed[kind if kind in failed or len(failed) < KINDS else 'other'] += 1
        self._log.error_once(
            f'{camera} {kind}',
            f'{where}frame skipped; further ones with this fault are counted, not logged: {text}',
        )
