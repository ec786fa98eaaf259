# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adaptations: exact resumption from wherever they stopped, what is judged, what is refused."""

import csv
from dataclasses import replace
import json
import shutil

from adapting import chosen, labels, random_matrices, write_base
from discs import tiny
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

from diception_ros import card as cards
from diception_ros import tasks
from diception_ros.card import CARD_FILE, WEIGHTS_FILE
from diception_ros.labels import MetricDepth
from diception_ros.model import lora
from diception_ros.model.fingerprint import fingerprint
from diception_ros.train import adapt, report, state
from diception_ros.train.fewshot import FewShot
from diception_ros.train.loop import Runner
from diception_ros.train.sources import Form, Listed
from diception_ros.train.weights import load_pipeline

TEXT = '[[image2segmentation]] floor'


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(autouse=True)
def _no_learnt_tasks(monkeypatch):
    monkeypatch.setattr(tasks, '_added', {})


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp('base') / 'model', 30)


def plan(base, known=None, kind='mask', text=TEXT, **changes):
    settings = chosen(**changes)
    return adapt.plan(str(base), 'floor', text, kind, known or labels(kind), settings), settings


def go(base, out, resume=False, **changes):
    what, settings = plan(base, **changes)
    return adapt.adapt(what, settings, out, resume, progress=False)


def told(out):
    """All that an adaptation leaves, but for how fast it was."""
    found = {name: (out / name).read_bytes() for name in (WEIGHTS_FILE, CARD_FILE, 'labels.json')}
    for name in ('log.csv', 'validation.csv'):
        with (out / 'run' / name).open() as file:
            found[name] = [
                {k: v for k, v in line.items() if k != 'samples_per_second'}
                for line in csv.DictReader(file)
            ]
    return found


# ---- going on -----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def whole(base, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'a'
    go(base, out)
    return told(out)


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
    assert told(tmp_path / 'again') == whole
    go(base, tmp_path / 'other', seed=1)
    assert told(tmp_path / 'other')[WEIGHTS_FILE] != whole[WEIGHTS_FILE]
    assert sorted(path.name for path in (tmp_path / 'again').iterdir()) == [
        WEIGHTS_FILE, CARD_FILE, 'labels.json', 'run',
    ]  # fmt: skip
    names = sorted(path.name for path in (tmp_path / 'again' / 'run').iterdir())
    assert names == ['log.csv', 'settings.yaml', 'sheets', 'validation.csv']


