# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What adaptations learn from, what they leave, and how it is judged."""

from dataclasses import replace
import json

from adapter_fixtures import (
    TEXT,
    adaptation_files,
    chosen,
    go,
    labels,
    plan,
    random_matrices,
    write_base,
)
from disc_samples import tiny
import numpy as np
import pytest
from safetensors.torch import load_file
import torch

from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE
from diception_ros.core.labels import MetricDepth
from diception_ros.datasets.sample import fit_label
from diception_ros.model import adapters
from diception_ros.model.folder import fingerprint
from diception_ros.tasks import TaskRegistry
from diception_ros.training import validation
from diception_ros.training.adapt import (
    SELECTION_METRIC,
    FewShotDataset,
    describe,
    fit_adapter,
    prepare_adaptation,
    split,
)
from diception_ros.training.checkpoints import load_pipeline
from diception_ros.training.samples import Preprocessor
from diception_ros.training.sources import InMemoryDataset
from diception_ros.training.trainer import Trainer


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp('base') / 'model', 30)


CARD = cards.Card('floor', TEXT, 'mask', 'builtin', '0' * 64, 1, 1, 0.01)


@pytest.mark.parametrize('count', range(1, 16))
@pytest.mark.parametrize('share', [0.0, 0.2, 0.9])
def test_each_image_is_for_training_or_validation(count, share):
    known = labels(count=count).samples
    trained, held = split(known, share, 0)
    assert [one for one in known if one in trained] == trained
    assert [one for one in known if one in held] == held
    assert len(trained) + len(held) == count
    assert trained
    assert not any(one in trained for one in held)
    assert (len(held) >= 2) == (share > 0 and count >= 10)
    assert held or len(trained) == count
    if len(held) > 2:
        assert len(held) in (round(share * count), count - 1)
    assert split(known, share, 0) == (trained, held)


def test_validation_images_are_never_trained_on(base, tmp_path, monkeypatch):
    seen = set()
    was = FewShotDataset.buffer

    def pool(self, number, form):
        made = was(self, number, form)
        seen.update(name.partition('/')[0] for name in made.names)
        return made

    monkeypatch.setattr(FewShotDataset, 'buffer', pool)
    what, settings = plan(base)
    card = fit_adapter(what, settings, tmp_path / 'a', progress=False)
    assert seen == {sample.name for sample in what.train}
    assert not seen & {sample.name for sample in what.held_out}
    assert (card.data['train_images'], card.data['validation_images']) == (8, 2)
    assert 'from 8 images, validated on 2 others' in describe(what)


def test_of_few_images_none_is_for_validation(base, tmp_path):
    few = labels(count=9)
    what, settings = plan(base, few)
    assert len(what.train) == 9
    assert 'none held out, so there will be no metrics' in describe(what)
    card = fit_adapter(what, settings, tmp_path / 'a', progress=False)
    assert card.metrics == {}
    assert not (tmp_path / 'a' / 'run' / 'validation.csv').exists()
    assert (tmp_path / 'a' / WEIGHTS_FILE).is_file()
    # Nothing that was painted can say what threshold is good.
    truths = [fit_label(one, what.pipe.config.resolution, what.registry) for one in few.samples]
    assert card.threshold == validation.threshold_prior(truths) != 0.5


@pytest.mark.parametrize(('count', 'steps'), [(1, 50), (5, 50), (9, 90), (10, 1000)])
def test_without_validation_few_images_take_few_steps(count, steps, base):
    what, _ = plan(base, labels(count=count), max_steps=0)
    assert what.settings.max_steps == what.card.settings['max_steps'] == steps
    what, _ = plan(base, labels(count=count), max_steps=7)
    assert what.settings.max_steps == what.card.settings['max_steps'] == 7


def test_the_base_stays_bit_for_bit_and_the_file_holds_what_was_trained(base, tmp_path):
    what, settings = plan(base)
    card = fit_adapter(what, settings, tmp_path / 'a', progress=False)
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
        random_matrices(adapters.layer_shapes(fresh.transformer), 4).items()
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


