# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Log of the node, causes of missing images, and the content of /diagnostics.

WARN: results are missing or worse than they could be, and somebody can do something about it.
ERROR: there are no results at all although there should be.

Knows no ROS but the numbers of the levels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
import difflib
import threading
from typing import Any, NamedTuple, Protocol

import numpy as np

from diception_ros.messages.compressed import VIDEO_TYPES, republish
from diception_ros.node.frame_queue import Counts
from diception_ros.system.ros_environment import NODE_PROFILE, PROFILE, VARIABLES, profile

# Kinds of messages that are logged: broken messages may differ in endless ways.
KINDS = 30


class Logger(Protocol):
    """The methods of rclpy's logger that are used."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class Log:
    """A logger that can log each kind of message once; safe between threads.

    Attributes:
        last_error: text of the last error, '' before the first.
    """

    def __init__(self, logger: Logger) -> None:
        self.last_error = ''
        self._logger = logger
        self._logged: set[str] = set()
        self._lock = threading.Lock()

    def info(self, text: str) -> None:
        """Log at level INFO."""
        self._logger.info(text)

    def warning(self, text: str) -> None:
        """Log at level WARN."""
        self._logger.warning(text)

    def error(self, text: str) -> None:
        """Log at level ERROR and store it as `last_error`."""
        self.last_error = text
        self._logger.error(text)

    def info_once(self, kind: str, text: str) -> None:
        """Log at level INFO unless this kind was logged before."""
        if self._is_new(kind):
            self._logger.info(text)

    def warning_once(self, kind: str, text: str) -> None:
        """Log at level WARN unless this kind was logged before."""
        if self._is_new(kind):
            self._logger.warning(text)

    def error_once(self, kind: str, text: str) -> None:
        """Log at level ERROR unless this kind was logged before; always store `last_error`."""
        self.last_error = text
        if self._is_new(kind):
            self._logger.error(text)

    def rearm(self, kind: str) -> None:
        """Log the next message of this kind again."""
        with self._lock:
            self._logged.discard(kind)

    def _is_new(self, kind: str) -> bool:
        with self._lock:
            if kind in self._logged or len(self._logged) > KINDS:
                return False
            self._logged.add(kind)
            full = len(self._logged) > KINDS
        if full:
            self._logger.warning(
                f'{KINDS} kinds of problems were logged; others are only counted, see /diagnostics'
            )
        return not full


# Most topics that one warning lists.
MOST = 5
# Difference between stamps and clock that is logged, seconds: far beyond any latency, near enough
# that the unsynchronised clocks of two machines are noticed.
WILD_S = 10.0
# Seconds between two reports, as diagnostic_updater.
PERIOD = 1.0


@dataclass(frozen=True)
class Publisher:
    """A publisher of a topic.

    Attributes:
        node: its full name.
        kind: type of its messages, such as 'sensor_msgs/msg/Image'.
        reliable: whether it offers reliable delivery.
    """

    node: str
    kind: str
    reliable: bool


@dataclass(frozen=True)
class Subscribed:
    """How the node subscribes to a camera's images.

    Attributes:
        topic: full name of the topic.
        relative: its name before remapping, such as 'image'.
        kind: type of the expected messages.
        reliable: whether reliable delivery is required.
        fix_hint: what to do against lost images, '' where the middleware is not known to lose any.
    """

    topic: str
    relative: str
    kind: str
    reliable: bool
    fix_hint: str


class Silence(NamedTuple):
    """Result of one look at a camera's counter.

    Attributes:
        seconds: without an image if these are too many, else 0.
        began: whether this silence is reported for the first time.
        ended: whether images have just returned.
    """

    seconds: float
    began: bool
    ended: bool


def explain(
    subscribed: Subscribed,
    publishers: list[Publisher],
    silence: float,
    other_topics: Sequence[str] = (),
) -> str:
    """Why no images are received, and what to do.

    Args:
        subscribed: how the node subscribes.
        publishers: of the topic, of any message type.
        silence: seconds without an image.
        other_topics: other topics that have publishers of the expected type.
    """
    topic, remap = subscribed.topic, f'--ros-args -r {subscribed.relative}:='
    begin = f'no images on {topic} for {silence:.0f} s; it has '
    if not publishers and other_topics:
        close = difflib.get_close_matches(topic, other_topics, n=1, cutoff=0)
        return (
            f'{begin}no publisher, but there are images on {", ".join(other_topics[:MOST])}. Is '
            f'it one of these? Then {remap}{close[0]}'
        )
    if not publishers:
        return (
            f'{begin}no publisher. Is the camera running, and is this its topic? If not: '
            f'{remap}TOPIC; ROS_DOMAIN_ID must be the same on both sides'
        )
    names = ', '.join(sorted({publisher.node for publisher in publishers}))
    plural = 's' if len(publishers) > 1 else ''
    begin += f'{len(publishers)} publisher{plural} ({names})'
    kinds = sorted({publisher.kind for publisher in publishers})
    if subscribed.kind not in kinds:
        video = next((VIDEO_TYPES[kind] for kind in kinds if kind in VIDEO_TYPES), '')
        return f'{begin} of {", ".join(kinds)}, but {subscribed.kind} is expected; ' + (
            f'decode the video first: {republish(video, topic)}'
            if video
            else 'set image_transport to raw or compressed'
        )
    if subscribed.reliable and not any(publisher.reliable for publisher in publishers):
        return (
            f'{begin} that offers best effort, and reliable delivery is required; set '
            f'qos_overrides.{topic}.subscription.reliability to best_effort'
        )
    end = 'which is silent, paused, or loses images on the way'
    return f'{begin}, {end}{"; " if subscribed.fix_hint else ""}{subscribed.fix_hint}'


def loss_hint(rmw: str, environment: dict[str, str]) -> str:
    """What to do against lost images with this middleware and environment; '' if nothing."""
    files = {environment[name] for name in VARIABLES if environment.get(name)}
    shipped = str(profile())
    if 'fastrtps' not in rmw or files - {shipped, str(profile(NODE_PROFILE))}:
        return ''
    return (
        'Fast DDS loses large best-effort messages between processes: set '
        f'{VARIABLES[0]} (Jazzy and older: {VARIABLES[1]}) to the {PROFILE} of this package '
        + (f'for the camera, as one is set for this node: {shipped}' if files else
           'for this node and for the camera')
    )  # fmt: skip


class Watchdog:
    """Detects that the images of one camera stop, by a clock that never jumps as /clock may.

    Args:
        limit: longest normal time between two images, seconds.
        now: steady time at which it starts, seconds.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._last = now
        self._count = 0
        self._silent = False

    def update(self, now: float, count: int, expected: bool = True) -> Silence:
        """Compare the number of received images with that of the last call.

        Args:
            now: steady time, seconds.
            count: images received so far.
            expected: whether the node subscribes at all.
        """
        if count != self._count:
            self._count, self._last = count, now
            ended, self._silent = self._silent, False
            return Silence(0.0, False, ended)
        if not expected:
            self._last = now
        seconds = now - self._last
        if seconds < self._limit:
            return Silence(0.0, False, False)
        began, self._silent = not self._silent, True
        return Silence(seconds, began, False)