@pytest.mark.parametrize(
    ('where', 'name', 'when'),
    [
        (Runner, 'train_step', 2),  # before the first checkpoint
        (Runner, 'train_step', 4),
        (report.Validation, 'run', 2),
        (state, 'save', 2),  # the best state is newer than the last checkpoint
        (adapt.shutil, 'copyfile', 1),  # everything is learnt
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
    assert told(tmp_path / 'a') == whole
    assert not list(tmp_path.rglob('*partial*'))
    assert not (tmp_path / 'a' / 'best').exists()


def falling(monkeypatch, values):
    """Let the validations find these IoUs, whatever was learnt."""
    step = []

    def run(self, pipe, sheet=None):
        number = int(sheet.stem)
        step.append(number)
        return {'floor': {'best_iou': dict.fromkeys(report.ANSWERS, values[number])}}

    monkeypatch.setattr(report.Validation, 'run', run)
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
            where = state if stopped_in == 'save' else adapt.shutil
            stop(patch, where, stopped_in, 4 if stopped_in == 'save' else 1)
            with pytest.raises(StoppedError):
                go(base, tmp_path / 'a', steps=10, patience=3)
    seen = falling(monkeypatch, values)
    card = go(base, tmp_path / 'a', stopped_in is not None, steps=10, patience=3)
    assert seen == {None: [2, 4, 6, 8], 'copyfile': [], 'save': [8]}[stopped_in]
    assert card.metrics['step'] == 2
    go(base, tmp_path / 'b', steps=2, held_back=0.2)
    # Also the state, not only what is said of it.
    one, two = (load_file(tmp_path / name / WEIGHTS_FILE) for name in 'ab')
    assert all(torch.equal(value, two[name]) for name, value in one.items())


class Written:
    """Stands for a run: writes the step that it is at."""

    def __init__(self, step=0):
        self.step, self.weights = step, self

    def write(self, folder):
        folder.mkdir(parents=True)
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
    kept = adapt._Best(runner, card, tmp_path, 3)
    (tmp_path / 'run').mkdir()
    table = report.Table(tmp_path / 'run' / 'validation.csv', report.VALIDATION_COLUMNS)
    ended = None
    for step, value in enumerate(values, 1):
        runner.step = step
        scores = {'floor': {adapt.MAIN[kind][0]: dict.fromkeys(report.ANSWERS, value)}}
        if kept.watch(step, scores) and ended is None:
            ended = step
        for line in report.lines(scores):
            table.add(step=step, **line)
        # Whoever goes on from here knows the same, and finds the state.
        again = adapt._Best(Written(step), card, tmp_path, 3)
        assert (again.state, again.enough) == (kept.state, kept.enough)
        if step > 1:
            before = adapt._Best(Written(step - 1), card, tmp_path, 3).state
            assert int((before / 'step').read_text()) == int(before.name)
    assert ended == enough_at
    assert (kept.state / 'step').read_text() == str(best)
    assert kept.metrics['step'] == best


CARD = cards.Card('floor', TEXT, 'mask', 'builtin', '0' * 64, 1, 1, 0.01)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'known': labels(seed=1)}, 'begun with another sha256'),
        ({'text': TEXT + ' other'}, 'begun with another prompt'),
        ({'kind': 'rgb'}, 'begun with another kind'),
        ({'smallest': 0.5}, 'begun with another smallest'),
        ({'held_back': 0.5}, 'begun with another learnt'),
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
    stop(patch, Runner, 'train_step', 4)
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
    go(base, tmp_path / 'a', steps=1)
    before = told(tmp_path / 'a')
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r'this adapter is finished|is not empty'):
            go(base, tmp_path / 'a', resume, steps=2)
    assert told(tmp_path / 'a') == before


# ---- what is learnt and judged ------------------------------------------------------------------


@pytest.mark.parametrize('count', range(1, 12))
@pytest.mark.parametrize('share', [0.0, 0.2, 0.9])
def test_each_picture_is_learnt_from_or_held_back(count, share):
    known = labels(count=count).samples
    learnt, held = adapt.split(known, share, 0)
    assert [one for one in known if one in learnt] == learnt
    assert [one for one in known if one in held] == held
    assert len(learnt) + len(held) == count
    assert learnt
    assert not any(one in learnt for one in held)
    assert (len(held) >= 2) == (share > 0 and count >= 5)
    if len(held) > 2:
        assert len(held) in (round(share * count), count - 1)
    assert adapt.split(known, share, 0) == (learnt, held)


def test_pictures_held_back_are_never_learnt_from(base, tmp_path, monkeypatch):
    seen = set()
    was = FewShot.pool

    def pool(self, number, form):
        made = was(self, number, form)
        seen.update(name.partition('/')[0] for name in made.names)
        return made

    monkeypatch.setattr(FewShot, 'pool', pool)
    what, settings = plan(base)
    card = adapt.adapt(what, settings, tmp_path / 'a', progress=False)
    assert seen == {sample.name for sample in what.learnt}
    assert not seen & {sample.name for sample in what.held}
    assert (card.data['learnt'], card.data['held_back']) == (6, 2)
    assert 'from 6 pictures, judged by 2 others' in adapt.describe(what)


def test_of_few_pictures_none_is_held_back(base, tmp_path):
    what, settings = plan(base, labels(count=4))
    assert len(what.learnt) == 4
    assert 'none held back, so nothing will tell how good it is' in adapt.describe(what)
    card = adapt.adapt(what, settings, tmp_path / 'a', progress=False)
    assert card.metrics == {}
    assert not (tmp_path / 'a' / 'run' / 'validation.csv').exists()
    assert (tmp_path / 'a' / WEIGHTS_FILE).is_file()


