# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""FrameQueue counts every frame, wakes every call, and serves no camera twice in a row."""

from collections import Counter
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.bags.typestore import BagTypes
from diception_ros.messages import images, make_header
from diception_ros.node import worker
from diception_ros.node.diagnostics import ERROR, Log, NodeReport, statuses
from diception_ros.node.frame_queue import FrameQueue, QueuedFrame
from diception_ros.perception.settings import DepthSettings, PointsSettings


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def exact(queues):
    for one in queues.counts().values():
        assert one.received == one.processed + one.dropped + one.failed + one.waiting
        assert min(vars(one).values()) >= 0


@pytest.mark.parametrize('keep', ['newest', 'oldest'])
def test_every_frame_is_accounted_for_at_every_moment(keep):
    dice = random.Random(0)
    queues = FrameQueue(['a', 'b', 'c'], 1 if keep == 'newest' else 4, keep)
    queues.open()
    work = []
    actions = {'put': 3, 'get': 2, 'done': 1, 'clear': 1, 'close': 1}
    for k in range(3000):
        (action,) = dice.choices([*actions], actions.values())
        if action == 'put':
            queues.put(dice.choice('abc'), k)
        elif action == 'get' and any(one.waiting for one in queues.counts().values()):
            waits = sum(one.waiting for one in queues.counts().values()) - len(work)
            if waits:
                work.append(queues.get())
        elif action == 'done' and work:
            queued = work.pop(dice.randrange(len(work)))
            queues.task_done(queued.camera, dice.choice(['processed', 'failed', 'idle']))
        elif action == 'clear' and dice.random() < 0.1:
            queues.clear()
        elif action == 'close' and dice.random() < 0.1:
            queues.close()
            queues.put('a', k)
            assert queues.get() is None
            queues.open()
        exact(queues)
    counts = queues.counts()['a']
    assert counts.processed
    assert counts.failed
    assert counts.idle
    assert counts.stopped
    assert (counts.replaced > 0) == (keep == 'newest')
    assert (counts.overflowed > 0) == (keep == 'oldest')


def test_the_newest_wins_or_the_order_stays():
    newest, queue = FrameQueue(['a']), FrameQueue(['a'], 3, 'oldest')
    for queues in (newest, queue):
        queues.open()
        for k in range(5):
            queues.put('a', k)
    assert newest.get().message == 4
    assert [queue.get().message for _ in range(3)] == [0, 1, 2]
    assert queue.counts()['a'].overflowed == 2


class Middleware:
    """Keeps the newest image of each camera until it is taken, and counts those it replaced."""

    def __init__(self):
        self.held, self.published, self.taken = {}, Counter(), 0
        self.queue = FrameQueue(['a', 'b'], pull=self.pull)

    def publish(self, camera):
        _, replaced = self.held.get(camera, (None, -1))
        self.published[camera] += 1
        self.held[camera] = self.published[camera], replaced + 1
        if self.queue.accepts(camera):
            self.pull(camera)

    def pull(self, camera):
        if camera in self.held:
            number, replaced = self.held.pop(camera)
            self.taken += 1
            self.queue.put(camera, number, replaced)


def test_images_that_the_middleware_replaces_are_counted_and_not_taken():
    dice, middleware, got = random.Random(0), Middleware(), []
    queue = middleware.queue
    queue.open()
    for _ in range(300):
        for _ in range(dice.randint(10, 60)):
            middleware.publish(dice.choice('aaab'))
        queued = queue.get()
        # The newest image at the moment at which the worker asked for one.
        assert queued.message == middleware.published[queued.camera]
        queue.task_done(queued.camera, 'processed')
        got.append(queued.camera)
        exact(queue)
    assert abs(Counter(got)['a'] - Counter(got)['b']) <= 1
    assert middleware.taken == len(got)
    queue.refresh()
    counts = queue.counts()
    assert {name: one.received for name, one in counts.items()} == middleware.published


