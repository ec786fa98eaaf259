# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `perception`: creates, connects and destroys the parts of this package.

Three threads: the executor's runs everything in this file, the worker's processes frames, and the
monitor's publishes diagnostics once a second. A fourth imports and loads the model before the node
is configured, so that the executor answers services meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from dataclasses import replace
import functools
import threading
import traceback
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future

from diception_ros.core.prompt import parse_categories
from diception_ros.doctor import missing_packages
from diception_ros.messages import quoted, shortened
from diception_ros.messages.outputs import DETECTIONS
from diception_ros.node.camera_input import SMALL_DEPTH, CameraInput, TransformInput
from diception_ros.node.diagnostics import Log
from diception_ros.node.frame_queue import FrameQueue
from diception_ros.node.model_loading import Load
from diception_ros.node.monitor import Monitor
from diception_ros.node.parameters import Parameters
from diception_ros.node.publishers import Publishers, RosTypes, find
from diception_ros.node.worker import Worker
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import resources, ros_environment

if TYPE_CHECKING:
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.predictor import Predictor

# Characters of the categories and of a reason in one line of the log.
LONGEST_TEXT = 400


class PerceptionNode(LifecycleNode):  # type: ignore[misc]
    """Subscribes to cameras and publishes the results of the tasks.

    Args:
        stop: set when the node's process should end.
        load: loads the model.

    Attributes:
        state: of the lifecycle: unconfigured, inactive, active, finalized.
        log: the node's log.
        parameters: the present values.
        cameras: by name; none before the node is configured.
        queue: of frames, None before the node is configured.
        worker: processes them, None before the node is configured.
        predictor: the model, None before the node is configured.
        mismatches: topics with incompatible QoS, and the policy.
        error: why the last transition failed, '' if it succeeded.
        loading: progress of loading the model, '' while it is not loaded.
    """

    def __init__(self, stop: threading.Event, load: Load) -> None:
        super().__init__('perception')
        self.state = 'unconfigured'
        self.log = Log(self.get_logger())
        self.cameras: dict[str, CameraInput] = {}
        self.queue: FrameQueue | None = None
        self.worker: Worker | None = None
        self.predictor: Predictor | None = None
        self.mismatches: dict[str, str] = {}
        self.error = self.loading = ''
        self._stop, self._load = stop, load
        self._loaded: Future[Any] | None = None
        self._perceiver: Perceiver | None = None
        self._outputs: Publishers | None = None
        self._categories: Any = None
        self._transforms = TransformInput(self, self.log)
        self.parameters = Parameters(
            self, self._validate_settings, self._apply_settings, self._why_parameters_are_fixed
        )
        for text in self.parameters.unknown:
            self.log.warning(f'parameters: {text}')
        self._monitor = Monitor(self)
        self._defer_configure_until_loaded()
        # The callback exists as long as this handle.
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._on_time_jump,
        )

    def start(self) -> None:
        """Start diagnostics and, with `autostart`, have the executor configure and activate."""
        self._monitor.start()
        if self.parameters.node_settings.autostart:
            assert self.executor is not None
            self.executor.create_task(self._autostart)
        else:
            name = self.get_fully_qualified_name()
            self.log.info(f'waiting for: diception lifecycle set configure --node {name}')

    async def _autostart(self) -> None:
        await self._preload()
        if self.state != 'unconfigured':  # shut down meanwhile
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
            return
        name = self.get_fully_qualified_name()
        self.log.info(
            f'waiting for a correction: diception param set --node {name} ..., then diception '
            f'lifecycle set configure --node {name}; or Ctrl-C'
        )

    def _defer_configure_until_loaded(self) -> None:
        """Let the service change_state wait for the model while the executor serves others.

        rclpy calls `on_configure` inside of the service's callback and has no other way to answer
        it later than a callback that is a coroutine. Its callback group must be reentrant, or no
        other callback of the node runs until it returns.
        """
        service, change = self._service_change_state, self._service_change_state.callback

        async def change_state(request: Any, response: Any) -> Any:
            wanted = request.transition
            configure = (
                wanted.label == 'configure'
                if wanted.label
                else wanted.id == Transition.TRANSITION_CONFIGURE
            )
            if configure and self._loaded is not None:
                self.log.warning('configure is refused: the node loads its model already')
                response.success = False
                return response
            if configure and self.state == 'unconfigured':
                await self._preload()
            return change(request, response)

        service.callback = change_state
        service.callback_group = ReentrantCallbackGroup()
        service.callback_group.add_entity(service)

    async def _preload(self) -> None:
        """Load the model in a thread; `_configure` takes the outcome."""
        if self.parameters.refused:
            return  # configuring fails with the reason
        executor = self.executor
        assert executor is not None
        loaded = self._loaded = Future(executor=executor)
        settings, perception = self.parameters.node_settings, self.parameters.perception

        def load() -> None:
            try:
                loaded.set_result(self._load(settings, perception, RosTypes(), self._progress))
            except Exception as error:
                loaded.set_exception(error)
            with contextlib.suppress(Exception):  # the executor is gone: the node has ended
                executor.wake()

        self.loading = f'model {settings.model!r}'
        threading.Thread(target=load, name='load', daemon=True).start()
        with contextlib.suppress(Exception):  # `_configure` raises it
            await loaded

    def _progress(self, text: str) -> None:
        self.loading = text
        self.log.info(text)

    def _why_parameters_are_fixed(self) -> str:
        """Why the parameters of `settings.FIXED` cannot be changed now, '' if they can."""
        if self._loaded is not None:
            return 'while the node loads its model; wait until it is configured, then clean it up'
        return '' if self.state == 'unconfigured' else 'while the node is configured; clean it up'

    def finish(self) -> None:
        """Stop all threads, so that the node can be destroyed."""
        if self.state != 'finalized':
            self.trigger_shutdown()
        self._monitor.stop()

    def destroy_node(self) -> None:
        """Destroy the state machine too, which rclpy leaves together with files in /dev/shm."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def now(self) -> tuple[int, bool]:
        """Time of the node's clock, nanoseconds, and whether it is simulated."""
        clock = self.get_clock()
        return clock.now().nanoseconds, bool(getattr(clock, 'ros_time_is_active', False))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition('configure', 'inactive', self._configure, self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition('activate', 'active', self._activate, self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition('deactivate', 'inactive', self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition('clean up', 'unconfigured', self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._transition('shut down', 'finalized', self._end)
        self._stop.set()
        return result

    def _transition(
        self,
        name: str,
        to: str,
        action: Callable[[], None],
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Run one transition and log its exception, which rclpy would swallow."""
        try:
            action()
            self.state, self.error = to, ''
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            known = isinstance(
                error, (ValueError, OSError, ImportError, RuntimeError, ParameterException)
            )
            text = str(error) if known else traceback.format_exc()
            if isinstance(error, ImportError):
                text += f'; {missing_packages.fix_hint(error)}'
            self.error = f'cannot {name}: {text}'
            self.log.error(self.error)
            undo()
            return TransitionCallbackReturn.FAILURE
        finally:
            self._loaded, self.loading = None, ''

    def _configure(self) -> None:
        if refused := self.parameters.refused:
            raise ValueError('; '.join(refused.values()))
        settings, perception = self.parameters.node_settings, self.parameters.perception
        types = RosTypes()
        if self._loaded is None:
            self.predictor, self._perceiver = self._load(
                settings, perception, types, self._progress
            )
        else:
            self.predictor, self._perceiver = self._loaded.result()  # type: ignore[misc]
        # Other values may have been set while the model was loading.
        self._perceiver.change(perception)
        names = settings.cameras or ('',)
        latest = perception.live.policy == 'latest'
        self.queue = FrameQueue(
            names,
            1 if latest else perception.live.queue_size,
            'newest' if latest else 'oldest',
            pull=lambda name: self.cameras[name].images.pull(),
            wake=self._wake,
        )
        self.queue.limit(perception.live.max_rate_hz)
        for name in names:
            self.cameras[name] = CameraInput(
                self,
                name,
                settings,
                functools.partial(self.queue.put, name),
                functools.partial(self.queue.accepts, name),
                self._mismatch,
            )
        self._outputs = Publishers(
            self, {name: camera.prefix for name, camera in self.cameras.items()}, self._mismatch
        )
        self.worker = Worker(
            self.queue, self._perceiver, self.cameras, self._outputs, self.now, self.log,
            self._transforms,
        )  # fmt: skip
        self._categories = self.create_subscription(
            find('std_msgs/msg/String'), '~/prompt/categories', self._set_categories, SMALL_DEPTH
        )
        if not types.has(DETECTIONS):
            distro = ros_environment.distro() or 'rolling'
            self.log.info(
                'vision_msgs is not installed, so detections and label_info are not published; '
                f'it is in the package ros-{distro}-vision-msgs'
            )

    def _wake(self) -> None:
        """Make the executor look again at what it may take."""
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _activate(self) -> None:
        assert self._perceiver is not None
        assert self._outputs is not None
        assert self.worker is not None
        self.mismatches.clear()
        perception = self.parameters.perception
        self._outputs.set_outputs(self._perceiver.outputs(), self._perceiver.latched())
        self.worker.start()
        frames = 1 if perception.live.policy == 'latest' else perception.live.queue_size
        for camera in self.cameras.values():
            camera.open(frames, perception.depth.metric == 'aligned')
        self._transforms.subscribe(perception)
        self._monitor.watch()
        self.log.info(
            f'active: {", ".join(camera.topic for camera in self.cameras.values())} -> '
            f'{", ".join(self._outputs.names())}'
        )
        self._warn_of_overrides()

    def _deactivate(self) -> None:
        for camera in self.cameras.values():
            camera.close()
        if self.worker is not None:
            self.worker.stop()
        self._transforms.close()
        if self._outputs is not None:
            self._outputs.close()

    def _release(self) -> None:
        for camera in self.cameras.values():
            camera.destroy()
        if self._categories is not None:
            self.destroy_subscription(self._categories)
        self.cameras, self._categories = {}, None
        self.worker = self._perceiver = self.predictor = self.queue = self._outputs = None

    def _clean_up(self) -> None:
        self._release()
        resources.release_unreferenced()

    def _end(self) -> None:
        self._deactivate()
        self._release()

    def _validate_settings(self, settings: PerceptionSettings) -> None:
        if self._perceiver is not None:
            self._perceiver.check(settings)

    def _apply_settings(self, settings: PerceptionSettings) -> None:
        if self._perceiver is None or self.queue is None or self._outputs is None:
            return
        before = self._perceiver.settings
        self._perceiver.change(settings)
        if self.worker is not None and replace(before, live=settings.live) != settings:
            self.worker.restart_statistics()
        self.queue.limit(settings.live.max_rate_hz)
        if self.state == 'active':
            self._outputs.set_outputs(self._perceiver.outputs(), self._perceiver.latched())
            for camera in self.cameras.values():
                camera.subscribe_reference(settings.depth.metric == 'aligned')
            self._transforms.subscribe(settings)

    def _set_categories(self, message: Any) -> None:
        categories = [*parse_categories(message.data)]
        if not categories:
            self.log.warning(
                f'prompt/categories {quoted(message.data)} is refused: it names nothing'
            )
            return
        kind = Parameter.Type.STRING_ARRAY
        (result,) = self.set_parameters([Parameter('semantic.categories', kind, categories)])
        if result.successful:
            self.log.info(f'semantic.categories: {shortened(", ".join(categories), LONGEST_TEXT)}')
        else:
            reason = shortened(result.reason, LONGEST_TEXT)
            self.log.warning(f'prompt/categories {quoted(message.data)} is refused: {reason}')

    def _mismatch(self, topic: str, policy: str) -> None:
        self.mismatches[topic] = policy
        self.log.warning_once(
            f'{topic} {policy}',
            f'another node on {topic} has an incompatible {policy.lower()}, so it and this node '
            f'exchange no messages; set qos_overrides.{topic}.(publisher|subscription).'
            f'{policy.lower()} to the value of the other node',
        )

    def _on_time_jump(self, jump: TimeJump) -> None:
        if jump.delta.nanoseconds >= 0 or self.worker is None or self.queue is None:
            return
        self.log.info(
            f'time jumped back by {-jump.delta.nanoseconds / 1e9:.1f} s; the state of all cameras '
            'is reset'
        )
        self.queue.clear()
        self.worker.reset()
        for camera in self.cameras.values():
            camera.clear()
        self._transforms.clear()

    def _warn_of_overrides(self) -> None:
        """Log QoS overrides that match no topic, which rclpy ignores silently."""
        for name in self._parameter_overrides:
            if name.startswith('qos_overrides.') and not self.has_parameter(name):
                self.log.warning_once(
                    name, f'parameters: {name} matches no topic of this node, or no QoS policy'
                )
