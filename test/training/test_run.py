# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs: exact resumption, dropout, what stops them, and that they learn."""

import csv
from dataclasses import replace

from disc_samples import discs, tiny
import numpy as np
import pytest
import torch

from diception_ros.core import images
from diception_ros.model import DiceptionPipeline
from diception_ros.system import files
from diception_ros.training import checkpoints, samples, settings, trainer
from diception_ros.training import loss as flow
from diception_ros.training.checkpoints import trainable_parameters
from diception_ros.training.loss import NonFiniteLossError
from diception_ros.training.optim import lr_factor
from diception_ros.training.sources import InMemoryDataset
from diception_ros.training.trainer import Trainer


@pytest.fixture(scope='module')
def source():
    return InMemoryDataset(discs(16, 0), discs(4, 1))


def go(runner, steps):
    for _ in range(steps):
        runner.train_step()
    return runner


def everything(runner):
    """All that decides how a run goes on."""
    parts = runner.optimizer.state_dict()['parts']
    return {
        **{name: value.detach() for name, value in runner.parameters.items()},
        **{f'ema {name}': value for name, value in runner.ema.average.items()},
        **{
            f'part {i} {k} {name}': value
            for i, part in enumerate(parts)
            for k, one in part['state'].items()
            for name, value in one.items()
        },
        'generator': runner.generator.get_state(),
    }


# ---- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
def test_two_steps_and_two_more_are_four_bit_for_bit(optimizer, source, tmp_path):
    chosen = tiny(
        optimizer=optimizer,
        gradient_accumulation_steps=2,
        warmup=3,
        lr_decay_fraction=0.5,
        color_jitter=0.5,
    )
    whole = go(Trainer(chosen, source), 4)
    go(Trainer(chosen, source), 2).save(tmp_path)
    resumed = trainer.resume(None, tmp_path, source)
    assert resumed.step == 2
    go(resumed, 2)
    expected, got = everything(whole), everything(resumed)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name


def test_a_run_that_was_stopped_leaves_the_same_files(source, tmp_path):
    chosen = tiny(validate_every=2, validation_samples=4)
    trainer.fit(
        trainer.start(chosen, tmp_path / 'whole', source), tmp_path / 'whole', progress=False
    )
    stopped = trainer.start(chosen, tmp_path / 'stopped', source)
    stopped.settings = replace(chosen, max_steps=2)
    trainer.fit(stopped, tmp_path / 'stopped', progress=False)
    resumed = trainer.resume(chosen, tmp_path / 'stopped', source)
    trainer.fit(resumed, tmp_path / 'stopped', progress=False)

    def table(name, file):
        with (tmp_path / name / file).open() as lines:
            return [
                {key: value for key, value in line.items() if key != 'samples_per_second'}
                for line in csv.DictReader(lines)
            ]

    for file in ('log.csv', 'validation.csv'):
        assert table('whole', file) == table('stopped', file)
    assert [line['step'] for line in table('whole', 'log.csv')] == ['2', '4']
    for part in ('transformer', 'point_encoder', 'vae'):
        weights = 'diffusion_pytorch_model.safetensors'
        one, two = (
            (tmp_path / name / 'model' / part / weights).read_bytes()
            for name in ('whole', 'stopped')
        )
        assert one == two, part
    for name in ('00000002.png', '00000004.png'):
        np.testing.assert_array_equal(
            images.read(tmp_path / 'whole' / 'sheets' / name),
            images.read(tmp_path / 'stopped' / 'sheets' / name),
        )
    assert not list(tmp_path.rglob('*.partial'))


def test_a_run_that_goes_on_asks_for_the_pool_of_its_step_alone(tmp_path):
    """An earlier one may have taken minutes to render."""
    asked = []

    class Noting(InMemoryDataset):
        def buffer(self, number, form):
            asked.append(number)
            return super().buffer(number, form)

    noting = Noting(discs(16, 0))
    go(Trainer(tiny(buffer_refresh_steps=1), noting), 3).save(tmp_path)
    assert asked == [0, 1, 2]
    resumed = trainer.resume(None, tmp_path, noting)
    assert asked[3:] == [3]
    go(resumed, 1)
    assert asked[3:] == [3]


