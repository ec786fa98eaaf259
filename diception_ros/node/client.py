# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Client of a running node: parameters, lifecycle, points, topics; needs no ros2cli."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import difflib
import os
import threading
import time
from typing import Any, NamedTuple

from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log, ParameterDescriptor, SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParametersAtomically,
)
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger
import yaml

from diception_ros.bags.channels import QOS_DEPTH, OfferedQos
from diception_ros.core.prompt import Point
from diception_ros.core.settings import near
from diception_ros.node.publishers import find
from diception_ros.system import ros_environment, safe_load

# Seconds after which a request is sent again: Fast DDS drops an answer if it has not yet found who
# waits for it.
RETRY_S = 2.0
# Seconds that setting parameters may take: for an adapter the node hashes the model.
SET_S = 60.0
# Seconds between two looks at the graph of nodes.
LOOK_S = 0.05
# Seconds without a change of the graph after which it is taken for complete.
SETTLE_S = 0.5
# Numbers of an array, and characters of a text, that `as_plain` keeps.
SHOWN_ITEMS, SHOWN_TEXT = 16, 256


@contextlib.contextmanager
def ros_context() -> Iterator[None]:
    """Initialize rclpy as this package's commands need it, and shut it down."""
    arguments = ros_environment.prepare()
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


def offered_by(profile: QoSProfile) -> OfferedQos:
    """What a publisher offers, from a QoSProfile of `get_publishers_info_by_topic`."""
    return OfferedQos(
        profile.reliability == ReliabilityPolicy.RELIABLE,
        profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        profile.depth or QOS_DEPTH,
    )


def profile_of(offered: OfferedQos) -> QoSProfile:
    """The QoSProfile of a publisher, or of a subscription that a publisher so serves."""
    reliable = ReliabilityPolicy.RELIABLE if offered.reliable else ReliabilityPolicy.BEST_EFFORT
    latched = DurabilityPolicy.TRANSIENT_LOCAL if offered.latched else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=offered.depth, reliability=reliable, durability=latched)


def requested(offers: Sequence[OfferedQos], depth: int) -> QoSProfile:
    """The QoSProfile of a subscription that is served by all of these publishers."""
    return profile_of(
        OfferedQos(
            all(offer.reliable for offer in offers), all(offer.latched for offer in offers), depth
        )
    )


class TopicInfo(NamedTuple):
    """A topic of the ROS graph.

    Attributes:
        name: its full name.
        msgtype: such as 'sensor_msgs/msg/Image'; several are joined with ', '.
        publishers: how many there are.
        subscribers: how many there are.
    """

    name: str
    msgtype: str
    publishers: int
    subscribers: int


