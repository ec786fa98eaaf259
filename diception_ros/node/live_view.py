# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception view` of a running node: its images, results, diagnostics and parameters.

Callbacks only store. One thread turns messages into snapshots and talks to the node, so that
neither the page nor the executor waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
import contextlib
from dataclasses import replace
import functools
import math
import os
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy

from diception_ros import tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core.labels import Label, MetricDepth
from diception_ros.core.prompt import Point, check_points
from diception_ros.core.settings import Declared
from diception_ros.messages import MessageError, camera_info, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.messages.outputs import declared as outputs_of
from diception_ros.messages.outputs import to_label
from diception_ros.node import process
from diception_ros.node import settings as node_settings
from diception_ros.node.client import RemoteNode, offered_by, requested, ros_context
from diception_ros.node.diagnostics import Log
from diception_ros.node.publishers import RosTypes, find
from diception_ros.system.files import error_text
from diception_ros.tasks import Task
from diception_ros.viewer.session import APART, Viewer

# Frames whose messages are kept until they are complete; a node publishes those of one at once.
KEPT = 8
# Images that wait for their results: a model of 3 s a frame and a camera of 10 Hz.
IMAGES = 30
# Seconds of latency from which the stamps are of another clock.
CLOCK_S = 600.0
# Seconds between looks at the node's parameters, which others change, too.
LOOK_S = 2.0
# Seconds without a further message after which those of a frame count as complete.
QUIET_S = 0.03
# Seconds within which the node's diagnostics, once a second, must name its cameras.
PATIENCE_S = 15.0


