# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes with a batch each are one process with both, to rounding; the first one writes."""

import csv
from dataclasses import replace
import os
from pathlib import Path
import socket
import subprocess
import sys

from disc_samples import discs, tiny
import numpy as np
import pytest
import torch

from diception_ros.core.labels import Disparity
from diception_ros.training import distributed, trainer, validation
from diception_ros.training.checkpoints import load_pipeline, trainable_parameters
from diception_ros.training.sources import InMemoryDataset
from diception_ros.training.trainer import Trainer

TESTS = Path(__file__).resolve().parents[1]


def chosen(**changes):
    # No step of the optimiser may depend on the last bit of a gradient near 0, as Adam's first do.
    return tiny(
        max_steps=4,
        gradient_accumulation_steps=2,
        color_jitter=0.5,
        validate_every=2,
        validation_samples=2,
        optimizer='adamw',
        lr=1e-4,
        seed=5,
        **changes,
    )


def source():
    """Discs, of some of which nothing is known, so that parts of a batch count differently."""
    samples = discs(16, 0)
    for k in (1, 5, 7, 19, 23):
        nothing = np.full(samples[k].frame.size, np.nan, np.float32)
        samples[k] = replace(samples[k], label=Disparity(nothing))
    return InMemoryDataset(samples, discs(4, 1))


def forbidden(*args, **kwargs):
    raise AssertionError('only the first process does this')


def part(out: Path) -> None:
    """What each of the two processes does."""
    from diception_ros.training import trainer
    from diception_ros.training.loss import NonFiniteLossError

    ours = distributed.init('cpu')
    assert ours.count == 2
    one = [torch.full((2, 3), float(ours.rank + 1)), torch.tensor([5.0 * ours.rank])]
    ours.all_reduce(one)
    assert [tensor.unique().tolist() for tensor in one] == [[3.0], [5.0]]
    ours.broadcast(one := [torch.tensor([7.0 + ours.rank])])
    assert one[0].item() == 7
    rows = torch.arange(4.0).reshape(2, 2) + 4 * ours.rank
    assert torch.equal(ours.all_gather(rows), torch.arange(8.0).reshape(4, 2))
    assert ours.gather_object({'rank': ours.rank}) == [{'rank': 0}, {'rank': 1}]

    if not ours.first:
        # The first one alone judges, logs and writes.
        for room, name in (
            (Trainer, 'save'),
            (validation.Validator, 'run'),
            (validation, 'CSVLogger'),
            (trainer, '_write_model'),
            (trainer.settings, 'write'),
        ):
            setattr(room, name, forbidden)
        # What the first one begins with holds for all.
        build = trainer.init_pipeline
        trainer.init_pipeline = lambda settings, *rest: build(replace(settings, seed=9), *rest)
    begun = trainer.start(chosen(batch_size=4), out / 'run', source())
    begun.settings = replace(begun.settings, max_steps=2)
    trainer.fit(begun, out / 'run', progress=False)
    runner = trainer.resume(chosen(batch_size=4), out / 'run', source())
    assert (runner.step, runner.ema is None) == (2, not ours.first)
    trainer.fit(runner, out / 'run', progress=False)
    torch.save({name: value.detach() for name, value in runner.parameters.items()},
               out / f'{ours.rank}.pt')  # fmt: skip

    def poisoned(number, batch=runner.batch):
        given = batch(number)
        if not ours.first:
            given.image[2] = float('nan')
        return given

    runner.batch = poisoned
    try:
        runner.train_step()
    except NonFiniteLossError as error:
        (out / f'{ours.rank}.txt').write_text(str(error))
    distributed.destroy()


@pytest.fixture(scope='module')
def together(tmp_path_factory):
    """The folder that two processes left."""
    out = tmp_path_factory.mktemp('together')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    program = f'import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "training")!r}]\n'
    program += (
        f'import pathlib, test_distributed\ntest_distributed.part(pathlib.Path({str(out)!r}))\n'
    )
    running = [
        subprocess.Popen(
            [sys.executable, '-c', program], stderr=subprocess.PIPE, text=True,
            env={**os.environ, 'WORLD_SIZE': '2', 'RANK': str(rank), 'LOCAL_RANK': str(rank),
                 'LOCAL_WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port),
                 'OMP_NUM_THREADS': '1'},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        # One that fails leaves the other waiting.
        errors = [one.communicate(timeout=600)[1] for one in reversed(running)]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], errors
    return out


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The folder that one process leaves, and its run."""
    out = tmp_path_factory.mktemp('alone') / 'run'
    runner = trainer.start(chosen(batch_size=8), out, source())
    trainer.fit(runner, out, progress=False)
    return out, runner


def test_two_processes_learn_what_one_does_with_twice_the_batch(together, alone):
    before = Trainer(chosen(batch_size=8), source()).parameters
    got = torch.load(together / '0.pt')
    moved = []
    for name, value in alone[1].parameters.items():
        torch.testing.assert_close(got[name], value.detach(), atol=2e-6, rtol=1e-4, msg=name)
        moved.append(float((value - before[name]).detach().abs().max()))
    assert max(moved) > 100 * 2e-6


def test_both_end_with_the_same_weights_bit_for_bit(together):
    one, two = (torch.load(together / f'{rank}.pt') for rank in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_log_and_the_validation_speak_of_the_whole_batch(together, alone):
    for file in ('log.csv', 'validation.csv'):
        tables = []
        for folder in (together / 'run', alone[0]):
            with (folder / file).open() as lines:
                tables.append(list(csv.DictReader(lines)))
        one, two = tables
        assert len(one) == len(two) > 0
        for mine, theirs in zip(one, two, strict=True):
            assert mine.keys() == theirs.keys()
            for name in mine.keys() - {'samples_per_second', 'task', 'metric'}:
                assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-3, abs=1e-5,
                                                          nan_ok=True)  # fmt: skip


def test_the_mean_of_the_weights_is_kept_and_the_same(together, alone):
    saved = trainable_parameters(load_pipeline(together / 'run' / 'model'))
    for name, value in alone[1].ema.average.items():
        torch.testing.assert_close(saved[name].detach(), value, atol=2e-6, rtol=1e-4)


def test_a_loss_that_is_no_number_stops_both_and_names_its_sample(together, alone):
    one, two = ((together / f'{rank}.txt').read_text() for rank in range(2))
    assert one == two
    assert 'for 1 of 8 samples' in one
    runner = alone[1]
    row = int(runner.rows(runner.step * 2)[4 + 2])
    assert f' {runner.buffer()[1].names[row]};' in one


def test_a_checkpoint_goes_on_with_as_many_processes(together):
    with pytest.raises(ValueError, match='was written by a run of 2 processes, got 1'):
        trainer.resume(None, together / 'run', source())


def test_checkpoints_from_before_know_of_one_process(tmp_path):
    path = Trainer(tiny(), source()).save(tmp_path)
    content = torch.load(path / 'state.pt')
    assert content.pop('processes') == 1
    torch.save(content, path / 'state.pt')
    assert trainer.resume(None, tmp_path, source()).step == 0


def test_a_single_process_needs_no_process_group(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    ours = distributed.init('cpu')
    assert (ours.rank, ours.count, ours.first) == (0, 1, True)
    values = torch.arange(3)
    assert ours.all_gather(values) is values
    assert ours.gather_object(4) == [4]
    assert ours.rank_slice(5) == slice(0, 5)
    assert not torch.distributed.is_initialized()


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ValueError, match='set cuda, each takes a GPU of its own'):
        distributed.init('cuda:1')