def clock_mismatch(now_ns: int, stamp_ns: int, simulated: bool) -> str:
    """Why an image's stamp and the clock do not belong together, and what to do; '' if they do.

    Both are nanoseconds; `now_ns` is 0 where a simulated clock has not started.
    """
    if simulated and now_ns == 0:
        return (
            'use_sim_time is set, but nothing is received on /clock, so latencies are wrong; play '
            'the recording with --clock, or set use_sim_time to false'
        )
    if stamp_ns == 0 and now_ns > WILD_S * 1e9:
        return (
            'images have no stamp (0), so latencies are wrong, and CameraInfo, depth '
            'references and /tf cannot be matched with them by time; let the driver fill in '
            'header.stamp'
        )
    age = (now_ns - stamp_ns) / 1e9
    if abs(age) <= WILD_S:
        return ''
    before = f'{abs(age):.0f} s {"before" if age > 0 else "after"}'
    if simulated:
        return f'images are stamped {before} /clock; they and the clock have different sources'
    return (
        f"images are stamped {before} this machine's clock, so latencies are wrong; for a "
        'recording set use_sim_time to true and play it with --clock, for two machines '
        'synchronise their clocks'
    )


OK, WARN, ERROR = 0, 1, 2
# Durations kept for percentiles: a p99 below the maximum, and a minute of a slow camera.
KEPT = 300

