# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Slots: every frame is accounted for, nobody waits forever, nobody is served twice in a row."""

from collections import Counter
import random
import threading

import pytest

from diception_ros.node.frame_queue import Slots


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def exact(slots):
    for one in slots.counts().values():
        assert one.received == one.processed + one.dropped + one.failed + one.waiting
        assert min(vars(one).values()) >= 0


@pytest.mark.parametrize('keep', ['newest', 'oldest'])
def test_every_frame_is_accounted_for_at_every_moment(keep):
    dice = random.Random(0)
    slots = Slots(['a', 'b', 'c'], 1 if keep == 'newest' else 4, keep)
    slots.open()
    work = []
    for k in range(3000):
        what = dice.choice('pppttdcx')
        if what == 'p':
            slots.put(dice.choice('abc'), k)
        elif what == 't' and any(one.waiting for one in slots.counts().values()):
            waits = sum(one.waiting for one in slots.counts().values()) - len(work)
            if waits:
                work.append(slots.take())
        elif what == 'd' and work:
            ticket = work.pop(dice.randrange(len(work)))
            slots.done(ticket.camera, dice.choice(['processed', 'failed', 'idle']))
        elif what == 'c' and dice.random() < 0.1:
            slots.clear()
        elif what == 'x' and dice.random() < 0.1:
            slots.close()
            slots.put('a', k)
            assert slots.take() is None
            slots.open()
        exact(slots)
    counts = slots.counts()['a']
    assert counts.processed
    assert counts.failed
    assert counts.idle
    assert counts.stopped
    assert (counts.replaced > 0) == (keep == 'newest')
    assert (counts.overflowed > 0) == (keep == 'oldest')


def test_the_newest_wins_or_the_order_stays():
    newest, queue = Slots(['a']), Slots(['a'], 3, 'oldest')
    for slots in (newest, queue):
        slots.open()
        for k in range(5):
            slots.put('a', k)
    assert newest.take().message == 4
    assert [queue.take().message for _ in range(3)] == [0, 1, 2]
    assert queue.counts()['a'].overflowed == 2


def test_cameras_are_served_in_turn():
    slots = Slots(['a', 'b', 'c'])
    slots.open()
    served = []
    for k in range(300):
        slots.put('a', k)
        slots.put('b', k)
        if k % 10 == 0:
            slots.put('c', k)
        served.append(slots.take().camera)
    count = Counter(served)
    assert count['c'] == 30  # whoever comes seldom never waits for more than one round
    assert abs(count['a'] - count['b']) <= 1


def test_the_rate_is_that_of_the_limit_whatever_the_camera_s():
    clock = Clock()
    slots = Slots(['a'], clock=clock)
    slots.open()
    slots.limit(20)
    taken = 0
    for k in range(3000):  # 30 Hz for 100 s
        clock.now = k / 30
        slots.put('a', k)
        if slots._due['a'] <= clock.now:
            slots.take()
            taken += 1
    assert abs(taken - 2000) <= 2
    # After a pause there is no burst to make up for it.
    clock.now += 1000
    slots.put('a', 0)
    slots.take()
    slots.put('a', 1)
    assert slots._due['a'] > clock.now


def test_waiting_ends_by_a_frame_by_closing_and_by_a_lifted_limit():
    slots = Slots(['a'])
    slots.open()
    got = []
    thread = threading.Thread(target=lambda: [got.append(slots.take()) for _ in range(3)])
    thread.start()
    slots.put('a', 'first')
    while not got:
        pass
    slots.limit(1e-3)
    slots.put('a', 'due at once after a change of the limit')
    while len(got) < 2:
        pass
    slots.put('a', 'due in 1000 s')
    slots.close()
    thread.join(5)
    assert not thread.is_alive()
    assert got[2] is None
    exact(slots)
    assert slots.counts()['a'].waiting == 2  # taken, not done