class RemoteNode:
    """A running node, asked from another node of rclpy.

    Calls block. They spin the calling node themselves unless an executor spins it already; then
    they must come from another thread than the executor's.

    Args:
        node: the calling node.
        name: of the other node; a missing / in front is added.
        timeout_s: how long a call waits for the node and its answer, seconds.

    Raises:
        TimeoutError: by every call, if the node is not found or does not answer; the message lists
            what to check.
    """

    def __init__(self, node: Node, name: str = '/perception', timeout_s: float = 5.0) -> None:
        self.name = '/' + name.lstrip('/')
        self._node, self._timeout_s = node, timeout_s

    # ---- parameters -----------------------------------------------------------------------------

    def parameter_names(self) -> list[str]:
        """Names of all parameters, sorted."""
        response = self._call('list_parameters', ListParameters, ListParameters.Request())
        return sorted(response.result.names)

    def get(self, names: Sequence[str]) -> dict[str, Any]:
        """Values of parameters, as Python values; lists are lists.

        Raises:
            ValueError: the node has no such parameter.
        """
        values = self._read('get_parameters', GetParameters, 'values', names)
        return {name: parameter_value_to_python(value) for name, value in values.items()}

    def describe(self, names: Sequence[str]) -> dict[str, ParameterDescriptor]:
        """Types, ranges and descriptions of parameters.

        Raises:
            ValueError: the node has no such parameter.
        """
        return self._read('describe_parameters', DescribeParameters, 'descriptors', names)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set parameters, all or none.

        Args:
            values: by name. A text becomes the type of the parameter as `read_value` does.

        Raises:
            ValueError: the node has no such parameter, or refuses a value; with its reason.
        """
        request = SetParametersAtomically.Request()
        for name, described in self.describe([*values]).items():
            kind, value = Parameter.Type(described.type), values[name]
            if isinstance(value, str):
                value = read_value(name, value, kind)
            if isinstance(value, tuple):
                value = list(value)
            if kind is Parameter.Type.DOUBLE and isinstance(value, int):
                value = float(value)
            known = None if kind is Parameter.Type.NOT_SET else kind
            request.parameters.append(Parameter(name, known, value).to_parameter_msg())
        result: SetParametersResult = self._call(
            'set_parameters_atomically', SetParametersAtomically, request,
            max(self._timeout_s, SET_S), again=False,
        ).result  # fmt: skip
        if not result.successful:
            raise ValueError(f'{self.name} refuses: {result.reason or "no reason given"}')

    def _read(self, service: str, kind: Any, field: str, names: Sequence[str]) -> dict[str, Any]:
        """What a service tells of parameters, by name; ValueError if there is none of a name."""
        items = getattr(self._call(service, kind, kind.Request(names=list(names))), field)
        if len(items) != len(names):
            known = self.parameter_names()
            for name in names:
                if name not in known:
                    raise ValueError(f'{self.name} has no parameter {name!r}{near(name, known)}')
        return dict(zip(names, items, strict=False))

    # ---- lifecycle ------------------------------------------------------------------------------

    def state(self) -> str:
        """State of the lifecycle: unconfigured, inactive, active or finalized."""
        return str(self._call('get_state', GetState, GetState.Request()).current_state.label)

    def change_state(self, transition: str, timeout_s: float) -> None:
        """Trigger a transition of the lifecycle; configure may take long, as it loads the model.

        Raises:
            ValueError: the node refuses it, or it fails; the node's log has the reason.
        """
        before = self.state()
        request = ChangeState.Request()
        request.transition.label = transition
        response = self._call(
            'change_state', ChangeState, request, timeout_s, again=False,
            node_ends=transition == 'shutdown',
        )  # fmt: skip
        if response is not None and not response.success:
            raise ValueError(
                f'{self.name} is {before} and {transition} failed or is no transition from there; '
                'see its log, or last_error in its diagnostics'
            )

    # ---- points ---------------------------------------------------------------------------------

    def click(self, point: Point, camera: str = '') -> tuple[bool, str]:
        """Add a pixel of a camera's image to the prompt of the camera ('' for a single one).

        Returns:
            Whether the node took it, and what it logged about it; '' if it logged nothing in time.
        """
        self.wait()
        prefix = f'{camera}/' if camera else ''
        topic = f'{self.name}/{prefix}prompt/click'
        said: list[Any] = []
        # Logs of before are latched too, so they are told from the answer by their time.
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        began = time.time()

        def hear(message: Any) -> None:
            stamp = message.stamp.sec + message.stamp.nanosec / 1e9
            own = message.name == self.name.strip('/').replace('/', '.')
            if own and stamp >= began and message.msg.startswith(f'{prefix}prompt: '):
                said.append(message)

        kind = find('geometry_msgs/msg/Point')
        publisher = self._node.create_publisher(kind, topic, 1)
        listening = self._node.create_subscription(Log, '/rosout', hear, latched)
        try:
            if not self._until(lambda: publisher.get_subscription_count() > 0):
                raise TimeoutError(
                    f'{topic} has no subscriber; a node subscribes when it is configured, and '
                    'with several cameras each has its own topic: --camera NAME'
                )
            publisher.publish(kind(x=point.x, y=point.y, z=0.0))
            self._until(lambda: said)
        finally:
            self._node.destroy_publisher(publisher)
            self._node.destroy_subscription(listening)
        if not said:
            return True, ''
        # 30 is WARN in rcl_interfaces/msg/Log.
        return said[0].level < 30, said[0].msg.removeprefix(f'{prefix}prompt: ')

    def clear_points(self, camera: str = '') -> str:
        """Remove all points of a camera; returns the node's answer."""
        service = f'{camera}/prompt/clear' if camera else 'prompt/clear'
        return str(self._call(service, Trigger, Trigger.Request()).message)

    # ---- the graph ------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until the node is found."""
        if not self._until(lambda: self.name in self.node_names()):
            raise TimeoutError(self._missing())

    def node_names(self) -> list[str]:
        """Full names of the nodes that were found, without the calling one."""
        own = self._node.get_fully_qualified_name()
        names = {
            f'{namespace.rstrip("/")}/{name}'
            for name, namespace in self._node.get_node_names_and_namespaces()
        }
        return sorted(names - {own})

    def topics(self) -> list[TopicInfo]:
        """All topics of the graph by name, without hidden ones."""
        if not self._until(self.node_names):
            raise TimeoutError(self._missing())
        known_topics, since = self._topics(), time.monotonic()

        def settled() -> bool:
            nonlocal known_topics, since
            if (now := self._topics()) != known_topics:
                known_topics, since = now, time.monotonic()
            return time.monotonic() - since >= SETTLE_S

        self._until(settled)
        return known_topics

    def _topics(self) -> list[TopicInfo]:
        return [
            TopicInfo(
                name, ', '.join(types), self._node.count_publishers(name),
                self._node.count_subscribers(name),
            )
            for name, types in sorted(self._node.get_topic_names_and_types())
            if '/_' not in name
        ]  # fmt: skip

    def messages(
        self, topic: str, count: int = 0, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        """The messages of a topic as they come.

        Args:
            topic: full name, or one relative to the node.
            count: how many; 0 goes on for ever.
            stopped: ends it when it returns true.

        Raises:
            TimeoutError: nobody publishes on the topic, or no message comes in time.
            ImportError: the package of its messages is not installed.
        """
        name = topic if topic.startswith('/') else f'{self.name}/{topic}'
        there = self._until(lambda: self._node.get_publishers_info_by_topic(name) or stopped())
        if not there:
            known = [item.name for item in self._topics() if item.publishers]
            raise TimeoutError(
                f'{name} has no publisher within {self._timeout_s:g} s{near(name, known)}'
            )
        if stopped():
            return
        got: deque[Any] = deque()
        profile = requested([offered_by(item.qos_profile) for item in there], QOS_DEPTH)
        kind = find(there[0].topic_type)
        listening = self._node.create_subscription(
            kind, name, lambda message: got.append(message), profile
        )
        try:
            seen = 0
            patience = self._timeout_s
            while not stopped() and not (count and seen >= count):
                if not self._until(lambda: got or stopped(), patience):
                    raise TimeoutError(
                        f'no message on {name} within {self._timeout_s:g} s although '
                        f'{len(there)} publish on it; does the node receive images, does its task '
                        'run, and is it active? see /diagnostics'
                    )
                patience = float('inf')
                while got and not (count and seen >= count):
                    yield got.popleft()
                    seen += 1
        finally:
            self._node.destroy_subscription(listening)

    def _missing(self) -> str:
        names = self.node_names()
        there = f'nodes there: {", ".join(names)}' if names else 'no other node was found'
        close = difflib.get_close_matches(self.name, names, n=1)
        meant = f' (did you mean --node {close[0]}?)' if close else ''
        wanted = f'node {self.name}' if self.name != '/' else 'node'
        domain = os.environ.get('ROS_DOMAIN_ID') or '0'
        return (
            f'no {wanted} in ROS_DOMAIN_ID {domain} after {self._timeout_s:g} s; '
            f'{there}{meant}. Check that it runs (diception node), that ROS_DOMAIN_ID and '
            'ROS_AUTOMATIC_DISCOVERY_RANGE are the same in its terminal, and that multicast '
            'passes between the machines'
        )

    # ---- waiting --------------------------------------------------------------------------------

    def _call(
        self, service: str, kind: Any, request: Any, timeout_s: float = 0.0, again: bool = True,
        node_ends: bool = False,
    ) -> Any:  # fmt: skip
        """Call a service of the node and return its response.

        With `node_ends` it returns None if the service disappears, as the response may be lost.
        """
        self.wait()
        client: Any = self._node.create_client(kind, f'{self.name}/{service}')
        calls: list[Any] = []

        def answered() -> Any:
            due = not calls or (again and time.monotonic() - began >= RETRY_S * len(calls))
            if client.service_is_ready() and due:
                calls.append(client.call_async(request))
            if node_ends and calls and not client.service_is_ready():
                return calls[0]
            return next((call for call in calls if call.done()), None)

        began = time.monotonic()
        try:
            done = self._until(answered, timeout_s or self._timeout_s)
        finally:
            self._node.destroy_client(client)
        if done is None:
            raise TimeoutError(
                f'{self.name} did not answer {self.name}/{service} within '
                f'{timeout_s or self._timeout_s:g} s'
                + ('' if calls else '; it has no such service')
            )
        return done.result() if done.done() else None

    def _until(self, condition: Any, timeout_s: float = 0.0) -> Any:
        """What a condition returns as soon as that is true; None after the timeout."""
        end = time.monotonic() + (timeout_s or self._timeout_s)
        with _spinning(self._node) as spin:
            while not (result := condition()):
                if time.monotonic() > end:
                    return None
                spin(LOOK_S)
            return result


@contextlib.contextmanager
def _spinning(node: Node) -> Iterator[Callable[[float], object]]:
    """Yield what spins a node for some seconds, or merely waits where an executor spins it."""
    if node.executor is not None:
        yield threading.Event().wait
        return
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        yield executor.spin_once
    finally:
        executor.remove_node(node)
        node.executor = None  # type: ignore[assignment]
        executor.shutdown()


def read_value(name: str, text: str, kind: Parameter.Type) -> Any:
    """A parameter's value from YAML, as `ros2 param set` takes it, in the parameter's own type.

    Knowing the type, `off` and `1` stay texts where a text is expected, 2 becomes 2.0, and one
    word becomes a list of one.

    Raises:
        ValueError: the text is no value of that type; the message has the name.
    """
    types = Parameter.Type
    try:
        value = safe_load.yaml_text(text, name)
        if kind is types.STRING:
            return value if isinstance(value, str) else text
        if kind is types.STRING_ARRAY:
            # Without types, so that off stays a text. This loader constructs nothing but texts.
            value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
            return value if isinstance(value, list) else [value] if value else []
    except yaml.YAMLError as error:
        raise ValueError(f'{name}: not YAML ({error})') from error
    if kind is types.BOOL and isinstance(value, bool):
        return value
    if kind is types.INTEGER and type(value) is int:
        return value
    if kind is types.DOUBLE:
        with contextlib.suppress(ValueError):  # YAML takes 1e-3 for a text
            return float(text)
    if kind is types.NOT_SET or (isinstance(value, list) and kind.name.endswith('_ARRAY')):
        return value
    expected = {'BOOL': 'true or false', 'INTEGER': 'a whole number', 'DOUBLE': 'a number'}
    raise ValueError(f'{name} is {text!r}; expected {expected.get(kind.name, "a list")}')


def as_plain(message: Any, whole: bool = False) -> Any:
    """A message or a field as dictionaries, lists, numbers and texts, for YAML.

    Long arrays and texts are cut unless `whole`.
    """
    if hasattr(message, 'get_fields_and_field_types'):
        names = message.get_fields_and_field_types()
        return {name: as_plain(getattr(message, name), whole) for name in names}
    if isinstance(message, bytes):
        return message[0] if len(message) == 1 else as_plain(list(message), whole)
    if isinstance(message, str):
        cut = len(message) - SHOWN_TEXT
        return message if whole or cut <= 0 else f'{message[:SHOWN_TEXT]}... ({cut} more)'
    if isinstance(message, (bool, int, float)):
        return message
    size = len(message)
    items = message if whole or size <= SHOWN_ITEMS else message[:SHOWN_ITEMS]
    shown = [as_plain(item.item() if hasattr(item, 'item') else item, whole) for item in items]
    return shown if len(shown) == size else [*shown, f'... ({size - len(shown)} more)']