def test_the_saved_settings_repeat_the_run(source, tmp_path):
    chosen = tiny(max_steps=2, seed=3)
    trainer.fit(trainer.start(chosen, tmp_path / 'one', source), tmp_path / 'one', progress=False)
    copy = settings.read(tmp_path / 'one' / 'settings.yaml')
    again = go(Trainer(copy, source), 2)
    saved = DiceptionPipeline.from_pretrained(
        checkpoints.list_checkpoints(tmp_path / 'one')[-1] / 'model'
    )
    for name, value in trainable_parameters(saved).items():
        assert torch.equal(value, again.parameters[name]), name


def test_the_model_at_the_end_is_the_mean_of_the_weights(source, tmp_path):
    runner = trainer.start(tiny(), tmp_path, source)
    model = trainer.fit(runner, tmp_path, progress=False)
    saved = trainable_parameters(DiceptionPipeline.from_pretrained(model))
    moved = 0
    for name, value in saved.items():
        assert torch.equal(value, runner.ema.average[name]), name
        moved += not torch.equal(value, runner.parameters[name])
    assert moved > 10


def test_a_saved_model_learns_on(source, tmp_path):
    trainer.fit(trainer.start(tiny(max_steps=2), tmp_path, source), tmp_path, progress=False)
    further = Trainer(tiny(model=str(tmp_path / 'model'), resolution=0), source)
    assert further.preprocessor.resolution == 32
    go(further, 1)


def test_sd3s_parts_learn_too(tiny_folder, source, tmp_path):
    """A converted folder: a true VAE, the embeddings of its table, velocities, no encoders."""
    chosen = tiny(model=str(tiny_folder), resolution=0, weighting='velocity')
    runner = trainer.start(chosen, tmp_path, source)
    assert runner.pipe.text_encoder_3 is None
    assert runner.preprocessor.resolution == 64
    go(runner, 2).save(tmp_path)
    assert not (checkpoints.list_checkpoints(tmp_path)[-1] / 'model' / 'text_encoder').exists()
    resumed = go(trainer.resume(chosen, tmp_path, source), 1)
    go(runner, 1)
    for name, value in runner.parameters.items():
        assert torch.equal(value, resumed.parameters[name]), name


def test_another_resolution_than_the_models(tiny_folder, source, tmp_path):
    runner = Trainer(tiny(model=str(tiny_folder), resolution=32), source)
    saved = DiceptionPipeline.from_pretrained(go(runner, 1).save(tmp_path) / 'model')
    assert saved.config.resolution == 32
    with pytest.raises(ValueError, match='multiples of 16'):
        Trainer(tiny(model=str(tiny_folder), resolution=40), source)


def test_only_the_last_checkpoints_are_kept(source, tmp_path):
    runner = Trainer(tiny(keep=2), source)
    for step in (1, 2, 3):
        runner.step = step
        runner.save(tmp_path)
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        '00000002',
        '00000003',
    ]


def test_a_checkpoint_runs_no_code(source, tmp_path):
    path = Trainer(tiny(), source).save(tmp_path)

    class Evil:
        def __reduce__(self):
            return print, ('ran',)

    torch.save({'format': 1, 'step': Evil()}, path / 'state.pt')
    with pytest.raises(ValueError, match=r'state\.pt: damaged, or more than tensors'):
        checkpoints.load(path)


