# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between messages and things: pictures, pinholes, clouds and answers, in and out.

Pure conversion, for the live node and for bags alike: what comes in is looked at by its attributes
alone, and what goes out is made by `Types`, so no message library is imported here. A message that
is not what it says is refused with `MessageError`.
"""

from __future__ import annotations

from diception_ros.messages.base import MessageError, Types

__all__ = ['MessageError', 'Types']
