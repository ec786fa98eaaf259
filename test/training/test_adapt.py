# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adaptations: exact resumption from wherever they stopped, what is judged, what is refused."""

from dataclasses import replace
import shutil

from adapter_fixtures import TEXT, adaptation_files, chosen, go, labels, plan, write_base
import pytest
from safetensors.torch import load_file, save_file
import torch

from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE
from diception_ros.training import adapt, checkpoints, validation
from diception_ros.training.adapt import FewShotDataset, prepare_adaptation
from diception_ros.training.trainer import Trainer


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp('base') / 'model', 30)


@pytest.fixture(scope='module')
def whole(base, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'a'
    go(base, out)
    return adaptation_files(out)


def stop(monkeypatch, where, name, when):
    """Raise at a call of a function, before or after which it does what it does."""
    was, calls = getattr(where, name), []

    def stopping(*args, **more):
        calls.append(None)
        if len(calls) == when:
            raise StoppedError
        return was(*args, **more)

    monkeypatch.setattr(where, name, stopping)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(base, whole, tmp_path):
    go(base, tmp_path / 'again')
    assert adaptation_files(tmp_path / 'again') == whole
    go(base, tmp_path / 'other', seed=1)
    assert adaptation_files(tmp_path / 'other')[WEIGHTS_FILE] != whole[WEIGHTS_FILE]
    assert sorted(path.name for path in (tmp_path / 'again').iterdir()) == [
        WEIGHTS_FILE, CARD_FILE, 'labels.json', 'run',
    ]  # fmt: skip
    names = sorted(path.name for path in (tmp_path / 'again' / 'run').iterdir())
    assert names == ['log.csv', 'settings.yaml', 'sheets', 'validation.csv']


@pytest.mark.parametrize(
    ('where', 'name', 'when'),
    [
        (Trainer, 'train_step', 2),  # before the first checkpoint
        (Trainer, 'train_step', 4),
        (validation.Validator, 'run', 2),
        (checkpoints, 'save', 2),  # the best state is newer than the last checkpoint
        (adapt.shutil, 'copyfile', 1),  # everything is trained
        (cards.Card, 'write', 1),
    ],
)
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(
    where, name, when, base, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop(patch, where, name, when)
        with pytest.raises(StoppedError):
            go(base, tmp_path / 'a')
    assert not (tmp_path / 'a' / CARD_FILE).exists()
    go(base, tmp_path / 'a', resume=True)
    assert adaptation_files(tmp_path / 'a') == whole
    assert not list(tmp_path.rglob('*partial*'))
    assert not (tmp_path / 'a' / 'best').exists()


def falling(monkeypatch, values):
    """Let the validations find these IoUs, whatever was trained."""
    step = []

    def run(self, pipe, sheet=None):
        number = int(sheet.stem)
        step.append(number)
        return {'floor': {'best_iou': dict.fromkeys(validation.COLUMNS, values[number])}}

    monkeypatch.setattr(validation.Validator, 'run', run)
    return step


@pytest.mark.parametrize('stopped_in', [None, 'copyfile', 'save'])
def test_early_stopping_keeps_the_best_state_also_when_it_goes_on(
    stopped_in, base, tmp_path, monkeypatch
):
    # The second is better by less than the table has digits.
    values = {2: 0.5, 4: 0.50000001, 6: 0.4, 8: 0.3, 10: 0.9}
    falling(monkeypatch, values)
    if stopped_in:
        with monkeypatch.context() as patch:
            where = checkpoints if stopped_in == 'save' else adapt.shutil
            stop(patch, where, stopped_in, 4 if stopped_in == 'save' else 1)
            with pytest.raises(StoppedError):
                go(base, tmp_path / 'a', max_steps=10, patience=3)
    seen = falling(monkeypatch, values)
    card = go(base, tmp_path / 'a', stopped_in is not None, max_steps=10, patience=3)
    assert seen == {None: [2, 4, 6, 8], 'copyfile': [], 'save': [8]}[stopped_in]
    assert card.metrics['step'] == 2
    go(base, tmp_path / 'b', max_steps=2, val_fraction=0.2)
    # Also the state, not only what is said of it.
    one, two = (load_file(tmp_path / name / WEIGHTS_FILE) for name in 'ab')
    assert all(torch.equal(value, two[name]) for name, value in one.items())


class Written:
    """Stands for a run: writes the step that it is at."""

    def __init__(self, step=0):
        self.step, self.weights = step, self

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'step').write_text(str(self.step))


NAN = float('nan')


@pytest.mark.parametrize(
    ('kind', 'values', 'best', 'enough_at'),
    [
        ('mask', [0.1, 0.3, 0.2, 0.3, 0.4], 5, None),
        ('mask', [0.1, 0.3, 0.2, 0.3, 0.25], 2, 5),
        ('depth', [0.1, 0.3, 0.05, 0.3, 0.4, 0.5], 3, 6),
        ('mask', [NAN, NAN, NAN, NAN], 4, None),  # nothing is known: the latest
        ('mask', [NAN, 0.3, NAN, NAN, NAN], 2, 5),
        ('mask', [NAN, NAN, 0.3, 0.2], 3, None),
    ],
)
def test_the_best_state_is_the_one_of_the_best_number(kind, values, best, enough_at, tmp_path):
    runner = Written()
    card = replace(CARD, kind=kind)
    kept = adapt._BestState(runner, card, tmp_path, 3)
    (tmp_path / 'run').mkdir()
    table = validation.CSVLogger(
        tmp_path / 'run' / 'validation.csv', validation.VALIDATION_COLUMNS
    )
    ended = None
    for step, value in enumerate(values, 1):
        runner.step = step
        scores = {
            'floor': {adapt.SELECTION_METRIC[kind][0]: dict.fromkeys(validation.COLUMNS, value)}
        }
        if kept.should_stop(step, scores) and ended is None:
            ended = step
        for line in validation.csv_rows(scores):
            table.add(step=step, **line)
        # Whoever goes on from here knows the same, and finds the state.
        again = adapt._BestState(Written(step), card, tmp_path, 3)
        assert (again.folder, again.enough) == (kept.folder, kept.enough)
        if step > 1:
            before = adapt._BestState(Written(step - 1), card, tmp_path, 3).folder
            assert int((before / 'step').read_text()) == int(before.name)
    assert ended == enough_at
    assert (kept.folder / 'step').read_text() == str(best)
    assert kept.metrics['step'] == best


CARD = cards.Card('floor', TEXT, 'mask', 'builtin', '0' * 64, 1, 1, 0.01)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'known': labels(seed=1)}, 'begun with another sha256'),
        ({'text': TEXT + ' other'}, 'begun with another prompt'),
        ({'kind': 'rgb'}, 'begun with another kind'),
        ({'min_crop_scale': 0.5}, 'begun with another min_crop_scale'),
        ({'val_fraction': 0.5}, 'begun with another train_images'),
        ({'seed': 1}, 'begun with other settings'),
        ({'rank': 3}, 'begun with other settings'),
        ({'lr': 0.1}, 'begun with other settings'),
    ],
)
def test_going_on_with_something_else_is_refused(changes, message, begun, base, tmp_path):
    shutil.copytree(begun, tmp_path / 'a')
    with pytest.raises(ValueError, match=message):
        go(base, tmp_path / 'a', resume=True, **changes)


