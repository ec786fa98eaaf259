# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings as parameters of a node: declared from the dataclasses, checked by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import sys
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from diception_ros.core import settings
from diception_ros.core.settings import Declared, GroupT
from diception_ros.node.settings import FIXED, READ_ONLY, NodeSettings, declared
from diception_ros.perception.settings import PerceptionSettings

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple: Parameter.Type.STRING_ARRAY,
}
# rclpy's own, which are not ours to know.
_FOREIGN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
_INTEGERS = (-(2**63), 2**63 - 1)


def descriptor(one: Declared) -> ParameterDescriptor:
    """Description, range and choices, for `ros2 param describe`."""
    found = ParameterDescriptor(
        name=one.name,
        type=_TYPES[one.kind].value,
        description=one.about,
        read_only=one.name in READ_ONLY,
    )
    rules = []
    if one.choices:
        rules.append(f'one of {", ".join(map(str, one.choices))}')
    if one.name in FIXED:
        rules.append('can be changed before the node is configured')
    found.additional_constraints = '; '.join(rules)
    bounded = one.low is not None or one.high is not None
    if bounded and one.kind is int:
        low, high = (
            end if given is None else int(given)
            for given, end in zip((one.low, one.high), _INTEGERS, strict=True)
        )
        found.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif bounded and one.kind is float:
        most = sys.float_info.max
        found.floating_point_range = [
            FloatingPointRange(
                from_value=-most if one.low is None else float(one.low),
                to_value=most if one.high is None else float(one.high),
            )
        ]
    return found


class Parameters:
    """Keeps the two groups of settings and a node's parameters equal.

    What a parameters file or the command line says wrongly is not declared but kept in `refused`,
    so that configuring can say it and fail, and the node lives to be told better.

    Args:
        node: whose parameters they are.
        accept: asked before new perception settings hold; raises ValueError to refuse them.
        changed: told after they hold.
        fixed: whether the parameters named in FIXED must stay as they are.

    Attributes:
        node_settings: what holds now.
        perception: what holds now.
        refused: reasons by the name of the parameter.
    """

    def __init__(
        self,
        node: Node,
        accept: Callable[[PerceptionSettings], None],
        changed: Callable[[PerceptionSettings], None],
        fixed: Callable[[], bool],
    ) -> None:
        self.refused: dict[str, str] = {}
        self._node, self._accept, self._changed, self._fixed = node, accept, changed, fixed
        self._known = {one.name: one for one in declared()}
        # Overrides are public only one by one after they were declared, and declaring raises.
        given: Mapping[str, Parameter[Any]] = node._parameter_overrides
        self.unknown: list[str] = []
        for name in given:
            if new := settings.renamed(name, self._known):
                # Ignored, another value would hold than the one that was meant.
                self.refused[name] = f'parameter {name!r} is now {new!r}; rename it'
            elif name not in self._known and not name.startswith(_FOREIGN):
                self.unknown.append(f'no parameter {name!r}{settings.near(name, self._known)}')
        wanted = {
            name: coerce(self._known[name], parameter.value)
            for name, parameter in given.items()
            if name in self._known
        }
        self.node_settings: NodeSettings = self._start(NodeSettings, wanted)
        self.perception: PerceptionSettings = self._start(PerceptionSettings, wanted)
        for group in (self.node_settings, self.perception):
            for name, value in settings.values(group).items():
                one = self._known[name]
                if value != ():
                    value = list(value) if one.kind is tuple else value
                    node.declare_parameter(name, value, descriptor(one), ignore_override=True)
                    continue
                # By type first, since the type of an empty list cannot be seen.
                kind = _TYPES[one.kind]
                node.declare_parameter(name, kind, descriptor(one), ignore_override=True)
                node.set_parameters([Parameter(name, kind, [])])
        if hasattr(node, 'add_pre_set_parameters_callback'):  # not in Humble
            node.add_pre_set_parameters_callback(self._before)
        node.add_on_set_parameters_callback(self._on_set)

    def _start(self, kind: type[Any], wanted: Mapping[str, Any]) -> Any:
        """The group with what was given, as far as it is allowed."""
        group, mine = kind(), {one.name for one in settings.declared(kind)}
        asked = {name: value for name, value in wanted.items() if name in mine}
        # One by one, until nothing more fits: some values are allowed only beside others.
        before = len(asked) + 1
        while len(asked) < before:
            before = len(asked)
            for name, value in list(asked.items()):
                try:
                    group = settings.changed(group, {name: value})
                except ValueError as error:
                    self.refused[name] = str(error)
                else:
                    self.refused.pop(name, None)
                    del asked[name]
        return group

    def _before(self, parameters: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
        found = []
        for parameter in parameters:
            one = self._known.get(parameter.name)
            if one is not None:
                value = coerce(one, parameter.value)
                if value is not parameter.value:
                    parameter = Parameter(parameter.name, _TYPES[one.kind], value)
            found.append(parameter)
        return found

    def _on_set(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        changes = {
            parameter.name: coerce(self._known[parameter.name], parameter.value)
            for parameter in parameters
            if parameter.name in self._known
        }
        if not changes:
            return SetParametersResult(successful=True)
        try:
            if self._fixed():
                for name in FIXED:
                    self._refuse_fixed(name, changes)
            node = _changed(self.node_settings, changes)
            perception = _changed(self.perception, changes)
            if perception != self.perception:
                self._accept(perception)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        before = self.perception
        self.node_settings, self.perception = node, perception
        for name in changes:
            self.refused.pop(name, None)
        for name in [name for name in self.refused if settings.renamed(name, changes)]:
            del self.refused[name]
        if self.perception != before:
            self._changed(self.perception)
        return SetParametersResult(successful=True)

    def _refuse_fixed(self, name: str, changes: Mapping[str, Any]) -> None:
        held = {**settings.values(self.node_settings), **settings.values(self.perception)}
        if name in changes and changes[name] != held[name]:
            raise ValueError(
                f'{name} cannot be changed while the node is configured; clean it up first: '
                f'ros2 lifecycle set {self._node.get_fully_qualified_name()} cleanup'
            )


def _changed(group: GroupT, changes: Mapping[str, Any]) -> GroupT:
    mine = settings.values(group)
    return settings.changed(group, {n: v for n, v in changes.items() if n in mine})


def coerce(one: Declared, value: Any) -> Any:
    """A value as YAML gives it -> what was meant; anything that is not clear stays as it is.

    YAML reads off as false, 2 as a whole number, and an empty list without a type.
    """
    if one.kind is str and value is False and 'off' in one.choices:
        return 'off'
    if one.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if one.kind is tuple and (value is None or len(value) == 0):
        return ()
    if one.kind is tuple and isinstance(value, list):
        return tuple(value)
    return value
