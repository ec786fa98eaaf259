# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that once a second says how the node is.

A thread rather than a timer: it goes on while /clock pauses, and while the executor configures.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.utilities import get_rmw_implementation_identifier

from diception_ros.node import diagnostics
from diception_ros.node.diagnostics import Rate
from diception_ros.node.frame_queue import Counts
from diception_ros.node.watchdog import Watchdog, cure, explain
from diception_ros.node.worker import about

# How much memory the node has, and giving it back.


def resident_mb() -> float:
    """Memory of this process, MB (1e6 bytes); 0 where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def gpu_mb(device: str) -> float:
    """Memory that tensors have on a GPU, MB; 0 on the CPU."""
    if not device.startswith('cuda'):
        return 0.0
    import torch

    return float(torch.cuda.memory_allocated(device)) / 1e6


def release() -> None:
    """Give back what nobody refers to any more, on the GPU too."""
    gc.collect()
    torch = sys.modules.get('torch')  # if nothing was loaded, it is not imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


if TYPE_CHECKING:
    from diception_ros.node.camera_input import Camera
    from diception_ros.node.node import PerceptionNode

PERIOD = 1.0
DEPTH = 10


class Monitor:
    """Publishes diagnostics and watches the cameras.

    Args:
        node: that is told about.
    """

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', DEPTH)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='monitor', daemon=True)
        self._cure = cure(get_rmw_implementation_identifier(), dict(os.environ))
        self._lost = 0
        self._watches: dict[str, _Watch] = {}
        self._rate = Rate()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; after this the publisher is not used any more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def watch(self) -> None:
        """Expect pictures from now on."""
        limit = self._node.parameters.node_settings.watchdog_s
        self._watches = {name: _Watch(limit) for name in self._node.cameras}

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD, time.monotonic())
            self._publisher.publish(self._message(self.report()))

    def report(self) -> diagnostics.NodeReport:
        """How the node is now."""
        node = self._node
        chosen, perception = node.parameters.node_settings, node.parameters.perception
        slots, worker, predictor = node.slots, node.worker, node.predictor
        values: dict[str, Any] = {
            'model': chosen.model,
            'device': chosen.compute.device,
            'dtype': chosen.compute.dtype,
            'tasks': ', '.join(perception.asked),
            'num_inference_steps': perception.predict.num_inference_steps,
            'processing_resolution': perception.predict.processing_resolution
            or (predictor.resolution if predictor else 0),
            'memory_mb': resident_mb(),
            'gpu_memory_mb': gpu_mb(chosen.compute.device) if predictor else 0.0,
            'last_error': node.log.last_error,
        }
        cameras = []
        if slots is not None and worker is not None:
            counts = slots.counts()
            now = time.monotonic()
            total = sum(one.processed for one in counts.values())
            values['processed_hz'] = self._rate.at(now, total)
            for kind, (p50, p99) in worker.timings.milliseconds().items():
                name = f'{kind.replace(" ", "_")}_ms'
                values[f'{name}_p50'], values[f'{name}_p99'] = p50, p99
            for name, camera in list(node.cameras.items()):
                watch = self._watches.setdefault(name, _Watch(chosen.watchdog_s))
                more = about(worker, name)
                active = node.state == 'active'
                cameras.append(self._camera(camera, counts[name], watch, now, more, active))
        return diagnostics.NodeReport(
            node.get_fully_qualified_name(),
            node.state,
            node.error,
            worker.idle if worker else '',
            dict(node.mismatches),
            values,
            cameras,
        )

    def _camera(
        self,
        camera: Camera,
        counts: Counts,
        watch: _Watch,
        now: float,
        more: dict[str, Any],
        active: bool,
    ) -> diagnostics.CameraReport:
        log = self._node.log
        silence, new, back = watch.dog.look(now, counts.received, active)
        listening = camera.listening(self._cure)
        publishers = camera.publishers(camera.topic) if active else []
        silent = ''
        if silence:
            elsewhere = [] if publishers else camera.elsewhere()
            silent = explain(listening, publishers, silence, elsewhere)
        if new:
            log.warning(f'camera {camera.name}: {silent}' if camera.name else silent)
        if back:
            log.info(f'pictures come again on {camera.topic}')
        before, watch.counts = watch.counts, counts
        lost, watch.lost = camera.lost - watch.lost, camera.lost
        if lost > 0:
            log.warning_once(
                f'lost {camera.name}',
                f'the middleware lost {lost} pictures on {camera.topic}. {self._cure}'.rstrip(),
            )
        values = {
            'topic': camera.topic,
            'received_hz': watch.received.at(now, counts.received),
            'processed_hz': watch.processed.at(now, counts.processed),
            'lost': camera.lost,
            'publishers': len(publishers),
            'silence_s': silence,
            'points': camera.points.count,
            **more,
        }
        return diagnostics.CameraReport(
            camera.name,
            counts,
            silent,
            max(0, lost),
            counts.failed - before.failed,
            counts.processed - before.processed,
            str(more.get('fit_problem', '')),
            values,
        )

    def _message(self, report: diagnostics.NodeReport) -> DiagnosticArray:
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
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


class _Watch:
    """What is remembered of a camera from one report to the next."""

    def __init__(self, limit: float) -> None:
        self.dog = Watchdog(limit, time.monotonic())
        self.received, self.processed = Rate(), Rate()
        self.counts = Counts()
        self.lost = 0
