# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The process around the node: it ends within two seconds and with code 0, however it is asked.

The main thread does nothing but wait for a signal, so it hears one even while weights are being
loaded or the model is at work in another thread. Signals only write into a pipe: a second Ctrl-C
has nothing to interrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from diception_ros.node.node import PerceptionNode
    from diception_ros.node.worker import Load

# Seconds that the node gets to end by itself, and then to be taken down; users see at most two.
GRACE = 1.4
TAKING_DOWN = 0.4


def run(arguments: Sequence[str], load: Load | None = None) -> NoReturn:
    """Run the node until a signal comes or it is shut down through its lifecycle, and exit with 0.

    Args:
        arguments: those of the command line, such as --ros-args -p num_inference_steps:=1.
        load: loads the model; `model.load` when None.

    Raises:
        ValueError: arguments that ROS does not understand.
        ImportError: rclpy or another package is not installed.
    """
    with _signals() as (wait, wake):
        thread = _Thread(arguments, load, ended=wake)
        thread.start()
        wait()
        deadline = time.monotonic() + GRACE
        thread.stop()
        thread.join(deadline - time.monotonic())
        if thread.error is not None:
            raise thread.error
        # Not by way of the interpreter's end, which takes 1.4 s once torch is loaded. And a call
        # that cannot be interrupted, the model's or one that loads it, is not waited for.
        thread.forsake()
        _leave()


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """A way to wait for the first signal, and one to wake whoever waits."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks to ignore it
        numbers.append(signal.SIGHUP)
    end, begin = os.pipe()
    os.set_blocking(begin, False)
    signal.set_wakeup_fd(begin, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda number, stack: None)
    try:
        yield lambda: os.read(end, 1), lambda: os.write(begin, b'.')
    finally:
        signal.set_wakeup_fd(-1)


def _leave() -> NoReturn:
    _flush()
    os._exit(0)


def _hush() -> None:
    _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the terminal may be gone
            stream.flush()


class _Thread(threading.Thread):
    """Everything of ROS, from rclpy's import to its end."""

    def __init__(
        self, arguments: Sequence[str], load: Load | None, ended: Callable[[], object]
    ) -> None:
        super().__init__(name='node', daemon=True)
        self.error: BaseException | None = None
        self._arguments, self._load, self._ended = arguments, load, ended
        self._stop_asked = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None
        self._node: PerceptionNode | None = None

    def stop(self) -> None:
        """Ask the node to end."""
        with self._lock:
            self._stop_asked.set()
            if self._wake is not None:
                self._wake()

    def forsake(self) -> None:
        """Destroy the node while this thread is at work; its files in /dev/shm would stay.

        rclpy destroys what is in use as soon as it is not, so nothing is pulled from under it.
        """
        if self._node is not None:
            _hush()  # what threads say of a node that is going is not for anybody
            end = threading.Thread(target=self._node.destroy_node, daemon=True)
            end.start()
            end.join(TAKING_DOWN)

    def run(self) -> None:
        try:
            self._spin()
        except BaseException as error:  # not handled here but carried to the main thread
            self.error = error
        finally:
            self._ended()

    def _spin(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from diception_ros.node import worker
        from diception_ros.node.node import PerceptionNode

        try:
            rclpy.init(args=[*self._arguments], signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:
            raise ValueError(
                f'ROS did not understand the arguments: {error}; parameters are given as -p '
                'NAME:=VALUE, remappings as -r NAME:=TOPIC'
            ) from error
        try:
            node = PerceptionNode(self._stop_asked, self._load or worker.load)
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            # A guard condition with a callback, since spin_once sleeps on after a mere wake().
            guard = node.create_guard_condition(lambda: None)
            with self._lock:
                self._wake = guard.trigger
            self._node = node
            node.start()
            while not self._stop_asked.is_set():
                executor.spin_once()
            with self._lock:
                self._wake = None
            node.finish()
            self._node = None
            executor.shutdown()
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
