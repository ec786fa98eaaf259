# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node's process, which ends within two seconds and with code 0 on every signal.

The main thread only waits for a signal, so it receives one even while another thread loads weights
or runs the model. Signal handlers only write into a pipe, so a second Ctrl-C interrupts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import itertools
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from diception_ros.system import resources, ros_environment

if TYPE_CHECKING:
    from diception_ros.node.diagnostics import Log
    from diception_ros.node.model_loading import Load
    from diception_ros.node.node import PerceptionNode

# Seconds for the node to end by itself, and then to be destroyed; two in all for the user.
GRACE = 1.4
DESTROY_TIMEOUT = 0.4
# Seconds after a shutdown that a service asked for: a response that its caller has not read is
# lost when the node is destroyed.
RESPONSE_S = 0.5
# Of the C library: Python's lock lets few threads allocate at a time, and each heap keeps its own
# free memory.
HEAPS = 2


def run(arguments: Sequence[str], load: Load | None = None) -> NoReturn:
    """Run the node until a signal or the lifecycle shuts it down, then exit with code 0.

    Args:
        arguments: of the command line, such as --ros-args -p num_inference_steps:=1.
        load: loads the model; None: `model_loading.load`.

    Raises:
        FileNotFoundError: a parameter file does not exist.
        ValueError: ROS does not understand the arguments.
        ImportError: rclpy or another package is not installed.
    """
    for option, value in itertools.pairwise(arguments):
        if option == '--params-file' and not os.path.exists(value):
            raise FileNotFoundError(f'--params-file {value}: no such file')
    resources.limit_heaps(HEAPS)
    with _signals() as (wait, wake):
        thread = _Thread(arguments, load, ended=wake)
        thread.start()
        wait()
        deadline = time.monotonic() + GRACE
        thread.stop()
        thread.join(deadline - time.monotonic())
        if thread.error is not None:
            raise thread.error
        # Not through the end of the interpreter, which takes 1.4 s once torch is loaded and waits
        # for calls that cannot be interrupted (the model or its loading).
        thread.abandon()
        _flush()
        os._exit(0)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Yield a function that waits for the first signal, and one that ends the waiting."""
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


def _silence_output() -> None:
    _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the terminal may be closed
            stream.flush()


# Seconds between two callbacks that fail, so that one that always does leaves time for others.
AFTER_FAILURE_S = 0.01


def spin(executor: Any, stop_requested: threading.Event, log: Log, ok: Callable[[], bool]) -> None:
    """Run callbacks until a stop is requested.

    A callback that raises costs its message or request, not the node.

    Args:
        executor: of the node.
        stop_requested: ends it.
        log: gets one line, with the traceback, for each type of exception.
        ok: whether rclpy is not shut down; an exception is raised if it is.
    """
    while not stop_requested.is_set():
        try:
            executor.spin_once()
        except Exception as error:
            if not ok():
                raise
            log.error_once(
                f'callback {type(error).__name__}',
                f'a callback failed, as others may; the node goes on: {traceback.format_exc()}',
            )
            stop_requested.wait(AFTER_FAILURE_S)


class _Thread(threading.Thread):
    """Thread that imports rclpy, runs the node and shuts rclpy down."""

    def __init__(
        self, arguments: Sequence[str], load: Load | None, ended: Callable[[], object]
    ) -> None:
        super().__init__(name='node', daemon=True)
        self.error: BaseException | None = None
        self._arguments, self._load, self._ended = arguments, load, ended
        self._stop_requested = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None
        self._node: PerceptionNode | None = None

    def stop(self) -> None:
        """Request the end of the node."""
        with self._lock:
            self._stop_requested.set()
            if self._wake is not None:
                self._wake()

    def abandon(self) -> None:
        """Destroy the node while this thread still runs, so that no files stay in /dev/shm.

        rclpy destroys handles only after their last use, so the thread does not crash.
        """
        if self._node is not None:
            _silence_output()  # errors that threads log about the destroyed node mean nothing
            end = threading.Thread(target=self._node.destroy_node, daemon=True)
            end.start()
            end.join(DESTROY_TIMEOUT)

    def run(self) -> None:
        try:
            self._spin()
        except BaseException as error:  # raised by the main thread
            self.error = error
        finally:
            self._ended()

    def _spin(self) -> None:
        more_arguments = ros_environment.prepare(ros_environment.NODE_PROFILE)
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from diception_ros.node import model_loading
        from diception_ros.node.node import PerceptionNode

        try:
            arguments = [*self._arguments, *more_arguments]
            rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:
            raise ValueError(
                f'ROS did not understand the arguments: {error}; parameters are given as -p '
                'NAME:=VALUE, remappings as -r NAME:=TOPIC'
            ) from error
        try:
            try:
                node = PerceptionNode(self._stop_requested, self._load or model_loading.load)
            except ParameterException as error:  # of a parameter that rclpy itself declares
                raise ValueError(f'parameters: {error}') from error
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            # A guard condition with a callback, since spin_once sleeps on after a mere wake().
            guard = node.create_guard_condition(lambda: None)
            with self._lock:
                self._wake = guard.trigger
            self._node = node
            node.start()
            spin(executor, self._stop_requested, node.log, rclpy.ok)
            with self._lock:
                self._wake = None
            if node.state == 'finalized':
                time.sleep(RESPONSE_S)
            node.finish()
            self._node = None
            executor.shutdown()
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
