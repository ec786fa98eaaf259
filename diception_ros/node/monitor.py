# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thread that publishes /diagnostics once a second and watches the cameras.

A thread rather than a timer: it goes on while /clock pauses, and while the executor configures.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.utilities import get_rmw_implementation_identifier

from diception_ros.node import diagnostics
from diception_ros.node.diagnostics import Rate, Watchdog, explain, loss_hint
from diception_ros.node.frame_queue import Counts

if TYPE_CHECKING:
    from diception_ros.node.camera_input import CameraInput
    from diception_ros.node.diagnostics import Log
    from diception_ros.node.frame_queue import FrameQueue
    from diception_ros.node.parameters import Parameters
    from diception_ros.node.worker import Worker
    from diception_ros.perception.predictor import Predictor

QOS_DEPTH = 10
# Reports in a row with another node of this name, before it is reported.
NAMESAKE_REPORTS = 3


class Monitored(Protocol):
    """What the monitor reads of the node; `PerceptionNode` documents each attribute."""

    state: str
    error: str
    loading: str
    log: Log
    parameters: Parameters
    cameras: dict[str, CameraInput]
    queue: FrameQueue | None
    worker: Worker | None
    predictor: Predictor | None
    mismatches: dict[str, str]

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: Any) -> Any: ...
    def get_fully_qualified_name(self) -> str: ...
    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]: ...
    def get_clock(self) -> Any: ...


class Monitor:
    """Publishes diagnostics and watches the cameras."""

    def __init__(self, node: Monitored) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', QOS_DEPTH)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='monitor', daemon=True)
        self._loss_hint = loss_hint(get_rmw_implementation_identifier(), dict(os.environ))
        self._watches: dict[str, _Watch] = {}
        self._rate = Rate()
        self._namesake_reports = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; after this the publisher is no longer used."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def watch(self) -> None:
        """Expect images from now on."""
        limit = self._node.parameters.node_settings.watchdog_s
        self._watches = {name: _Watch(limit) for name in self._node.cameras}

    def report(self) -> diagnostics.NodeReport:
        """The present state of the node."""
        node = self._node
        chosen, perception = node.parameters.node_settings, node.parameters.perception
        queue, worker, predictor = node.queue, node.worker, node.predictor
        values: dict[str, Any] = {
            'model': chosen.model,
            'device': chosen.compute.device,
            'dtype': predictor.dtype if predictor else chosen.compute.dtype,
            'backend': predictor.backend.name if predictor else '',
            'tasks': ', '.join(perception.task_names),
            'num_inference_steps': perception.predict.num_inference_steps,
            'processing_resolution': perception.predict.processing_resolution
            or (predictor.resolution if predictor else 0),
            'memory_mb': resident_mb(),
            'gpu_memory_mb': gpu_mb(chosen.compute.device) if predictor else 0.0,
            'last_error': node.log.last_error,
        }
        cameras = []
        if queue is not None and worker is not None:
            queue.refresh()  # while the worker is busy, too
            counts = queue.counts()
            now = time.monotonic()
            total = sum(count.processed for count in counts.values())
            values['processed_hz'] = self._rate.update(now, total)
            for kind, (p50, p99) in worker.timings.milliseconds().items():
                name = f'{kind.replace(" ", "_")}_ms'
                values[f'{name}_p50'], values[f'{name}_p99'] = p50, p99
            for name, camera in list(node.cameras.items()):
                watch = self._watches.setdefault(name, _Watch(chosen.watchdog_s))
                cameras.append(self._camera(camera, counts[name], watch, _values_of(worker, name)))
        return diagnostics.NodeReport(
            node.get_fully_qualified_name(),
            node.state,
            node.error or (worker.fault if worker else ''),
            worker.idle if worker else '',
            dict(node.mismatches),
            values,
            cameras,
            self._namesake(),
            node.loading,
        )

    def _namesake(self) -> str:
        """What is wrong if another node has the name of this one; '' if none has it.

        Seen in one report alone it may be a node that is just ending.
        """
        own = self._node.get_fully_qualified_name()
        names = [
            f'{namespace.rstrip("/")}/{name}'
            for name, namespace in self._node.get_node_names_and_namespaces()
        ]
        self._namesake_reports = self._namesake_reports + 1 if names.count(own) > 1 else 0
        if self._namesake_reports < NAMESAKE_REPORTS:
            return ''
        text = (
            f'{names.count(own)} nodes are named {own} in this ROS_DOMAIN_ID, so their topics mix '
            'and parameters and services reach either; end one, or give it a name of its own: '
            '--ros-args -r __node:=NAME. (A node that was killed is listed for up to 20 s.)'
        )
        self._node.log.warning_once('namesake', text)
        return text

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + diagnostics.PERIOD, time.monotonic())
            try:
                self._publisher.publish(self._message())
            except Exception as error:  # the next report may succeed
                if not self._ended.is_set():
                    self._node.log.error_once('monitor', f'diagnostics failed: {error!r}')

    def _camera(
        self, camera: CameraInput, counts: Counts, watch: _Watch, more: Mapping[str, Any]
    ) -> diagnostics.CameraReport:
        log, now = self._node.log, time.monotonic()
        active = self._node.state == 'active'
        silence = watch.dog.update(now, counts.received, active)
        publishers = camera.publishers(camera.topic) if active else []
        explanation = ''
        if silence.seconds:
            other_topics = [] if publishers else camera.other_image_topics()
            subscribed = camera.subscribed(self._loss_hint)
            explanation = explain(subscribed, publishers, silence.seconds, other_topics)
        if silence.began:
            log.warning(f'camera {camera.name}: {explanation}' if camera.name else explanation)
        if silence.ended:
            log.info(f'images arrive again on {camera.topic}')
        before, watch.counts = watch.counts, counts
        lost, watch.lost = camera.images.lost - watch.lost, camera.images.lost
        if lost > 0:
            log.warning_once(
                f'lost {camera.name}',
                f'the middleware lost {lost} images on {camera.topic}. {self._loss_hint}'.rstrip(),
            )
        values = {
            'topic': camera.topic,
            'received_hz': watch.received.update(now, counts.received),
            'processed_hz': watch.processed.update(now, counts.processed),
            'lost': camera.images.lost,
            'publishers': len(publishers),
            'silence_s': silence.seconds,
            'points': camera.points.count,
            **more,
        }
        return diagnostics.CameraReport(
            camera.name,
            counts,
            explanation,
            max(0, lost),
            counts.failed - before.failed,
            counts.processed - before.processed,
            str(more.get('fit_problem', '')),
            values,
        )

    def _message(self) -> DiagnosticArray:
        array = DiagnosticArray()
        # Before the values are read: none is older than the stamp.
        array.header.stamp = self._node.get_clock().now().to_msg()
        report = self.report()
        device = str(report.values['device'])
        for status in diagnostics.statuses(report):
            array.status.append(
                DiagnosticStatus(
                    level=bytes([status.level]),
                    name=status.name,
                    message=status.message,
                    hardware_id=device,
                    values=[KeyValue(key=k, value=v) for k, v in status.values.items()],
                )
            )
        return array