def test_the_base_stays_bit_for_bit_and_the_file_holds_what_learnt(base, tmp_path):
    what, settings = plan(base)
    card = adapt.adapt(what, settings, tmp_path / 'a', progress=False)
    fresh = load_pipeline(base)
    for part in ('transformer', 'vae', 'point_encoder'):
        kept = getattr(fresh, part).state_dict()
        after = {
            name.replace('.base_layer', ''): value
            for name, value in getattr(what.pipe, part).state_dict().items()
            if '.lora_' not in name
        }
        assert after.keys() == kept.keys()
        assert all(torch.equal(value, kept[name]) for name, value in after.items()), part
    content = load_file(tmp_path / 'a' / WEIGHTS_FILE)
    prompt = [content.pop(f'prompt.{name}') for name in ('tokens', 'pooled')]
    assert {name: value.shape for name, value in content.items()} == {
        name: value.shape for name, value in
        random_matrices(lora.widths(fresh.transformer), 4).items()
    }  # fmt: skip
    assert sum(value.numel() for value in content.values()) == card.parameters
    size = (tmp_path / 'a' / WEIGHTS_FILE).stat().st_size
    known = 4 * card.parameters + sum(4 * value.numel() for value in prompt)
    assert known < size < known + 8192
    assert card.base_sha256 == fingerprint(base)
    whole = sum(
        value.numel() for part in (fresh.transformer, fresh.point_encoder)
        for value in part.parameters()
    )  # fmt: skip
    assert card.share == card.parameters / whole
    assert cards.read(tmp_path / 'a') == card
    assert all(value.abs().max() > 0 for value in content.values())


@pytest.mark.parametrize('held_back', [0.0, 0.2])
def test_the_adapter_is_the_running_mean_of_the_matrices(held_back, base, tmp_path):
    found = {}
    for ema in (0.0, 0.5):
        go(base, tmp_path / f'{ema}', steps=2, held_back=held_back, ema=ema)
        found[ema] = load_file(tmp_path / f'{ema}' / WEIGHTS_FILE)
    first = next(name for name in found[0.0] if 'lora_B' in name)
    last, mean = found[0.0][first], found[0.5][first]
    # The steps are the same; they begin at zero, and the mean is behind.
    assert 0 < mean.abs().sum() < last.abs().sum()


def test_the_file_answers_as_it_was_judged(base, tmp_path):
    what, settings = plan(base, steps=4)
    card = adapt.adapt(what, settings, tmp_path / 'a', progress=False)
    pipe = load_pipeline(base)
    values, prompt = lora.read(str(tmp_path / 'a' / WEIGHTS_FILE))
    lora.put(pipe.transformer, 'floor', values)
    pipe.prompt_table.add(TEXT, prompt)
    form = Form(pipe.config.resolution, 'xy', False)
    judge = report.Validation(what.held, form, form.prepare(what.learnt), what.settings)
    with lora.switched_on(pipe.transformer, 'floor'):
        found = judge.run(pipe)['floor']
    assert found['picture_mae']['true'] == pytest.approx(
        card.metrics['picture_mae']['true'], rel=1e-4
    )
    off = judge.run(pipe)['floor']['picture_mae']['true']
    assert off != pytest.approx(card.metrics['picture_mae']['true'], rel=1e-3)


def test_what_cannot_be_scored_is_null_and_the_last_state_is_kept(base, tmp_path):
    unknown = [
        replace(one, label=MetricDepth(np.full(one.frame.size, np.nan, np.float32)))
        for one in labels('depth').samples
    ]
    known = replace(labels('depth'), samples=unknown)
    card = go(base, tmp_path / 'a', known=known, kind='depth', patience=1)
    assert card.metrics['step'] == 6
    text = (tmp_path / 'a' / CARD_FILE).read_text()
    assert 'NaN' not in text
    assert json.loads(text)['metrics']['disparity_mae']['true'] is None
    assert cards.read(tmp_path / 'a').metrics['picture_mae']['true'] is None


