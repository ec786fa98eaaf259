# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ends a process whose work nobody waits for any more."""

from __future__ import annotations

import os
import signal
import threading
import time

# How often it is looked whether the parent is there, seconds.
PERIOD = 0.2


def end_with(parent: int) -> None:
    """Kill this process as soon as its parent has ended; killed, that one can tell nobody.

    Args:
        parent: number of the process that started this one.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGKILL)