def test_a_waiting_worker_lets_one_image_in():
    clock = Clock()
    woken, got = threading.Event(), []
    queue = FrameQueue(['a'], clock=clock, pull=lambda camera: None, wake=woken.set)
    queue.open()
    assert not queue.accepts('a')
    for k in range(3):
        thread = threading.Thread(target=lambda: got.append(queue.get()), daemon=True)
        woken.clear()
        thread.start()
        assert woken.wait(60)
        assert queue.accepts('a')
        queue.put('a', k)
        assert not queue.accepts('a')
        thread.join(60)
        assert got[-1].message == k
        queue.task_done('a', 'processed')
    # Not before it is due, however long the worker waits.
    queue.limit(1)
    queue.put('a', 3)
    assert queue.get().message == 3
    thread = threading.Thread(target=lambda: got.append(queue.get()), daemon=True)
    woken.clear()
    thread.start()
    assert woken.wait(60)
    assert not queue.accepts('a')
    clock.now = 1.0
    assert queue.accepts('a')
    queue.close()
    thread.join(60)
    assert got[-1] is None


def test_cameras_are_served_in_turn():
    queues = FrameQueue(['a', 'b', 'c'])
    queues.open()
    served = []
    for k in range(300):
        queues.put('a', k)
        queues.put('b', k)
        if k % 10 == 0:
            queues.put('c', k)
        served.append(queues.get().camera)
    count = Counter(served)
    assert count['c'] == 30  # whoever comes seldom never waits for more than one round
    assert abs(count['a'] - count['b']) <= 1


def test_the_rate_is_that_of_the_limit_whatever_the_camera_s():
    clock = Clock()
    queues = FrameQueue(['a'], clock=clock)
    queues.open()
    queues.limit(20)
    taken = 0
    for k in range(3000):  # 30 Hz for 100 s
        clock.now = k / 30
        queues.put('a', k)
        if queues._due['a'] <= clock.now:
            queues.get()
            taken += 1
    assert abs(taken - 2000) <= 2
    # After a pause there is no burst to make up for it.
    clock.now += 1000
    queues.put('a', 0)
    queues.get()
    queues.put('a', 1)
    assert queues._due['a'] > clock.now


def test_waiting_ends_by_a_frame_by_closing_and_by_a_lifted_limit():
    queues = FrameQueue(['a'])
    queues.open()
    got = []
    thread = threading.Thread(target=lambda: [got.append(queues.get()) for _ in range(3)])
    thread.start()
    queues.put('a', 'first')
    while not got:
        pass
    queues.limit(1e-3)
    queues.put('a', 'due at once after a change of the limit')
    while len(got) < 2:
        pass
    queues.put('a', 'due in 1000 s')
    queues.close()
    thread.join(60)
    assert not thread.is_alive()
    assert got[2] is None
    exact(queues)
    assert queues.counts()['a'].waiting == 2  # taken, not done


def test_any_positive_rate_leaves_the_queue_working():
    for rate in (5e-324, 1e-300, 1e-9, 1e4):
        queue, taken = FrameQueue(['a']), []
        queue.limit(rate)
        queue.open()
        queue.put('a', 1)
        assert queue.get().message == 1
        queue.put('a', 2)
        waiting = threading.Thread(target=lambda q=queue, t=taken: t.append(q.get()), daemon=True)
        waiting.start()
        queue.limit(rate)  # it is due at once
        waiting.join(60)
        assert taken[0].message == 2
        queue.task_done('a', 'processed')
        waiting = threading.Thread(target=lambda q=queue, t=taken: t.append(q.get()), daemon=True)
        queue.put('a', 3)
        waiting.start()
        queue.close()
        waiting.join(60)
        assert not waiting.is_alive()


def test_a_failed_worker_thread_is_an_error_and_starts_again(monkeypatch):
    monkeypatch.setattr(worker, 'RESTART_S', 0.0)
    lines, results = [], [RuntimeError('broken'), None]

    class Queue:
        def open(self):
            pass

        close = open

        def get(self):
            result = results.pop(0)
            if result is not None:
                raise result
            return result

    class Logger:
        info = warning = error = lines.append

    perceiver = SimpleNamespace(settings=SimpleNamespace(conversion='own'))
    one = worker.Worker(Queue(), perceiver, {}, None, None, Log(Logger), None)
    one.start()
    one._thread.join(60)
    assert results == []
    assert "RuntimeError('broken')" in one.fault
    assert len(lines) == 1
    (status,) = statuses(NodeReport('/p', 'active', one.fault, '', {}, {}))
    assert status.level == ERROR
    one.stop()