def test_a_frozen_base_in_bfloat16_learns_in_float32(base):
    """As on a GPU; plan asks for it there."""
    task = tasks.add(CARD)
    pipe = load_pipeline(base)
    pipe.prompt_table.add(TEXT, pipe.prompt_table['[[image2depth]]'])
    settings = tiny(
        model=str(base), rank=2, frozen_bf16=True, bf16=True, resolution=0, shares='floor=1',
        checkpointing=True, batch_size=4,
    )  # fmt: skip
    runner = Runner(settings, Listed(labels().samples), pipe=pipe)
    assert task.prompt == TEXT
    before = {k: v.clone() for k, v in pipe.transformer.state_dict().items()}
    losses, norm = runner.train_step()
    runner.train_step()
    assert np.isfinite(losses['floor']).all()
    assert norm > 0
    for name, value in pipe.transformer.state_dict().items():
        if '.lora_' in name:
            assert value.dtype == torch.float32
            assert not torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, before[name]), name
    weights = pipe.transformer.transformer_blocks[0].attn.to_q.base_layer.weight
    assert weights.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('kind', 'steps', 'lr', 'metric'),
    [
        ('mask', 12, 1e-2, 'best_iou'),
        ('instances', 12, 1e-2, 'mean_iou'),
        ('depth', 12, 1e-2, 'disparity_mae'),
        ('normals', 36, 6e-3, 'mean_deg'),
        ('rgb', 36, 6e-3, 'mae'),
    ],
)
def test_each_kind_is_learnt_by_the_built_in_model(kind, steps, lr, metric, tmp_path):
    """One percent of the parameters; better than the mean picture on what was learnt from."""
    settings = chosen(
        rank=0, steps=steps, lr=lr, batch_size=4, smallest=1, pool=16, ema=0.8, dropout=0,
        photometric=0, held_back=0,
    )  # fmt: skip
    what = adapt.plan('builtin', 'floor', TEXT, kind, labels(kind), settings)
    assert 0.009 < what.card.share <= 0.01
    cadence = replace(what.settings, log_every=steps // 2, validate_every=steps)
    what = what._replace(held=what.learnt[:4], settings=cadence)
    card = adapt.adapt(what, settings, tmp_path / 'a', progress=False)
    first, last = (float(line['loss']) for line in told(tmp_path / 'a')['log.csv'])
    assert last < 0.9 * first
    assert (card.kind, adapt.MAIN[kind][0]) == (kind, metric)
    score = card.metrics[metric]
    more = adapt.MAIN[kind][1]
    assert (score['true'] > score['mean']) if more else (score['true'] < score['mean'])


# ---- what is refused ----------------------------------------------------------------------------


def test_rank_and_share_together_and_too_small_a_share(base):
    with pytest.raises(ValueError, match=r'rank is 4 and share 0\.1; one follows from the other'):
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
        adapt.plan(str(base), 'depth', TEXT, 'mask', labels(task='depth'), chosen())
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ValueError, match='an adapter is learnt by one process, came 2'):
        plan(base)


def test_a_line_that_was_cut_off_is_none(tmp_path):
    path = tmp_path / 'a.csv'
    table = report.Table(path, ('step', 'loss'))
    table.add(step=50, loss=0.5)
    table.add(step=100, loss=0.25)
    text = path.read_bytes()
    for cut in range(1, 9):
        path.write_bytes(text[:-cut])
        lines = report.read_table(path, 100)
        assert lines[0] == {'step': '50', 'loss': '0.5'}
        assert lines[1:] in ([], [{'step': '100', 'loss': '0.25'}])
    assert report.read_table(path, 0) == report.read_table(tmp_path / 'none', 5) == []
