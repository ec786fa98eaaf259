# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of ROS 1 as those of ROS 2."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from diception_ros.data.bag import TYPES


def modern(message: Any, kind: str) -> Any:
    """A message of ROS 1 as one of ROS 2: CameraInfo has small letters, Header counts no more."""
    kind = 'tf2_msgs/msg/TFMessage' if kind == 'tf/msg/tfMessage' else kind
    if kind not in TYPES.types:
        return message
    known = {one.name.lower(): one.name for one in fields(message)}
    found = {}
    made: Any = TYPES.types[kind]
    for one in fields(made):
        if one.name.lower() not in known:
            raise ValueError(f'a {kind} of ROS 1 has no field {one.name}')
        found[one.name] = _value(getattr(message, known[one.name.lower()]))
    return made(**found)


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(one) for one in value]
    kind = getattr(value, '__msgtype__', '')
    return modern(value, kind) if kind else value
