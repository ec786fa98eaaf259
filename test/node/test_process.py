# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the node's process does with callbacks that fail; signals are in test_lifecycle."""

import threading

import pytest

from diception_ros.node import process
from diception_ros.node.diagnostics import Log


class Failing:
    """An executor of which every second callback raises, until it stops the loop."""

    def __init__(self, stop, errors):
        self.stop, self.errors, self.calls = stop, errors, 0

    def spin_once(self):
        self.calls += 1
        if self.calls == 2 * len(self.errors):
            self.stop.set()
        if self.calls % 2:
            raise self.errors[self.calls // 2]


class Lines:
    def __init__(self):
        self.errors = []

    def error(self, text):
        self.errors.append(text)


def test_a_callback_that_raises_is_logged_once_a_type_and_the_node_goes_on():
    stop, lines = threading.Event(), Lines()
    executor = Failing(stop, [ValueError('a'), TypeError('b'), ValueError('c')])
    process.spin(executor, stop, Log(lines), lambda: True)
    assert executor.calls == 6
    assert [('Traceback' in line, line.rstrip()[-1]) for line in lines.errors] == [
        (True, 'a'), (True, 'b'),
    ]  # fmt: skip


def test_a_parameter_file_that_does_not_exist_is_refused_before_rclpy_is_imported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.yaml: no such file'):
        process.run(['--ros-args', '--params-file', str(tmp_path / 'none.yaml')])


def test_an_exception_after_the_end_of_rclpy_ends_the_loop():
    stop = threading.Event()
    with pytest.raises(ValueError, match='a'):
        process.spin(Failing(stop, [ValueError('a')]), stop, Log(Lines()), lambda: False)
