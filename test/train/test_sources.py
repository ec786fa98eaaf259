# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources: a pool follows from its number, and what is held out is never learnt from."""

from dataclasses import fields, replace
import os
import subprocess
import sys
import threading

from discs import SIDE, discs, tiny
import pytest
import torch

from diception_ros.data import batch, folder
from diception_ros.data.bag import BagTypes, BagWriter
from diception_ros.data.batch import Prepared
from diception_ros.labels import MetricDepth
from diception_ros.messages import pictures, stamps
from diception_ros.train import sources
from diception_ros.train.parallel import Processes
from diception_ros.train.sources import Form, Simulated, Stored, gather, open_source

FORM = Form(SIDE, 'xy', False)
TASKS = ['segmentation', 'depth']


def equal(one, two):
    return one.names == two.names and torch.equal(one.targets, two.targets)


def test_a_folder_is_read_whole(tmp_path):
    for name, seed in (('train', 0), ('validation', 1)):
        folder.create(tmp_path / name)
        samples = discs(3, seed)
        for k in range(3):
            folder.write(tmp_path / name, k, samples[2 * k : 2 * k + 2])
    chosen = replace(
        tiny(), source='folder', folder=str(tmp_path / 'train'),
        validation_folder=str(tmp_path / 'validation'), validation_samples=2,
    )  # fmt: skip
    source = open_source(chosen, ['depth'], SIDE)
    assert equal(source.pool(0, FORM), FORM.prepare(discs(3, 0, ['depth'])))
    assert [one.name for one in source.validation()] == ['disc 0 depth', 'disc 1 depth']


def recorded(path, count, seed):
    """A bag of discs with depth in metres, and the samples that should be in it."""
    types, out = BagTypes(), []
    with BagWriter(path) as bag:
        for k, sample in enumerate(discs(count, seed, ['depth'])):
            stamp_ns = (k + 1) * 10**8
            metres = 5 - 4 * sample.label.values
            metres[3, 3] = 0.4  # a nearest pixel that no smaller picture shows
            depth = MetricDepth(metres)
            header = stamps.header(types, stamp_ns, 'camera')
            for topic, array, encoding in (
                ('/camera/image_raw', sample.frame.image, 'rgb8'),
                ('/camera/depth/image', depth.values, '32FC1'),
            ):
                bag.write(topic, pictures.image(types, array, encoding, header), stamp_ns)
            out.append(replace(sample, label=depth, name=f'{path.stem}/{k}/depth'))
    return out