class NodeViewer(Viewer):
    """Shows a running node of this package, one camera at a time.

    Args:
        name: its full name.

    Raises:
        TimeoutError: there is no such node, or it has no camera yet.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._types = RosTypes()
        self._values: dict[str, Any] = {}
        self._descriptors: list[str] = []
        self._cameras: dict[str, dict[str, str]] = {}
        self._totals: dict[str, str] = {}
        self._images: deque[tuple[int, Any]] = deque(maxlen=IMAGES)
        self._frames: dict[int, dict[str, Any]] = {}
        self._labels: dict[str, Label] = {}
        self._subscriptions: dict[str, Any] = {}
        self._images_from: Any = None
        # Folder and task of the adapters that were seen, by task.
        self._adapters: dict[str, tuple[str, Task[Any]]] = {}
        self._unread: list[str] = []
        self._points_of: dict[str, tuple[Point, ...]] = {}
        self._wanted: deque[Callable[[], None]] = deque()
        self._arrived_s, self._done_s = 0.0, 0.0
        self._shown: tuple[int, int] = (0, 0)
        self._changed = threading.Condition()
        self._closed = False
        try:
            self._open(name)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> None:
        self._stack.enter_context(ros_context())
        self._node = rclpy.create_node(f'diception_view_{os.getpid()}', enable_rosout=False)
        self._stack.callback(self._node.destroy_node)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._stack.callback(self._executor.shutdown)
        self._ended = threading.Event()
        self._guard = self._node.create_guard_condition(lambda: None)
        spinning = threading.Thread(target=self._spin, daemon=True, name='executor')
        spinning.start()
        self._stack.callback(self._end, spinning)
        self._remote = RemoteNode(self._node, name)
        self._subscribe(
            '/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', self._on_diagnostics
        )
        self._remote.wait()
        self._known = self._remote.parameter_names()
        self._look()
        with self._changed:
            opened = self._changed.wait_for(
                lambda: any(camera.get('topic') for camera in self._cameras.values()), PATIENCE_S
            )
        if not opened:
            raise TimeoutError(
                f'{self._remote.name} names no camera in /diagnostics within {PATIENCE_S:g} s; is '
                'it configured and active? `diception lifecycle` shows and changes its state'
            )
        self._camera = next(name for name, about in self._cameras.items() if about.get('topic'))
        self.camera = self._camera
        self.cameras = [*self._cameras] if len(self._cameras) > 1 else ()
        self.title = f'{self._remote.name}: {self._cameras[self._camera]["topic"]}'
        self._worker = threading.Thread(target=self._run, daemon=True, name='viewer')
        self._worker.start()

    def _spin(self) -> None:
        log = Log(self._node.get_logger())
        with contextlib.suppress(ExternalShutdownException):
            process.spin(self._executor, self._ended, log, rclpy.ok)

    def _end(self, spinning: threading.Thread) -> None:
        self._ended.set()
        self._guard.trigger()
        spinning.join(timeout=5)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if hasattr(self, '_worker'):
            self._worker.join(timeout=10)
        self._stack.close()

    # ---- what is wanted -------------------------------------------------------------------------

    def available_tasks(self) -> list[str]:
        return [*tasks.names(), *self._adapters]

    def tasks(self) -> list[str]:
        on = self._values.get('adapters') or ()
        return [
            *(self._values.get('tasks') or ()),
            *(name for name, (folder, _) in self._adapters.items() if folder in on),
        ]

    def set_active_tasks(self, names: Sequence[str]) -> None:
        if not names:
            raise ValueError('a node needs at least one task')
        wanted: dict[str, Any] = {'tasks': [name for name in tasks.names() if name in names]}
        on = list(self._values.get('adapters') or ())
        known = {folder: name for name, (folder, _) in self._adapters.items()}
        folders = [folder for folder in on if known.get(folder, names[0]) in names]
        folders += [folder for folder, name in known.items() if name in names and folder not in on]
        if folders != on:
            wanted['adapters'] = folders
        self._set(wanted)

    def task_for_points(self) -> str:
        return next((name for name in tasks.names() if tasks.get(name).takes_points), '')

    def declared(self) -> list[Declared]:
        fixed = (*APART, *node_settings.FIXED, *node_settings.READ_ONLY)
        return [item for item in node_settings.declared() if item.name not in fixed]

    def values(self) -> Mapping[str, Any]:
        return self._values

    def set_value(self, name: str, value: Any) -> None:
        self._set({name: list(value) if isinstance(value, tuple) else value})

    def set_camera(self, name: str) -> None:
        if name not in self._cameras:
            raise ValueError(f'no camera {name!r}; expected one of {", ".join(self._cameras)}')
        self._points_of[self.camera] = self.points
        self.camera, self.points = name, self._points_of.get(name, ())
        self._do(lambda: self._show_camera(name))

    def set_points(self, points: tuple[Point, ...]) -> None:
        check_points(points)
        before, self.points = self.points, points
        camera = self.camera

        def send() -> None:
            more = points[len(before) :]
            if points[: len(before)] != before:
                self._remote.clear_points(camera)
                more = points
            for point in more:
                accepted, words = self._remote.click(point, camera)
                if not accepted:
                    raise ValueError(words)

        self._do(send)

    def _set(self, values: Mapping[str, Any]) -> None:
        # The page sees the new value at once; what the node refuses is undone by the next look.
        self._values = {**self._values, **values}

        def send() -> None:
            try:
                self._remote.set(values)
            finally:
                self._look()

        self._do(send)

    def _do(self, action: Callable[[], None]) -> None:
        with self._changed:
            self._wanted.append(action)
            self._changed.notify_all()

    def _look(self) -> None:
        """Read the parameters, and subscribe to the results of the tasks that are on."""
        known = [item.name for item in node_settings.declared() if item.name in self._known]
        self._values = self._remote.get(known)
        self._read_adapters()
        wanted = {}
        for name in self.tasks():
            task = self._task(name)
            kinds: list[type[Label] | None] = [None]
            if name == 'depth' and self._values.get('depth.metric') != 'off':
                kinds.append(MetricDepth)
            for kind in kinds:
                for output in outputs_of(task, self._types, kind):
                    if not (output.view or output.latched):
                        wanted[output.topic] = output.kind
        for topic in set(self._subscriptions) - set(wanted):
            self._node.destroy_subscription(self._subscriptions.pop(topic))
        if not hasattr(self, '_camera'):
            return
        prefix = (
            f'{self._remote.name}/{self._camera}/' if self._camera else f'{self._remote.name}/'
        )
        for topic, msgtype in wanted.items():
            if topic not in self._subscriptions:
                self._subscriptions[topic] = self._subscribe(
                    prefix + topic, msgtype, functools.partial(self._on_result, topic)
                )
        self._labels = {name: self._labels[name] for name in self.tasks() if name in self._labels}

    def _read_adapters(self) -> None:
        """Read the cards of the node's adapters, which are on this machine or are not shown."""
        read = {folder for folder, _ in self._adapters.values()}
        self._unread = []
        for folder in self._values.get('adapters') or ():
            if folder and folder not in read:
                try:
                    card = cards.read(folder)
                    task = tasks.adapter_task(card)
                    self._adapters = {**self._adapters, card.name: (folder, task)}
                except (OSError, ValueError):
                    self._unread.append(folder)

    def _task(self, name: str) -> Task[Any]:
        return self._adapters[name][1] if name in self._adapters else tasks.get(name)

    def _show_camera(self, name: str) -> None:
        """Subscribe to another camera."""
        for topic in [*self._subscriptions]:
            self._node.destroy_subscription(self._subscriptions.pop(topic))
        if self._images_from is not None:
            self._node.destroy_subscription(self._images_from)
        with self._changed:
            self._camera, self._shown = name, (0, 0)
            self._images.clear()
            self._frames.clear()
            self._labels = {}
        topic = self._cameras[name].get('topic', '')
        self.title = f'{self._remote.name}: {topic}'
        image_type = 'CompressedImage' if topic.endswith('/compressed') else 'Image'
        self._images_from = self._subscribe(topic, f'sensor_msgs/msg/{image_type}', self._on_image)
        self._look()
        self._show(labels={}, metric_depth=None, caption=f'waiting for an image of {topic}')

    def _subscribe(self, topic: str, msgtype: str, callback: Callable[[Any], None]) -> Any:
        offers = self._node.get_publishers_info_by_topic(topic)
        if offers:
            qos = requested([offered_by(offer.qos_profile) for offer in offers], KEPT)
        else:
            qos = QoSProfile(depth=KEPT, reliability=ReliabilityPolicy.BEST_EFFORT)
        return self._node.create_subscription(find(msgtype), topic, callback, qos)

    # ---- callbacks ------------------------------------------------------------------------------

    def _on_image(self, message: Any) -> None:
        with self._changed:
            self._images.append((stamp_of(message.header), message))

    def _on_result(self, topic: str, message: Any) -> None:
        with self._changed:
            stamp_ns = stamp_of(message.header)
            self._frames.setdefault(stamp_ns, {})[topic] = message
            while len(self._frames) > KEPT:
                del self._frames[next(iter(self._frames))]
            self._arrived_s = time.monotonic()
            self._changed.notify_all()

    def _on_diagnostics(self, message: Any) -> None:
        own = self._remote.name.strip('/')
        with self._changed:
            for status in message.status:
                name, _, rest = status.name.partition(': ')
                if name.strip('/') != own:
                    continue
                values = {pair.key: pair.value for pair in status.values}
                if rest.startswith('camera'):
                    self._cameras[rest.removeprefix('camera').strip()] = values
                elif not rest:
                    self._totals = values
            self._changed.notify_all()

    # ---- the thread of this viewer --------------------------------------------------------------

    def _run(self) -> None:
        self._attempt(lambda: self._show_camera(self._camera))
        looked = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._wanted or self._newest() is not None, LOOK_S
                )
                if self._closed:
                    return
                action = self._wanted.popleft() if self._wanted else None
            if action is not None:
                self._attempt(action)
            elif time.monotonic() - looked > LOOK_S:
                self._attempt(self._look)
                looked = time.monotonic()
            quiet = QUIET_S - (time.monotonic() - self._arrived_s)
            if quiet > 0:
                time.sleep(quiet)
            self._attempt(self._update)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do something with the node, and show why it failed."""
        try:
            action()
        except (OSError, ValueError, RuntimeError, rclpy.exceptions.InvalidHandle) as error:
            if not self._closed:
                self._show(error=error_text(error) or type(error).__name__)
        else:
            if self.snapshot.error and action != self._update:
                self._show(error='')

    def _newest(self) -> tuple[int, int] | None:
        """Stamp and number of messages of the newest frame; None where it is shown already."""
        if not self._frames:
            return None
        stamp_ns = max(self._frames)
        newest = stamp_ns, len(self._frames[stamp_ns])
        return newest if newest != self._shown else None

    def _update(self) -> None:
        """Show the newest frame with results."""
        with self._changed:
            newest = self._newest()
            if newest is None:
                return
            self._shown = newest
            messages = dict(self._frames[newest[0]])
            image = next((item for stamp, item in self._images if stamp == newest[0]), None)
        if image is None:
            return  # the next frame's may have come
        rgb = image_messages.rgb_from(image)
        size = rgb.shape[0], rgb.shape[1]
        messages['size'] = size
        metric = None
        categories = self._values.get('semantic.categories') or ()
        for name in self.tasks():
            label = to_label(self._task(name), messages, categories)
            if label is not None:
                self._labels[name] = label
        if 'depth/image' in messages:
            metric = MetricDepth(image_messages.array_from(messages['depth/image']))
        infos = [item for topic, item in messages.items() if topic.endswith('/camera_info')]
        pinhole = None
        with contextlib.suppress(MessageError):
            pinhole = camera_info.pinhole(infos[0], size)[0] if infos else None
        self._show(
            image=rgb, caption=f'stamp {newest[0] / 1e9:.3f} s', labels=dict(self._labels),
            metric_depth=metric, intrinsics=pinhole, points=self.points,
            model_ms=self._number('model_ms_p50'), latency_ms=self._latency(),
            dropped=int(self._number('dropped', 0)),
            notes=self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        notes = [
            f'the task of the adapter {folder} is not shown: this machine has no such folder'
            for folder in self._unread
        ]
        if self._totals.get('last_error'):
            notes.append(f'last error of the node: {self._totals["last_error"]}')
        return tuple(notes)

    def _number(self, name: str, default: float = math.nan) -> float:
        try:
            return float(self._totals.get(name, default))
        except ValueError:
            return default

    def _latency(self) -> float:
        """Of the slowest task, from the stamp of an image to the published result."""
        latencies = [self._number(f'{name}_latency_ms_p50') for name in self.tasks()]
        # With stamps of a recording or of another clock there is no latency.
        return max((value for value in latencies if 0 <= value < 1000 * CLOCK_S), default=math.nan)

    def _show(self, **more: Any) -> None:
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, drawn={}, **more)
