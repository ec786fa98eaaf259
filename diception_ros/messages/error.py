# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a message that came in."""

from __future__ import annotations

# Of a text that came from outside and goes into `kind`: enough to recognise it.
LONGEST = 40


class MessageError(ValueError):
    """A message that contradicts itself, or that nobody here can read.

    Args:
        kind: a few stable words, the same for every message with this fault, e.g. 'step' or
            "encoding 'yuv9'": what to log once and to count by.
        reason: one sentence with the numbers of this message.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def quoted(text: object) -> str:
    """A text from outside, in quotation marks and cut to a length that suits a log."""
    whole = str(text)
    return repr(whole if len(whole) <= LONGEST else f'{whole[:LONGEST]}...')