# Every value and its meaning; docs/node.md has this table. Percentiles are of the last KEPT
# frames, or of as many as there were with the tasks and settings that hold now.
NODE_VALUES = {
    'state': "of the node's lifecycle: unconfigured, inactive, active",
    'model': 'the model folder',
    'device': 'where the model runs',
    'dtype': 'precision in which the model computes; as configured before it is loaded',
    'backend': 'what runs the model: torch or onnx; empty before it is loaded',
    'tasks': 'tasks that run on every frame',
    'num_inference_steps': 'denoising steps',
    'processing_resolution': 'width and height of the model input, pixels',
    'received': 'frames received, all cameras',
    'processed': 'frames whose results were published',
    'dropped': 'frames dropped without a fault of their own',
    'failed': 'frames with a fault',
    'waiting': 'frames queued or in work; received = processed + dropped + failed + waiting',
    'processed_hz': 'frames processed per second, over the last 5 s',
    'memory_mb': 'memory of the process, MB',
    'gpu_memory_mb': 'memory of the GPU in use, MB; 0 on the CPU',
    'last_error': 'the last error, empty if there was none',
    'TASK_ms_p50': "of each task: the model's time for it, median, ms",
    'TASK_ms_p99': 'the same, 99 of 100 take less',
    'TASK_latency_ms_p50': "of each task: from the image's stamp to the published result, ms",
    'TASK_latency_ms_p99': 'the same, 99 of 100 take less',
    'model_ms_p50': 'all tasks of a frame together, ms',
    'model_ms_p99': 'the same, 99 of 100 take less',
    'overhead_ms_p50': 'from the start of a frame to its published results, without the model, ms',
    'overhead_ms_p99': 'the same, 99 of 100 take less',
}
CAMERA_VALUES = {
    'topic': 'topic of its images',
    'received': 'frames received since the node was configured',
    'processed': 'frames whose results were published',
    'dropped': 'frames dropped, the sum of the next four',
    'dropped_replaced': 'because a newer one was received while they waited',
    'dropped_overflowed': 'because the queue was full (policy all)',
    'dropped_idle': 'because no output had a subscriber',
    'dropped_stopped': 'because the node was deactivated, time jumped or categories changed',
    'failed': 'frames with a fault',
    'waiting': 'frames queued or in work',
    'received_hz': 'frames received per second, over the last 5 s',
    'processed_hz': 'frames processed per second, over the last 5 s',
    'lost': 'images lost by the middleware',
    'publishers': 'publishers of images',
    'silence_s': 'seconds without an image, 0 while they arrive',
    'camera_info': 'exact: of the same stamp; latest: of another stamp; none: not received',
    'gravity': 'of clouds, scans and depth.metric height: where its direction is from, '
    'points.gravity, tf or normals',
    'points': 'points clicked',
    'fit_points': 'of depth.metric aligned and height: references in the last fit',
    'fit_inliers': 'share of them that are inliers',
    'fit_residual': 'root mean square of the relative errors of those',
    'fit_problem': 'why there is no metric depth, empty if there is',
    'cloud_kept': 'points of the last cloud, or of the scan where there is no cloud',
    'cloud_FILTER': 'of stride, unknown (depth), range, edge, ground, classes, voxel: points that '
    'it dropped, in this order; with cloud_kept they add up to the pixels',
    'cloud_ground_height': 'height of the camera above the floor that was found, metres',
    'failed_KIND': 'of each kind of fault: frames that failed of it',
}


@dataclass(frozen=True)
class Status:
    """One diagnostic_msgs/DiagnosticStatus.

    Attributes:
        name: what it is about.
        level: OK, WARN or ERROR.
        message: one sentence.
        values: by name, see NODE_VALUES and CAMERA_VALUES.
    """

    name: str
    level: int
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class CameraReport:
    """State of one camera.

    Attributes:
        name: of the camera, '' where there is only one.
        counts: of its frames.
        silent: the watchdog's explanation, '' while images arrive.
        lost: images lost by the middleware since the last report.
        failed: frames that failed since the last report.
        processed: frames that were processed since the last report.
        problem: why there is no metric depth although it is set, '' if there is none.
        values: those of CAMERA_VALUES that are not counts of frames.
    """

    name: str
    counts: Counts
    silent: str
    lost: int
    failed: int
    processed: int
    problem: str
    values: dict[str, Any]