class Perceiver:
    """Answers with nothing; `during` is called while it works."""

    def __init__(self, during=lambda one: None):
        self.settings = SimpleNamespace(
            conversion='own', categories=('cat',), depth=DepthSettings(),
            points=PointsSettings(),
        )  # fmt: skip
        self.names, self.during = ['semantic'], during

    def tasks_for_topics(self, topics):
        return tuple(map(tasks.get, self.names))

    def needs_gravity(self, topics):
        return False

    def process(self, query):
        settings = self.settings
        self.during(self)
        seconds = {'model': 1.0, 'messages': 0.0, **{task.name: 0.5 for task in query.tasks}}
        return SimpleNamespace(
            query=query,
            settings=settings,
            messages=[],
            seconds=seconds,
            fit=None,
            depth_problem=None,
            notes=[],
            cloud={},
        )

    def change(self, **values):
        self.settings = SimpleNamespace(**{**vars(self.settings), **values})


def processing(perceiver):
    """A worker, a function that processes a frame, and the cameras that it published for."""
    published = []
    publishers = SimpleNamespace(
        subscribed_topics=lambda camera: frozenset(), names=lambda: ['depth/image'],
        publish=lambda camera, messages: published.append(camera),
    )  # fmt: skip
    camera = SimpleNamespace(
        name='front', prefix='', info_of=lambda message: (None, 'none'),
        camera_infos=SimpleNamespace(why_none=lambda message: ''),
        points=SimpleNamespace(for_size=lambda size: ((), 0)),
    )  # fmt: skip
    log = Log(SimpleNamespace(info=print, warning=print, error=print))
    left = SimpleNamespace(**{**vars(camera), 'name': 'left'})
    one = worker.Worker(
        FrameQueue(['front']), perceiver, {'front': camera, 'left': left}, publishers,
        lambda: (5, True), log, None,
    )  # fmt: skip
    message = images.image(BagTypes(), np.zeros((8, 8, 3), np.uint8), 'rgb8',
                           make_header(BagTypes(), 5, ''))  # fmt: skip

    def process(name='front'):
        return one._process(QueuedFrame(name, message, 0.0))

    return one, process, published


@pytest.mark.parametrize('changes', [True, False])
def test_results_of_categories_that_changed_meanwhile_are_not_published(changes):
    perceiver = Perceiver(lambda one: one.change(categories=('dog',)) if changes else None)
    _, process, published = processing(perceiver)
    outcome = process()
    assert (outcome, published) == (('stopped', []) if changes else ('processed', ['front']))


def test_percentiles_are_of_the_tasks_and_settings_that_hold():
    perceiver = Perceiver()
    one, process, _ = processing(perceiver)

    def kinds():
        return {kind for kind in one.timings.milliseconds() if 'latency' not in kind}

    perceiver.names = ['depth', 'normal']
    process()
    assert kinds() == {'model', 'overhead', 'depth', 'normal'}
    perceiver.names = ['normal']  # nobody subscribes to depth any more
    process()
    assert kinds() == {'model', 'overhead', 'normal'}
    perceiver.during = lambda one: one.change(seed=3)  # while the frame is in work
    one.restart_statistics()
    process()
    assert kinds() == set()
    perceiver.during = lambda one: None
    process()
    assert kinds() == {'model', 'overhead', 'normal'}
    perceiver.names = []
    assert process() == 'idle'
    assert kinds() == set()


def test_a_camera_without_subscribers_beside_one_with_some_is_not_logged(capsys):
    perceiver = Perceiver()
    one, process, _ = processing(perceiver)
    for watched in (True, True, False, True, False):
        for name in ('front', 'left'):
            perceiver.names = ['depth'] if watched and name == 'front' else []
            assert process(name) == ('processed' if perceiver.names else 'idle')
        assert (one.idle == '') == watched
    said = capsys.readouterr().out
    assert (said.count('idle: no subscriber'), said.count('again')) == (2, 1)


def test_free_memory_is_released_when_settings_change_and_not_with_every_frame(monkeypatch):
    released = []
    monkeypatch.setattr(worker.resources, 'release_memory', lambda: released.append(True))
    perceiver = Perceiver()
    _, process, _ = processing(perceiver)
    for count in range(3):
        process()
        process()
        assert len(released) == count
        perceiver.change(seed=count)