def test_resuming_an_incompatible_run_raises(source, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        trainer.resume(None, tmp_path, source)
    go(trainer.start(tiny(), tmp_path / 'run', source), 1).save(tmp_path / 'run')
    with pytest.raises(ValueError, match=r'lr: 0.001, now 0.002'):
        trainer.resume(tiny(lr=2e-3), tmp_path / 'run', source)
    assert trainer.resume(tiny(max_steps=9), tmp_path / 'run', source).step == 1
    with pytest.raises(FileExistsError, match='not empty'):
        trainer.start(tiny(), tmp_path / 'run', source)


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(source, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'settings.yaml.diception.partial').touch()  # of one that was killed
    trainer.start(tiny(), tmp_path / 'run', source)
    resumed = trainer.resume(None, tmp_path / 'run', source)
    assert resumed.step == 0
    assert resumed.notes == ['no checkpoint was written yet, so the run starts again']
    with pytest.raises(ValueError, match=r'lr: 0.001, now 0.002'):
        trainer.resume(tiny(lr=2e-3), tmp_path / 'run', source)


def test_two_runs_into_one_folder_are_refused(source, tmp_path):
    runner = trainer.start(tiny(), tmp_path / 'run', source)
    with files.exclusive_folder(tmp_path / 'run'), pytest.raises(BlockingIOError):
        trainer.fit(runner, tmp_path / 'run', progress=False)
    assert [path.name for path in (tmp_path / 'run').iterdir()] == ['settings.yaml']


def test_resume_with_another_max_steps_and_decay_is_logged_with_its_effect():
    had = tiny(max_steps=100, lr=1e-3, lr_decay_fraction=0.4)
    chosen = replace(had, max_steps=200)
    (note,) = trainer._schedule_changes(had, chosen, 80)
    rates = [1e-3 * lr_factor(one, 80) for one in (had, chosen)]
    assert rates == pytest.approx([5e-4, 1e-3])
    assert 'max_steps was 100, now 200' in note
    assert 'goes on at 0.001, not 0.0005, and falls from step 120 on, not 60' in note
    assert lr_factor(chosen, 120) == 1.0 > lr_factor(chosen, 121)
    assert lr_factor(had, 60) == 1.0 > lr_factor(had, 61)
    assert trainer._schedule_changes(had, had, 80) == []
    assert trainer._schedule_changes(tiny(max_steps=100), tiny(max_steps=200), 80) == []


# ---- one step -----------------------------------------------------------------------------------


def test_accumulated_passes_are_one_larger_batch(source):
    """Without noise levels and dropout to draw, halves of a batch give the gradient of it."""
    gradients = []
    for size, parts in ((8, 1), (4, 2)):
        runner = Trainer(
            tiny(
                batch_size=size,
                gradient_accumulation_steps=parts,
                pure_noise_prob=1.0,
                cond_dropout=0.0,
                max_grad_norm=0.0,
                weighting='velocity',
            ),
            source,
        )
        noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))

        def losses(batch, runner=runner, noise=noise):
            clean = runner.pipe.encode_image(batch.target)
            tokens, pooled = runner.pipe.embed_prompts(batch.texts)
            velocity = runner.pipe.transformer(
                noise.expand(len(clean), -1, -1, -1), runner.pipe.encode_image(batch.image),
                tokens, pooled, runner.pipe.point_encoder(batch.points, batch.point_labels),
                torch.full((len(clean),), 1000.0),
            ).sample  # fmt: skip
            loss = (velocity - noise + clean).square().mean(dim=(1, 2, 3))
            return loss, torch.ones(len(clean), dtype=torch.bool)

        runner.losses = losses
        runner.train_step()
        gradients.append(torch.cat([p.grad.flatten() for p in runner.parameters.values()
                                    if p.grad is not None]))  # fmt: skip
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_a_step_goes_by_the_weighted_errors_and_the_log_by_the_plain_ones(source):
    """Of one sample the gradient grows by its weight; what is told of it stays."""
    found = {}
    for power in (0.0, 0.5):
        runner = Trainer(
            tiny(batch_size=1, small_object_weighting=power, max_grad_norm=0.0), source
        )
        weight = float(flow.sample_weights(runner.batch(0).target, 0.5))
        found[power] = runner.train_step()
    assert weight > 1.5
    assert found[0.5][1] == pytest.approx(weight * found[0.0][1], rel=1e-4)
    assert found[0.5][0] == found[0.0][0]


def test_no_batch_comes_twice(source, monkeypatch):
    runner = Trainer(tiny(gradient_accumulation_steps=3), source)
    asked, batch = [], runner.batch
    monkeypatch.setattr(runner, 'batch', lambda number: (asked.append(number), batch(number))[1])
    go(runner, 2)
    assert asked == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('share', [0.0, 0.25, 1.0])
def test_cond_dropout_trains_the_unconditional_branch(source, share, monkeypatch):
    runner = Trainer(tiny(cond_dropout=share, batch_size=256), source)
    seen = {}
    forward = runner.pipe.transformer.forward
    monkeypatch.setattr(
        runner.pipe.transformer,
        'forward',
        lambda **given: (seen.update(given), forward(**given))[1],
    )
    batch = runner.batch(0)
    with torch.no_grad():
        runner.losses(batch)
    empty, _ = runner.pipe.embed_prompts([''])
    texts, _ = runner.pipe.embed_prompts(batch.texts)
    without = (seen['encoder_hidden_states'] == empty).all(dim=(1, 2))
    assert torch.equal(without, (seen['point_embeds'] == 0).all(dim=(1, 2)))
    assert torch.equal(seen['encoder_hidden_states'][~without], texts[~without])
    assert float(without.float().mean()) == pytest.approx(share, abs=0.07)


