# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and images, pinholes, clouds and labels.

The live node and bags share these functions: messages are read by their attributes and made by
`Types`, so no message library is imported here. A message that contradicts itself or cannot be
read raises `MessageError`.
"""

from __future__ import annotations

from diception_ros.messages.base import MessageError, Types

__all__ = ['MessageError', 'Types']