@pytest.mark.parametrize('val_fraction', [0.0, 0.2])
def test_the_adapter_is_the_running_mean_of_the_matrices(val_fraction, base, tmp_path):
    found = {}
    for ema in (0.0, 0.5):
        go(base, tmp_path / f'{ema}', max_steps=2, val_fraction=val_fraction, ema=ema)
        found[ema] = load_file(tmp_path / f'{ema}' / WEIGHTS_FILE)
    first = next(name for name in found[0.0] if 'lora_B' in name)
    last, mean = found[0.0][first], found[0.5][first]
    # The steps are the same; they begin at zero, and the mean is behind.
    assert 0 < mean.abs().sum() < last.abs().sum()


def test_the_file_predicts_as_it_was_validated(base, tmp_path):
    what, settings = plan(base, max_steps=4)
    card = fit_adapter(what, settings, tmp_path / 'a', progress=False)
    pipe = load_pipeline(base)
    values, prompt = adapters.read(str(tmp_path / 'a' / WEIGHTS_FILE))
    adapters.load(pipe.transformer, 'floor', values)
    pipe.prompt_table.add(TEXT, prompt)
    form = Preprocessor(pipe.config.resolution, 'xy', False, what.registry)
    judge = validation.Validator(what.held_out, form, form.collate(what.train), what.settings)
    with adapters.enabled(pipe.transformer, 'floor'):
        found = judge.run(pipe)['floor']
    assert found['image_mae']['true'] == pytest.approx(card.metrics['image_mae']['true'], rel=1e-4)
    off = judge.run(pipe)['floor']['image_mae']['true']
    assert off != pytest.approx(card.metrics['image_mae']['true'], rel=1e-3)


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
    assert cards.read(tmp_path / 'a').metrics['image_mae']['true'] is None


def test_a_frozen_base_in_bfloat16_learns_in_float32(base):
    """As on a GPU; plan asks for it there."""
    registry = TaskRegistry((CARD,))
    pipe = load_pipeline(base)
    pipe.prompt_table.add(TEXT, pipe.prompt_table['[[image2depth]]'])
    settings = tiny(
        model=str(base), rank=2, frozen_bf16=True, bf16=True, resolution=0, task_weights='floor=1',
        gradient_checkpointing=True, batch_size=4,
    )  # fmt: skip
    runner = Trainer(settings, InMemoryDataset(labels().samples), pipe=pipe, registry=registry)
    assert registry.get('floor').prompt == TEXT
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
        ('normals', 24, 6e-3, 'mean_deg'),
        ('rgb', 60, 6e-3, 'mae'),
    ],
)
def test_the_built_in_model_learns_each_kind(kind, steps, lr, metric, tmp_path):
    """One percent of the parameters; on what was trained on better than the mean image."""
    settings = chosen(
        rank=0,
        max_steps=steps,
        lr=lr,
        batch_size=4,
        min_crop_scale=1,
        buffer=16,
        ema=0.8,
        cond_dropout=0,
        color_jitter=0,
        val_fraction=0,
    )
    what = prepare_adaptation('builtin', 'floor', TEXT, kind, labels(kind), settings)
    assert 0.009 < what.card.share <= 0.01
    cadence = replace(what.settings, log_every=steps // 2, validate_every=steps)
    what = what._replace(held_out=what.train[:4], settings=cadence)
    card = fit_adapter(what, settings, tmp_path / 'a', progress=False)
    first, last = (float(line['loss']) for line in adaptation_files(tmp_path / 'a')['log.csv'])
    assert last < 0.9 * first
    assert (card.kind, SELECTION_METRIC[kind][0]) == (kind, metric)
    score = card.metrics[metric]
    sign = 1 if SELECTION_METRIC[kind][1] else -1
    for other in ('mean', 'shuffled'):
        assert sign * score['true'] > sign * score[other]