@dataclass(frozen=True)
class NodeReport:
    """State of the node.

    Attributes:
        node: its full name.
        state: of its lifecycle.
        error: why the node cannot work, '' if it can.
        warning: what somebody should correct, '' if nothing.
        idle: topics of which one needs a subscriber, '' while the node works.
        mismatches: topics with incompatible QoS, and the policy.
        values: those of NODE_VALUES that are not counts of frames.
        cameras: none before the node is configured.
        loading: progress of loading the model, '' while it is not loaded.
    """

    node: str
    state: str
    error: str
    idle: str
    mismatches: dict[str, str]
    values: dict[str, Any]
    cameras: list[CameraReport] = field(default_factory=list)
    warning: str = ''
    loading: str = ''


def statuses(report: NodeReport) -> list[Status]:
    """The status of the node, and one of each camera."""
    counts = [camera.counts for camera in report.cameras]
    names = ('received', 'processed', 'dropped', 'failed', 'waiting')
    totals = {name: sum(getattr(count, name) for count in counts) for name in names}
    level, message = OK, report.state
    if report.error:
        level, message = ERROR, report.error
    elif report.mismatches:
        policies = [f'{policy.lower()} of {topic}' for topic, policy in report.mismatches.items()]
        level, message = WARN, f'QoS is incompatible: {"; ".join(sorted(policies))}'
    elif report.warning:
        level, message = WARN, report.warning
    elif report.loading:
        message = f'loading: {report.loading}'
    elif report.state == 'active' and report.idle:
        message = f'idle: no subscriber of {report.idle}'
    values = {**report.values, 'state': report.state, **totals}
    return [
        Status(report.node, level, message, _texts(values)),
        *(_camera(report.node, camera) for camera in report.cameras),
    ]


def _camera(node: str, camera: CameraReport) -> Status:
    counts = camera.counts
    reasons = ('replaced', 'overflowed', 'idle', 'stopped')
    values = {
        **{name: getattr(counts, name) for name in ('received', 'processed', 'dropped')},
        **{f'dropped_{reason}': getattr(counts, reason) for reason in reasons},
        **{name: getattr(counts, name) for name in ('failed', 'waiting')},
        'lost': camera.values.get('lost', 0),
    }
    level, message = OK, 'images arrive'
    if camera.failed and not camera.processed:
        level, message = ERROR, 'every image fails; see the log and failed_KIND'
    elif camera.silent:
        level, message = WARN, camera.silent
    elif camera.failed:
        level, message = WARN, f'{camera.failed} images failed; see failed_KIND'
    elif camera.lost:
        level, message = WARN, f'the middleware lost {camera.lost} images'
    elif camera.problem:
        level, message = WARN, f'no metric depth: {camera.problem}'
    elif not counts.received:
        message = 'no image yet'
    name = f'{node}: camera {camera.name}' if camera.name else f'{node}: camera'
    return Status(name, level, message, _texts({**values, **camera.values}))


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: number(value) if isinstance(value, float) else str(value)
        for name, value in values.items()
    }


def number(value: float) -> str:
    """Three digits of a number, and all of those before the point: 0.0123, 12.3, 1230."""
    return f'{value:.0f}' if 999.5 <= abs(value) < float('inf') else f'{value:.3g}'


class Timings:
    """Percentiles of the last durations of each kind; safe between threads."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        """Store one duration."""
        with self._lock:
            self._kept.setdefault(kind, deque(maxlen=KEPT)).append(seconds)

    def clear(self) -> None:
        """Drop all durations."""
        with self._lock:
            self._kept.clear()

    def milliseconds(self) -> dict[str, tuple[float, float]]:
        """(p50, p99) of each kind in milliseconds, in alphabetical order."""
        with self._lock:
            seconds_by_kind = {kind: list(seconds) for kind, seconds in sorted(self._kept.items())}
        return {
            kind: tuple(float(p) for p in np.percentile(seconds, (50, 99)) * 1000)  # type: ignore[misc]
            for kind, seconds in seconds_by_kind.items()
        }


class Rate:
    """Increase of a counter per second, over a window of the last few seconds."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._counts: deque[tuple[float, int]] = deque()

    def update(self, now: float, count: int) -> float:
        """Store a counter at a steady time, seconds, and return its rate, 1/s."""
        self._counts.append((now, count))
        while len(self._counts) > 2 and now - self._counts[0][0] > self._window:
            self._counts.popleft()
        first, before = self._counts[0]
        return (count - before) / (now - first) if now > first else 0.0
