# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters of the node, declared from the settings dataclasses and checked by them."""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping, Sequence, Sized
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
# Parameters that rclpy declares.
_FOREIGN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
_INTEGERS = (-(2**63), 2**63 - 1)


def descriptor(declared: Declared) -> ParameterDescriptor:
    """Description, range and choices, for `diception param describe`."""
    result = ParameterDescriptor(
        name=declared.name,
        type=_TYPES[declared.kind].value,
        description=declared.about,
        read_only=declared.name in READ_ONLY,
    )
    rules = []
    if declared.choices:
        rules.append(f'one of {", ".join(map(str, declared.choices))}')
    if declared.name in FIXED:
        rules.append('can be changed before the node is configured')
    result.additional_constraints = '; '.join(rules)
    bounded = declared.low is not None or declared.high is not None
    if bounded and declared.kind is int:
        low, high = (
            end if limit is None else int(limit)
            for limit, end in zip((declared.low, declared.high), _INTEGERS, strict=True)
        )
        result.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif bounded and declared.kind is float:
        largest = sys.float_info.max
        result.floating_point_range = [
            FloatingPointRange(
                from_value=-largest if declared.low is None else float(declared.low),
                to_value=largest if declared.high is None else float(declared.high),
            )
        ]
    return result


class Parameters:
    """Keeps the two groups of settings and a node's parameters equal.

    Invalid values of a parameters file or the command line are replaced by the default and stored
    in `refused`, so that configuring fails with the reason and the parameter can be corrected.

    Args:
        node: declares the parameters.
        accept: called before new perception settings hold; raises ValueError to refuse them.
        changed: called after they hold.
        fixed: returns why the parameters named in FIXED must keep their values, '' if they need
            not: 'while ...; what to do'.

    Attributes:
        node_settings: the present values.
        perception: the present values.
        refused: reasons by the name of the parameter.
        unknown: one sentence for each given parameter that does not exist.
    """

    def __init__(
        self,
        node: Node,
        accept: Callable[[PerceptionSettings], None],
        changed: Callable[[PerceptionSettings], None],
        fixed: Callable[[], str],
    ) -> None:
        self.refused: dict[str, str] = {}
        self._node, self._accept, self._changed, self._fixed = node, accept, changed, fixed
        self._known = {item.name: item for item in declared()}
        # Overrides are public only after they were declared one by one, and declaring raises.
        own_overrides: Mapping[str, Parameter[Any]] = node._parameter_overrides
        self.unknown: list[str] = []
        for name in own_overrides:
            if new := settings.renamed(name, self._known):
                # Ignoring it would silently use the default.
                self.refused[name] = f'parameter {name!r} is now {new!r}; rename it'
            elif name not in self._known and not name.startswith(_FOREIGN):
                self.unknown.append(f'no parameter {name!r}{settings.near(name, self._known)}')
        overrides = {
            name: coerce(self._known[name], parameter.value)
            for name, parameter in own_overrides.items()
            if name in self._known
        }
        self.node_settings: NodeSettings = self._initial(NodeSettings, overrides)
        self.perception: PerceptionSettings = self._initial(PerceptionSettings, overrides)
        for group in (self.node_settings, self.perception):
            for name, value in settings.values(group).items():
                known = self._known[name]
                if value != ():
                    value = list(value) if known.kind is tuple else value
                    node.declare_parameter(name, value, descriptor(known), ignore_override=True)
                    continue
                # By its type first, because an empty list does not show the type.
                kind = _TYPES[known.kind]
                node.declare_parameter(name, kind, descriptor(known), ignore_override=True)
                node.set_parameters([Parameter(name, kind, [])])
        if hasattr(node, 'add_pre_set_parameters_callback'):  # not in Humble
            node.add_pre_set_parameters_callback(self._before)
        node.add_on_set_parameters_callback(self._on_set)

    def _initial(self, kind: type[GroupT], overrides: Mapping[str, Any]) -> GroupT:
        """The group with those overrides that are allowed; the others go into `refused`."""
        group = kind()
        names = {item.name for item in settings.declared(kind)}
        pending = {name: value for name, value in overrides.items() if name in names}
        # One by one, until no more fits: some values are allowed only beside others.
        before = len(pending) + 1
        while len(pending) < before:
            before = len(pending)
            for name, value in list(pending.items()):
                try:
                    group = settings.changed(group, {name: value})
                except ValueError as error:
                    self.refused[name] = str(error)
                else:
                    self.refused.pop(name, None)
                    del pending[name]
        return group

    def _before(self, parameters: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
        """Coerce values before rclpy checks their types."""
        coerced = []
        for parameter in parameters:
            known = self._known.get(parameter.name)
            if known is not None:
                value, kind = coerce(known, parameter.value), _TYPES[known.kind]
                # One of a wrong type is left to rclpy, which refuses it: raising ends the node.
                if value is not parameter.value and kind.check(value):
                    parameter = Parameter(parameter.name, kind, value)
            coerced.append(parameter)
        return coerced

    def _on_set(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        changes = {
            parameter.name: coerce(self._known[parameter.name], parameter.value)
            for parameter in parameters
            if parameter.name in self._known
        }
        if not changes:
            return SetParametersResult(successful=True)
        before = self.perception
        try:
            if why := self._fixed():
                for name in FIXED:
                    self._refuse_fixed(name, changes, why)
            node = _changed(self.node_settings, changes)
            perception = _changed(self.perception, changes)
            if perception != before:
                self._accept(perception)
                self.perception = perception
                self._changed(perception)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            # Adapters are files: they may not be readable.
            self.perception = before
            return SetParametersResult(successful=False, reason=str(error) or repr(error))
        self.node_settings = node
        for name in changes:
            self.refused.pop(name, None)
        for name in [name for name in self.refused if settings.renamed(name, changes)]:
            del self.refused[name]
        return SetParametersResult(successful=True)

    def _refuse_fixed(self, name: str, changes: Mapping[str, Any], why: str) -> None:
        present = {**settings.values(self.node_settings), **settings.values(self.perception)}
        if name in changes and changes[name] != present[name]:
            raise ValueError(
                f'{name} cannot be changed {why} first: '
                f'diception lifecycle set cleanup --node {self._node.get_fully_qualified_name()}'
            )


def _changed(group: GroupT, changes: Mapping[str, Any]) -> GroupT:
    names = settings.values(group)
    return settings.changed(group, {n: v for n, v in changes.items() if n in names})


def coerce(declared: Declared, value: Any) -> Any:
    """Convert a value that YAML reads as another type; anything ambiguous stays as it is.

    YAML reads off as false, 2 as a whole number, an empty list without a type, a single text as no
    list, and three numbers as a list where a text of numbers is expected.
    """
    if declared.kind is str and value is False and 'off' in declared.choices:
        return 'off'
    if declared.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if declared.kind is tuple and (value is None or (isinstance(value, Sized) and not len(value))):
        return ()
    if declared.kind is tuple and isinstance(value, (list, str)):
        return (value,) if isinstance(value, str) else tuple(value)
    numbers = value if isinstance(value, (list, array.array)) else ()
    if declared.kind is str and numbers and all(type(n) in (int, float) for n in numbers):
        return ' '.join(map(str, numbers))
    return value
