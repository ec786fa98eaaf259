# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the node tells about itself on /diagnostics. Knows no ROS but the names of the levels.

WARN: answers are missing or worse than they could be, and somebody can do something about it.
ERROR: there are no answers at all although there should be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
import threading
from typing import Any

import numpy as np

from diception_ros.node.frame_queue import Counts

OK, WARN, ERROR = 0, 1, 2

# Every value that is told, and what it means; docs/node.md has this table.
NODE_VALUES = {
    'state': "of the node's life: unconfigured, inactive, active",
    'model': 'the model folder',
    'device': 'where the model runs',
    'dtype': 'precision of the model',
    'tasks': 'what is asked about every frame',
    'num_inference_steps': 'denoising steps',
    'processing_resolution': "side of the model's square, pixels",
    'received': 'frames that came, all cameras',
    'processed': 'frames that were answered',
    'dropped': 'frames that were left out, nothing being wrong with them',
    'failed': 'frames with which something was wrong',
    'waiting': 'frames in a slot or in work; received = processed + dropped + failed + waiting',
    'processed_hz': 'frames answered per second, over the last 5 s',
    'memory_mb': 'memory of the process, MB',
    'gpu_memory_mb': 'memory of the GPU in use, MB; nothing on the CPU',
    'last_error': 'the last error, empty if there was none',
    'TASK_ms_p50': "of each task: the model's time for it, median of the last 300, ms",
    'TASK_ms_p99': 'the same, 99 of 100 take less',
    'TASK_latency_ms_p50': "of each task: from the image's stamp until its answer is out, ms",
    'TASK_latency_ms_p99': 'the same, 99 of 100 take less',
    'model_ms_p50': 'all tasks of a frame together, ms',
    'model_ms_p99': 'the same, 99 of 100 take less',
    'overhead_ms_p50': 'from when the image came until its answers were published, less waiting '
    'and the model, ms',
    'overhead_ms_p99': 'the same, 99 of 100 take less',
}
CAMERA_VALUES = {
    'topic': 'where its pictures come from',
    'received': 'frames that came since the node was configured',
    'processed': 'frames that were answered',
    'dropped': 'frames that were left out, the sum of the next four',
    'dropped_replaced': 'because a newer one came while they waited',
    'dropped_overflowed': 'because the queue was full (policy all)',
    'dropped_idle': 'because nobody listened to an answer',
    'dropped_stopped': 'because the node was deactivated or time jumped',
    'failed': 'frames with which something was wrong',
    'waiting': 'in a slot or in work',
    'received_hz': 'frames that came per second, over the last 5 s',
    'processed_hz': 'frames answered per second, over the last 5 s',
    'lost': 'pictures that the middleware lost before they came here',
    'publishers': 'of pictures',
    'silence_s': 'seconds without a picture, 0 while they come',
    'camera_info': 'exact: of the same stamp; latest: another stamp; none: there is none',
    'points': 'points clicked',
    'fit_points': 'of depth.metric aligned: references in the last fit',
    'fit_inliers': 'share of them that agree',
    'fit_residual': 'root mean square of the relative errors of those',
    'fit_problem': 'why the last fit was not used',
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
    """What is known about one camera.

    Attributes:
        name: of the camera, '' where there is only one.
        counts: of its frames.
        silent: what the watchdog says, '' while pictures come.
        lost: pictures that the middleware lost since the last report.
        failed: frames that failed since the last report.
        processed: frames that were answered since the last report.
        problem: why there is no metric depth although it is wanted, '' if all is well.
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
    """What is known about the node.

    Attributes:
        node: its full name.
        state: of its life.
        error: why it cannot be configured, '' if all is well.
        idle: topics that somebody would have to listen to, '' while the node works.
        mismatches: topics whose QoS does not fit, with the policy.
        values: those of NODE_VALUES that are not counts of frames.
        cameras: there are none before it is configured.
    """

    node: str
    state: str
    error: str
    idle: str
    mismatches: dict[str, str]
    values: dict[str, Any]
    cameras: list[CameraReport] = field(default_factory=list)


def statuses(report: NodeReport) -> list[Status]:
    """The node's status, and one for each camera."""
    counts = [camera.counts for camera in report.cameras]
    names = ('received', 'processed', 'dropped', 'failed', 'waiting')
    values = {name: sum(getattr(one, name) for one in counts) for name in names}
    level, message = OK, report.state
    if report.error:
        level, message = ERROR, report.error
    elif report.mismatches:
        level, message = (
            WARN,
            'QoS does not fit: '
            + '; '.join(
                f'{policy.lower()} of {topic}'
                for topic, policy in sorted(report.mismatches.items())
            ),
        )
    elif report.state == 'active' and report.idle:
        message = f'idle: nobody listens to {report.idle}'
    whole = {**report.values, 'state': report.state, **values}
    return [
        Status(report.node, level, message, _texts(whole)),
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
    level, message = OK, 'pictures come'
    if camera.failed and not camera.processed:
        level, message = ERROR, 'every picture fails; see the log and failed_KIND'
    elif camera.silent:
        level, message = WARN, camera.silent
    elif camera.failed:
        level, message = WARN, f'{camera.failed} pictures failed; see failed_KIND'
    elif camera.lost:
        level, message = WARN, f'the middleware lost {camera.lost} pictures'
    elif camera.problem:
        level, message = WARN, f'no metric depth: {camera.problem}'
    elif not counts.received:
        message = 'no picture yet'
    name = f'{node}: camera {camera.name}' if camera.name else f'{node}: camera'
    return Status(name, level, message, _texts({**values, **camera.values}))


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: f'{value:.3g}' if isinstance(value, float) else str(value)
        for name, value in values.items()
    }


# How long things took lately, and how often they happened.


# Enough for a p99 that is no maximum, and a minute of a slow camera.
KEPT = 300


class Timings:
    """Percentiles of the last seconds of each kind; may be shared between threads."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        """Note how long one took."""
        with self._lock:
            self._kept.setdefault(kind, deque(maxlen=KEPT)).append(seconds)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()

    def milliseconds(self) -> dict[str, tuple[float, float]]:
        """(p50, p99) of each kind in milliseconds, in alphabetical order."""
        with self._lock:
            kept = {kind: list(seconds) for kind, seconds in sorted(self._kept.items())}
        return {
            kind: tuple(float(p) for p in np.percentile(seconds, (50, 99)) * 1000)  # type: ignore[misc]
            for kind, seconds in kept.items()
        }


class Rate:
    """How often per second a counter rises, over the last few seconds.

    Args:
        window: seconds that are looked back.
    """

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        """Note a counter and say its rate, 1/s.

        Args:
            now: steady time, seconds.
            count: of all so far.
        """
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > self._window:
            self._seen.popleft()
        before, then = self._seen[0]
        return (count - then) / (now - before) if now > before else 0.0