def test_bags_and_a_folder_of_the_same_samples_are_the_same_pool(tmp_path):
    samples = recorded(tmp_path / 'drive.mcap', 4, 0)
    held = recorded(tmp_path / 'other.mcap', 2, 1)
    folder.create(tmp_path / 'folder')
    for k, sample in enumerate(samples):
        folder.write(tmp_path / 'folder', k, [sample])
    bag = open_source(
        tiny(source='bag', bags=str(tmp_path / 'drive.mcap'), shares='depth=1',
             validation_bags=str(tmp_path / 'other.mcap')), ['depth'], SIDE)  # fmt: skip
    files = open_source(tiny(source='folder', folder=str(tmp_path / 'folder')), ['depth'], SIDE)
    pool = bag.pool(0, FORM)
    assert equal(pool, files.pool(0, FORM))
    assert torch.equal(pool.images, files.pool(0, FORM).images)
    assert equal(pool, FORM.prepare(samples))
    # Metres are resized, and then become disparity, whichever way they came.
    small = replace(FORM, resolution=SIDE // 2)
    assert equal(bag.pool(0, small), files.pool(0, small))
    assert [one.name for one in bag.validation()] == [one.name for one in held]


def test_what_lies_on_disk_is_read_once(tmp_path):
    read = []
    source = Stored(lambda: read.append(1) or discs(2, 0, ['depth']))
    assert not read
    assert source.pool(0, FORM) is source.pool(1, FORM)
    assert read == [1]
    assert len(source.pool(0, replace(FORM, mirrored=True))) == 4


@pytest.mark.parametrize(('given', 'says'), [
    ({'source': 'folder', 'folder': 'NO'}, 'no folder of samples'),
    ({'source': 'bag', 'bags': 'NO'}, 'no bag'),
    ({'source': 'bag', 'bags': 'bags', 'validation_bags': 'NO'}, 'no bag'),
])  # fmt: skip
def test_a_missing_place_is_an_error(tmp_path, given, says):
    (tmp_path / 'bags').mkdir()
    chosen = {name: str(tmp_path / value) if name != 'source' else value
              for name, value in given.items()}  # fmt: skip
    with pytest.raises(FileNotFoundError, match=says):
        open_source(tiny(**chosen), TASKS, SIDE).pool(0, FORM)


def test_gathering_takes_the_first_of_each_and_gives_up_in_the_end():
    endless = (one for seed in range(10**6) for one in discs(1, seed, ['depth']))
    found = gather(endless, ['depth', 'pose'], 3)
    assert [one.prompt.task for one in found] == ['depth'] * 3


# ---- several processes --------------------------------------------------------------------------


class Together(Processes):
    """One of some threads that stand for processes."""

    def __init__(self, rank, meeting, brought):
        super().__init__(torch.device('cpu'), rank, len(brought))
        object.__setattr__(self, 'meeting', meeting)
        object.__setattr__(self, 'brought', brought)

    def collect(self, thing):
        self.brought[self.rank] = thing
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
        made = job.form.prepare(
            replace(one, name=f'{job.first} {job.worker}/{job.workers} {k}')
            for k, one in enumerate(discs(job.count, 10 * job.first + job.worker, ['depth']))
        )
        return {one.name: getattr(made, one.name) for one in fields(made)}

    monkeypatch.setattr(sources, '_render', render)
    monkeypatch.setattr(sources, '_unpacked', lambda arrays: Prepared(**arrays))
    return jobs


def pools(count, number=0, caches=(), **changes):
    """What each of some processes gets as a pool."""
    meeting, brought, got = threading.Barrier(count, timeout=20), [None] * count, {}
    chosen = tiny(**{'workers': 0, 'pool': 7, **changes})

    def ask(rank):
        ours = Together(rank, meeting, brought)
        mine = replace(chosen, cache=caches[rank]) if caches else chosen
        got[rank] = Simulated(mine, ['depth'], SIDE, ours).pool(number, FORM)

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
    alone = Simulated(tiny(workers=4, pool=8), ['depth'], SIDE)._jobs(1, FORM)
    several = []
    for rank in range(2):
        ours = Together(rank, None, [None] * 2)
        several += Simulated(tiny(workers=2, pool=8), ['depth'], SIDE, ours)._jobs(1, FORM)
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
    chosen = tiny(pool=8, workers=0, validation_samples=2)
    source = Simulated(chosen, ['depth', 'normal'], SIDE)
    first, second = source.pool(0, FORM), source.pool(1, FORM)
    assert len(first) == len(second) == 8
    assert equal(source.pool(0, FORM), first)
    assert not set(first.names) & set(second.names)
    held = source.validation()
    assert {one.frame.size for one in held} == {(SIDE, round(SIDE * 4 / 3))}
    assert len({one.frame.image.tobytes() for one in held}) == 2


@pytest.mark.usefixtures('opengl')
def test_other_processes_render_the_same(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    here = Simulated(tiny(pool=4, workers=0), ['depth'], SIDE)
    there = Simulated(tiny(pool=4, workers=1, refresh=2, steps=4), ['depth'], SIDE)
    try:
        for number in (0, 1):
            assert equal(here.pool(number, FORM), there.pool(number, FORM))
    finally:
        there.close()


def test_who_renders_leaves_the_processor_to_the_training():
    source = Simulated(tiny(pool=4, workers=1), ['depth'], SIDE)
    try:
        source._submit(0, FORM)
        assert source._executor.submit(os.nice, 0).result() == 19
    finally:
        source.close()


RENDERING = """
from diception_ros.train.settings import TrainSettings
from diception_ros.train.sources import Form, Simulated

if __name__ == '__main__':
    settings = TrainSettings(resolution=32, pool=10**6, workers=2)
    lots = Simulated(settings, ['depth'], 32)._submit(0, Form(32, 'xy', False))
    while not all(lot.running() for lot in lots):
        pass
    print('rendering', flush=True)
    lots[0].result()
"""


def test_who_renders_ends_with_a_run_that_is_killed(tmp_path):
    (tmp_path / 'run.py').write_text(RENDERING)
    run = subprocess.Popen([sys.executable, tmp_path / 'run.py'], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b'rendering\n'
    run.kill()
    # The pipe ends when nobody has it any more, of the processes of the run neither.
    run.communicate(timeout=120)