def test_photometric_changes_are_of_what_is_shown_alone(source, monkeypatch):
    seen = {}
    for strength in (0.0, 1.0):
        runner = Trainer(tiny(color_jitter=strength), source)
        batch, encoded = runner.batch(0), []
        encode = runner.pipe.encode_vae_image
        monkeypatch.setattr(
            runner.pipe,
            'encode_vae_image',
            lambda x, *more, e=encode, to=encoded: (to.append(x), e(x, *more))[1],
        )
        before = runner.generator.get_state()
        with torch.no_grad():
            runner.losses(batch)
        target, shown = encoded
        assert torch.equal(target, batch.target)
        seen[strength] = shown
        if not strength:
            assert torch.equal(shown, batch.image)
        # The same draw makes the same images.
        again = torch.Generator()
        again.set_state(before)
        expected = samples.color_jitter(batch.image, strength, samples.jitter_seeds(8, again))
        torch.testing.assert_close(shown, expected)
    assert ((seen[1.0] - seen[0.0]).abs().amax(dim=(1, 2, 3)) > 0.05).all()


def test_the_autoencoder_stays_as_it_is(source):
    runner = Trainer(tiny(), source)
    before = {name: value.clone() for name, value in runner.pipe.vae.state_dict().items()}
    go(runner, 3)
    for name, value in runner.pipe.vae.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(runner.parameters['point_encoder.used'].detach(),
                           Trainer(tiny(), source).parameters['point_encoder.used'])  # fmt: skip


@pytest.mark.parametrize(
    'more', [{'gradient_checkpointing': True}, {'bf16': True}, {'compile': True}]
)
def test_memory_and_speed_options_change_little(source, more, monkeypatch):
    # Traced and taken apart as ever, but not given to a C++ compiler, which takes minutes.
    monkeypatch.setattr(trainer, 'BACKEND', 'aot_eager')
    monkeypatch.setenv('CXX', 'true')
    plain, saving = Trainer(tiny(), source), Trainer(tiny(**more), source)
    atol = 0.05 if 'bf16' in more else 1e-5
    for _ in range(2):
        one, two = plain.train_step(), saving.train_step()
        for task, values in one[0].items():
            assert values == pytest.approx(two[0][task], rel=atol, abs=atol)
    assert saving.parameters['transformer.proj_out.weight'].dtype == torch.float32
    assert set(saving.parameters) == set(plain.parameters)
    assert bool(saving.pipe.transformer._compiled_call_impl) == ('compile' in more)


def test_compile_without_a_compiler_raises_before_loading(source, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(FileNotFoundError, match='there is no no-such-compiler; apt'):
        Trainer(tiny(compile=True), source)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_sample(source, tmp_path):
    runner = trainer.start(tiny(), tmp_path, source)
    _, pool, _ = runner.buffer()
    bad = int(pool.rows('depth')[5])
    batch = runner.batch

    def poisoned(number):
        out = batch(number)
        for row, name in enumerate(out.names):
            if name == pool.names[bad]:
                out.image[row, 0, 3, 3] = float('inf')
        return out

    runner.batch = poisoned
    with pytest.raises(NonFiniteLossError, match=r'for 1 of 8 samples: disc 5 depth;'):
        trainer.fit(runner, tmp_path, progress=False)
    assert all(torch.isfinite(value).all() for value in runner.parameters.values())


def test_learning_rate_rises_stays_and_falls():
    chosen = tiny(max_steps=100, warmup=10, lr_decay_fraction=0.4)
    rates = [lr_factor(chosen, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:60] == [1.0] * 51
    assert rates[80] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.03
    assert {lr_factor(tiny(), step) for step in range(4)} == {1.0}


def test_tasks_without_samples_and_texts_without_embedding_are_named(source, tmp_path):
    with pytest.raises(ValueError, match="no sample of task 'pose'"):
        Trainer(tiny(task_weights='depth=1 pose=1'), source)
