# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SD3's depth and layout of tokens through the training loop, in the paper's setting."""

import argparse
from pathlib import Path
import sys

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'bench'))
import train_full_size as bench

LR = 2e-5


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp('full') / 'model'
    bench.build(reduced=True).save_pretrained(out)
    return out


def begin(folder, gradient_checkpointing, batch=2):
    args = argparse.Namespace(device='cpu', steps=2, batch=batch, ema=0.0)
    return bench.begin(folder, bench.PIXELS, args, gradient_checkpointing)


def test_checkpointing_changes_no_gradient_and_saves_memory(folder):
    plain, saving = (bench.gradients(begin(folder, on)) for on in (False, True))
    assert bench.compare(plain, saving) < 1e-5
    assert plain.loss == pytest.approx(saving.loss, rel=1e-6)
    # 24 blocks, of which all but one are forgotten between the passes.
    assert saving.peak < plain.peak / 4
    tokens = 2 * (bench.PIXELS // 16) ** 2 + 77 + 256 + 5
    widths = 24 * 4 * bench.WIDTH  # what the feed-forward alone must remember of a token
    assert plain.peak > 2 * tokens * widths * 4


def test_two_steps_with_all_parameters(folder):
    runner = begin(folder, True, batch=6)
    assert (runner.settings.lr, runner.settings.optimizer) == (LR, 'adamw')
    assert len(runner.pipe.transformer.transformer_blocks) == 24
    seen = []
    forward = runner.pipe.transformer.forward

    def watched(**given):
        seen.append({name: value.shape for name, value in given.items() if name != 'return_dict'})
        return forward(**given)

    runner.pipe.transformer.forward = watched
    before = {name: value.detach().clone() for name, value in runner.parameters.items()}
    for step in (1, 2):
        losses, _ = runner.train_step()
        assert len(losses) == 6
        for name, value in runner.parameters.items():
            moved = (value.detach() - before[name]).abs()
            # Adam's first steps are of the size of the learning rate, whatever the gradient.
            assert 0 < float(moved.max()) < 1.2 * step * LR, name
    assert len(seen) == 2
    assert seen[0]['encoder_hidden_states'][1] == 77 + 256
    assert seen[0]['point_embeds'][1] == 5
    assert seen[0]['hidden_states'] == seen[0]['image_latents'] == (6, 16, 16, 16)
    assert torch.is_tensor(runner.parameters['point_encoder.used'].grad)