def _values_of(worker: Worker, camera: str) -> dict[str, Any]:
    """The values of a camera's diagnostics that the worker has."""
    fit = worker.fits[camera]
    values: dict[str, Any] = {'camera_info': worker.info_matches[camera]}
    if worker.gravity[camera]:
        values['gravity'] = worker.gravity[camera]
    if fit is not None:
        values |= {
            'fit_points': fit.points,
            'fit_inliers': fit.inliers,
            'fit_residual': fit.residual,
        }
    if fit is not None or worker.depth_problems[camera]:
        values['fit_problem'] = worker.depth_problems[camera]
    values |= {f'cloud_{name}': number for name, number in worker.clouds[camera].items()}
    failed = dict(worker.failed[camera])  # a copy, since the worker goes on
    return {**values, **{f'failed_{kind}': n for kind, n in failed.items()}}


class _Watch:
    """State of a camera between two reports."""

    def __init__(self, limit: float) -> None:
        self.dog = Watchdog(limit, time.monotonic())
        self.received, self.processed = Rate(), Rate()
        self.counts = Counts()
        self.lost = 0


def resident_mb() -> float:
    """Memory of this process, MB (1e6 bytes); 0 where the system does not report it."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def gpu_mb(device: str) -> float:
    """Memory of tensors on a GPU, MB; 0 on the CPU."""
    if not device.startswith('cuda'):
        return 0.0
    import torch

    return float(torch.cuda.memory_allocated(device)) / 1e6
