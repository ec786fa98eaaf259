# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Verbs that run until a signal comes, and then end in order, however often it comes."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import signal
import threading


@contextlib.contextmanager
def ended_by_signals() -> Iterator[threading.Event]:
    """An event that is set by the first SIGINT, SIGTERM or SIGHUP."""
    event = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks to ignore it
        numbers.append(signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, stack: event.set()) for number in numbers
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if event.is_set() else handler)