@pytest.fixture(scope='module')
def begun(base, tmp_path_factory):
    out = tmp_path_factory.mktemp('begun') / 'a'
    patch = pytest.MonkeyPatch()
    stop(patch, Trainer, 'train_step', 4)
    with pytest.raises(StoppedError):
        go(base, out)
    patch.undo()
    return out


def test_going_on_with_another_base_is_refused(begun, base, tmp_path):
    shutil.copytree(begun, tmp_path / 'a')
    shutil.copytree(base, tmp_path / 'base')
    path = tmp_path / 'base' / 'point_encoder' / 'diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    weights['used'] += 1
    save_file(weights, path)
    with pytest.raises(ValueError, match='begun with another base_sha256'):
        go(tmp_path / 'base', tmp_path / 'a', resume=True)


def test_folders_that_are_full_finished_or_empty(begun, base, tmp_path):
    with pytest.raises(FileExistsError, match='exists and is not empty; choose another folder'):
        go(base, begun)
    with pytest.raises(FileNotFoundError, match='nothing to go on from; begin without --resume'):
        go(base, tmp_path / 'none', resume=True)
    (tmp_path / 'a').mkdir()
    go(base, tmp_path / 'a', max_steps=1)
    before = adaptation_files(tmp_path / 'a')
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r'this adapter is finished|is not empty'):
            go(base, tmp_path / 'a', resume, max_steps=2)
    assert adaptation_files(tmp_path / 'a') == before


