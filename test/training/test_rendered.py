# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered pools: they follow from their number, whoever renders them, and processes share one."""

from dataclasses import fields, replace
import os
import subprocess
import sys
import threading

from disc_samples import SIDE, discs, equal, tiny
import pytest
import torch

from diception_ros.datasets import batch
from diception_ros.datasets.batch import Prepared
from diception_ros.training import sources as rooms
from diception_ros.training.distributed import Processes
from diception_ros.training.samples import Preprocessor
from diception_ros.training.sources import SimulatedDataset

FORM = Preprocessor(SIDE, 'xy', False)


# ---- several processes --------------------------------------------------------------------------


class Together(Processes):
    """One of some threads that stand for processes."""

    def __init__(self, rank, meeting, brought):
        super().__init__(torch.device('cpu'), rank, len(brought))
        object.__setattr__(self, 'meeting', meeting)
        object.__setattr__(self, 'brought', brought)

    def gather_object(self, item):
        self.brought[self.rank] = item
        self.meeting.wait()
        out = list(self.brought)
        self.meeting.wait()
        return out


@pytest.fixture
def rendered(monkeypatch):
    """Discs instead of rooms, told by their names; the list holds the jobs."""
    jobs = []

    def render(job):
        jobs.append(job)
        made = job.preprocessor.collate(
            replace(one, name=f'{job.first} {job.worker}/{job.workers} {k}')
            for k, one in enumerate(discs(job.count, 10 * job.first + job.worker, ['depth']))
        )
        return {one.name: getattr(made, one.name) for one in fields(made)}

    monkeypatch.setattr(rooms, '_render', render)
    monkeypatch.setattr(rooms, '_to_tensors', lambda arrays: Prepared(**arrays))
    return jobs


def pools(count, number=0, caches=(), **changes):
    """What each of some processes gets as a pool."""
    meeting, brought, got = threading.Barrier(count, timeout=300), [None] * count, {}
    chosen = tiny(**{'workers': 0, 'buffer': 7, **changes})

    def ask(rank):
        ours = Together(rank, meeting, brought)
        mine = replace(chosen, cache=caches[rank]) if caches else chosen
        got[rank] = SimulatedDataset(mine, ['depth'], SIDE, ours).buffer(number, FORM)

    threads = [threading.Thread(target=ask, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [got[rank] for rank in range(count)]


def test_each_process_renders_a_part_of_the_pool_and_gets_the_whole(rendered):
    one, two, three = pools(3)
    assert equal(one, two)
    assert equal(one, three)
    assert len(set(one.names)) == len(one) == 9
    assert sorted((job.worker, job.workers, job.count) for job in rendered) == [
        (0, 3, 3), (1, 3, 3), (2, 3, 3),
    ]  # fmt: skip
    assert [name.split()[1] for name in one.names] == ['0/3'] * 3 + ['1/3'] * 3 + ['2/3'] * 3


def test_workers_of_several_processes_are_those_of_one(rendered):
    alone = SimulatedDataset(tiny(workers=4, buffer=8), ['depth'], SIDE)._jobs(1, FORM)
    several = []
    for rank in range(2):
        ours = Together(rank, None, [None] * 2)
        several += SimulatedDataset(tiny(workers=2, buffer=8), ['depth'], SIDE, ours)._jobs(
            1, FORM
        )
    assert several == alone
    assert len(alone) == 4


def test_a_kept_pool_is_written_by_the_first_and_read_by_all(rendered, tmp_path, monkeypatch):
    written = []
    write = batch.write
    monkeypatch.setattr(batch, 'write', lambda pool, path: written.append(1) or write(pool, path))
    first = pools(2, cache=str(tmp_path))
    again = pools(2, cache=str(tmp_path))
    assert len(rendered) == 2
    assert written == [1]
    assert all(equal(first[0], pool) for pool in (first[1], *again))


def test_pools_of_other_workers_are_not_taken_for_ours(rendered, tmp_path):
    kept = [pools(count, cache=str(tmp_path))[0] for count in (1, 2, 1, 2)]
    assert len(rendered) == 3
    assert len(list(tmp_path.iterdir())) == 2
    assert equal(kept[0], kept[2])
    assert equal(kept[1], kept[3])
    assert not equal(kept[0], kept[1])


def test_a_file_that_only_the_second_sees_is_left_alone_by_both(rendered, tmp_path):
    pools(2, cache=str(tmp_path / 'late'))
    (path,) = (tmp_path / 'late').iterdir()
    (late,) = pools(1)
    batch.write(late, path)
    got = pools(2, caches=[str(tmp_path / 'early'), str(tmp_path / 'late')])
    assert equal(*got)
    assert not equal(got[0], late)


# ---- rooms --------------------------------------------------------------------------------------


@pytest.mark.usefixtures('opengl')
def test_simulated_pools_follow_from_their_number():
    chosen = tiny(buffer=8, workers=0, validation_samples=2)
    source = SimulatedDataset(chosen, ['depth', 'normal'], SIDE)
    first, second = source.buffer(0, FORM), source.buffer(1, FORM)
    assert len(first) == len(second) == 8
    assert equal(source.buffer(0, FORM), first)
    assert not set(first.names) & set(second.names)
    held = source.validation()
    assert {one.frame.size for one in held} == {(SIDE, round(SIDE * 4 / 3))}
    assert len({one.frame.image.tobytes() for one in held}) == 2


@pytest.mark.usefixtures('opengl')
def test_other_processes_render_the_same(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    # At the lowest priority they would get no time beside whatever else runs here.
    monkeypatch.setattr(rooms, '_NICENESS', 0)
    here = SimulatedDataset(tiny(buffer=4, workers=0), ['depth'], SIDE)
    there = SimulatedDataset(
        tiny(buffer=4, workers=1, buffer_refresh_steps=2, max_steps=4), ['depth'], SIDE
    )
    try:
        for number in (0, 1):
            assert equal(here.buffer(number, FORM), there.buffer(number, FORM))
    finally:
        there.close()


def test_who_renders_leaves_the_processor_to_the_training(monkeypatch):
    source = SimulatedDataset(tiny(buffer=4, workers=1), ['depth'], SIDE)
    monkeypatch.setattr(
        source, '_jobs', lambda *_: []
    )  # rendering would take long at this priority
    try:
        source._submit(0, FORM)
        lowest = min(os.nice(0) + 19, 19)
        assert source._executor.submit(os.nice, 0).result() == lowest
    finally:
        source.close()


RENDERING = """
from diception_ros.training.settings import TrainSettings
from diception_ros.training.samples import Preprocessor
from diception_ros.training.sources import SimulatedDataset

if __name__ == '__main__':
    settings = TrainSettings(resolution=32, buffer=10**6, workers=2)
    lots = SimulatedDataset(settings, ['depth'], 32)._submit(
        0, Preprocessor(32, 'xy', False)
    )
    while not all(lot.running() for lot in lots):
        pass
    print('rendering', flush=True)
    lots[0].result()
"""


def test_render_workers_exit_with_a_killed_run(tmp_path):
    (tmp_path / 'run.py').write_text(RENDERING)
    run = subprocess.Popen([sys.executable, tmp_path / 'run.py'], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b'rendering\n'
    run.kill()
    # The pipe ends when nobody has it any more, of the processes of the run neither.
    run.communicate(timeout=600)
