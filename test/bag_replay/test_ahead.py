# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Threads beside the model keep the order, and stop at the first thing that fails."""

import threading

import pytest

from diception_ros.bag_replay.run import BackgroundWriter, prefetch


def test_prefetch_keeps_order_and_raises_in_turn():
    def items():
        yield from range(20)
        raise OSError('the disk is gone')

    came = []

    def take():
        for item in prefetch(items(), 5):
            came.append(item)

    with pytest.raises(OSError, match='the disk is gone'):
        take()
    assert came == list(range(20))


def test_background_writer_keeps_order():
    done = []
    with BackgroundWriter(3) as background:
        for k in range(50):
            background.submit(done.append, k)
        background.join()
        assert done == list(range(50))


def test_background_writer_stops_at_the_first_error():
    done, go = [], threading.Event()

    def fail():
        go.wait(60)
        raise OSError('no room')

    def run():
        with BackgroundWriter(9) as background:
            background.submit(done.append, 1)
            background.submit(fail)
            background.submit(done.append, 2)  # waits already when that fails
            background.submit(done.append, 3)
            go.set()
            background.join()

    with pytest.raises(OSError, match='no room'):
        run()
    assert done == [1]