# ---- what is refused ----------------------------------------------------------------------------


def test_rank_and_share_together_and_too_small_a_share(base):
    with pytest.raises(ValueError, match=r'rank is 4 and share 0\.1; one determines the other'):
        chosen(rank=4, share=0.1)
    with pytest.raises(ValueError, match=r'share is 1e-06, .*expected at least'):
        plan(base, rank=0, share=1e-6)
    what, _ = plan(base, rank=0, share=0.05)
    assert what.card.share <= 0.05 < what.card.share * (what.card.rank + 1) / what.card.rank


def test_texts_that_the_model_cannot_read(base, tiny_folder, tmp_path):
    long = '[[image2segmentation]] ' + 'very ' * 40 + 'long'
    with pytest.raises(ValueError, match=r'has 42 words; this model reads at most'):
        plan(base, text=long)
    with pytest.raises(ValueError, match=r"prompt of 'floor': expected a text such as"):
        plan(base, text=' ')
    with pytest.raises(ValueError, match=r'no embedding for .*floor.* To add one: diception prom'):
        go(tiny_folder, tmp_path / 'a')
    assert not (tmp_path / 'a').exists()


def test_names_that_cannot_be_and_several_processes(base, monkeypatch):
    with pytest.raises(ValueError, match="a new task cannot be called 'depth'"):
        prepare_adaptation(str(base), 'depth', TEXT, 'mask', labels(task='depth'), chosen())
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ValueError, match='an adapter is trained by one process, got 2'):
        plan(base)


def test_full_disk_is_reported_as_full_disk(base, tmp_path, monkeypatch):
    what, _ = plan(base)
    runner = Trainer(
        what.settings,
        FewShotDataset(what.train, [], 8, 1, 0),
        pipe=what.pipe,
        registry=what.registry,
    )
    (tmp_path / WEIGHTS_FILE).mkdir()
    with pytest.raises(OSError, match=rf'{WEIGHTS_FILE} could not be written: .*'):
        runner.weights.write(tmp_path)

    def full(*args):
        raise RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 9 vs 8')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match=r'state.pt could not be written: .*room on the disk'):
        runner.save(tmp_path / 'run')
    assert checkpoints.list_checkpoints(tmp_path / 'run') == []


def test_a_line_that_was_cut_off_is_none(tmp_path):
    path = tmp_path / 'a.csv'
    table = validation.CSVLogger(path, ('step', 'loss'))
    table.add(step=50, loss=0.5)
    table.add(step=100, loss=0.25)
    text = path.read_bytes()
    for cut in range(1, 9):
        path.write_bytes(text[:-cut])
        lines = validation.read_csv(path, 100)
        assert lines[0] == {'step': '50', 'loss': '0.5'}
        assert lines[1:] in ([], [{'step': '100', 'loss': '0.25'}])
    assert validation.read_csv(path, 0) == validation.read_csv(tmp_path / 'none', 5) == []
