# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders: what comes back, and what is refused."""

import json
import subprocess
import sys

import numpy as np
from pipeline_calls import ask
import pytest
import torch

from diception_ros.model import DiceptionPipeline, folder

# ---- folders ------------------------------------------------------------------------------------


def test_saved_pipeline_is_the_same_bit_for_bit(tiny, image, noise, tmp_path):
    before = ask(tiny, image, noise)
    tiny.save_pretrained(tmp_path / 'a')
    loaded = DiceptionPipeline.from_pretrained(tmp_path / 'a', dtype=torch.float32)
    after = ask(loaded, image, noise)
    assert torch.equal(before.latents, after.latents)
    assert np.array_equal(before.images, after.images)
    assert loaded.config.resolution == 64
    loaded.save_pretrained(tmp_path / 'b')
    files = sorted(
        file.relative_to(tmp_path / 'a')
        for file in (tmp_path / 'a').rglob('*')
        # Tokenizers note the padding of their last call in their files.
        if file.suffix in ('.safetensors', '.json') and 'tokenizer' not in str(file)
    )
    assert len(files) > 12
    for file in files:
        first, second = ((tmp_path / side / file).read_bytes() for side in 'ab')
        assert first == second, file


@pytest.mark.slow
def test_a_folder_with_a_linear_autoencoder_is_read_by_a_process_that_trains_nothing(tmp_path):
    from disc_samples import tiny as settings

    from diception_ros.training.from_scratch import init_pipeline

    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    init_pipeline(settings(), images, ['a']).save_pretrained(tmp_path / 'model')
    program = (
        'from diception_ros.model import DiceptionPipeline\n'
        f'DiceptionPipeline.from_pretrained({str(tmp_path / "model")!r})\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)


def test_pipeline_without_text_encoders_predicts_the_same(tiny, tiny_folder, image, noise):
    bare = DiceptionPipeline.from_pretrained(
        tiny_folder,
        dtype=torch.float32,
        text_encoder=None,
        text_encoder_2=None,
        text_encoder_3=None,
        tokenizer=None,
        tokenizer_2=None,
        tokenizer_3=None,
    )
    assert bare.text_encoder is None
    assert torch.equal(ask(bare, image, noise).latents, ask(tiny, image, noise).latents)
    with pytest.raises(
        ValueError,
        match=r"'\[\[image2dept\]\]'; did you mean '\[\[image2depth\]\]'"
        r'.*diception prompts --model DIR --add',
    ):
        ask(bare, image, noise, ['[[image2dept]]'] * 3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda index: index.update(_class_name='StableDiffusion3Pipeline'),
            'diception convert --sd3',
        ),
        (
            lambda index: index.update(vae=['os', 'AutoencoderKL']),
            'component vae is os.AutoencoderKL',
        ),
        (
            lambda index: index.update(vae=['diffusers', 'system']),
            'component vae is diffusers.system',
        ),
        (
            lambda index: index.update(extra=['builtins', 'exec']),
            'component extra is builtins.exec',
        ),
    ],
)
def test_folder_may_not_name_strange_classes(tiny_folder, tmp_path, change, message):
    index = json.loads((tiny_folder / 'model_index.json').read_text())
    change(index)
    (tmp_path / 'model_index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        DiceptionPipeline.from_pretrained(tmp_path)


def test_loading_prints_nothing_and_leaves_progress_bars_as_they_were(
    tiny_folder, capfd, monkeypatch
):
    from diffusers.utils import logging

    monkeypatch.setattr(folder, '_silenced', False)  # as commands do

    before = logging.is_progress_bar_enabled()
    try:
        logging.enable_progress_bar()
        capfd.readouterr()
        DiceptionPipeline.from_pretrained(tiny_folder)
        assert capfd.readouterr() == ('', '')
        assert logging.is_progress_bar_enabled()
    finally:
        if not before:
            logging.disable_progress_bar()


def test_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such model folder'):
        DiceptionPipeline.from_pretrained(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'no model_index\.json'):
        DiceptionPipeline.from_pretrained(tmp_path)
