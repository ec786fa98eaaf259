# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SD3 + DICEPTION_v1.pth into one folder: what comes out, and everything that must be refused."""

import errno
import json
import os
from pathlib import Path
import pickle
import shutil
import signal
import subprocess
import sys

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch

from diception_ros.model import DiceptionPipeline
from diception_ros.model.convert import ConvertError, convert
from diception_ros.model.sd3_folder import encode_with_sd3
from diception_ros.model.text_embeddings import PromptTable
from diception_ros.model.tiny import official_checkpoint, write_official
from diception_ros.system import files

TEXTS = ['', '[[image2depth]]', '[[image2semantic]] person']


@pytest.fixture(scope='module')
def official(tiny, tmp_path_factory):
    """SD3 folder and checkpoint of the tiny pipeline."""
    return write_official(tiny, tmp_path_factory.mktemp('official'))


def ask(pipe):
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    return pipe(
        image,
        TEXTS[1:],
        points=[[(0.2, 0.9)], []],
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
    )


def test_converted_pipeline_is_the_original(official, tiny, tmp_path):
    lines = []
    convert(
        *official,
        tmp_path / 'out',
        texts=TEXTS,
        dtype='float32',
        resolution=64,
        report=lines.append,
    )
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.float32)
    assert pipe.text_encoder is None
    assert pipe.config.resolution == 64
    assert list(pipe.prompt_table) == TEXTS
    # The T5 encoder runs layer by layer in the conversion, so the last bit may differ.
    assert (ask(pipe).latents - ask(tiny).latents).abs().max() < 1e-5
    for name in ('transformer', 'vae', 'point_encoder'):
        theirs = getattr(tiny, name).state_dict()
        for key, value in getattr(pipe, name).state_dict().items():
            assert torch.equal(value, theirs[key]), key
    assert 'transformer' in lines
    assert lines[-1] == f'wrote {tmp_path / "out"}'


def test_text_encoders_come_along_on_request(official, tiny, tmp_path):
    convert(*official, tmp_path / 'out', texts=[''], dtype='float32', with_text_encoders=True)
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.float32)
    assert (ask(pipe).latents - ask(tiny).latents).abs().max() < 1e-5


def test_dtype_and_point_order_are_stored(official, tmp_path):
    convert(*official, tmp_path / 'out', texts=TEXTS, dtype='bfloat16', point_order='yx')
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.bfloat16)
    assert pipe.point_encoder.config.point_order == 'yx'
    for file in (tmp_path / 'out').rglob('*.safetensors'):
        assert {value.dtype for value in load_file(file).values()} == {torch.bfloat16}, file


def test_streamed_embeddings_are_those_of_the_encoders(official, tiny):
    for (text, streamed), (_, whole) in zip(
        encode_with_sd3(official[0], TEXTS), tiny.encode_texts(TEXTS), strict=True
    ):
        assert (streamed.tokens - whole.tokens).abs().max() < 1e-5, text
        assert (streamed.pooled - whole.pooled).abs().max() < 1e-5, text


@pytest.mark.slow
def test_fp16_variant_files_are_found_and_copied(official, tiny, tmp_path):
    sd3 = tmp_path / 'sd3'
    shutil.copytree(official[0], sd3)
    for name in ('text_encoder', 'text_encoder_2'):
        (sd3 / name / 'model.safetensors').rename(sd3 / name / 'model.fp16.safetensors')
    weights = sd3 / 'text_encoder_3/model.safetensors'  # the big one, split as the real one is
    tensors = load_file(weights)
    weights.unlink()
    names, weight_map = sorted(tensors), {}
    for i in (0, 1):
        file = f'model.fp16-0000{i + 1}-of-00002.safetensors'
        save_file({key: tensors[key] for key in names[i::2]}, weights.parent / file,
                  metadata={'format': 'pt'})  # fmt: skip
        weight_map |= dict.fromkeys(names[i::2], file)
    (weights.parent / 'model.safetensors.index.fp16.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': weight_map})
    )
    convert(sd3, official[1], tmp_path / 'out', texts=[''], dtype='float32',
            with_text_encoders=True)  # fmt: skip
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.float32)
    assert (ask(pipe).latents - ask(tiny).latents).abs().max() < 1e-5
    assert not [*(tmp_path / 'out').rglob('*fp16*')]


# ---- checkpoints that are not what they should be -----------------------------------------------


class Evil:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('legacy', [False, True])
def test_pickle_that_runs_code_is_refused(official, tiny, tmp_path, legacy):
    trap, checkpoint = tmp_path / 'trapped', tmp_path / 'evil.pth'
    state = {**official_checkpoint(tiny), 'extra': Evil(trap)}
    if legacy:
        checkpoint.write_bytes(pickle.dumps(Evil(trap)))
    else:
        torch.save(state, checkpoint)
    with pytest.raises(ConvertError, match='refused, because reading this pickle would run code'):
        convert(official[0], checkpoint, tmp_path / 'out', texts=TEXTS)
    assert not trap.exists()
    assert not (tmp_path / 'out').exists()
    # The trap is a real one.
    with checkpoint.open('rb') as file:
        pickle.load(file) if legacy else torch.load(file, weights_only=False)
    assert trap.exists()


def change(state, part, name, value):
    state[part] = dict(state[part])
    if value is None:
        del state[part][name]
    else:
        state[part][name] = value


BLOCK = 'transformer_blocks.0.attn.to_q.weight'


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda s: change(s, 'transformer', BLOCK, None), f'1 missing: {BLOCK}'),
        (lambda s: change(s, 'transformer', 'more', torch.ones(1)), '1 unexpected: more'),
        (
            lambda s: change(s, 'transformer', BLOCK, torch.ones(3, 2)),
            rf'1 of another shape: {BLOCK} is \(3, 2\), expected \(32, 32\)',
        ),
        (
            lambda s: change(s, 'transformer', BLOCK, torch.ones(32, 32, dtype=torch.int64)),
            'not floating point',
        ),
        (lambda s: s.pop('point_embedder'), 'point_embedder missing'),
        (lambda s: s.update(more={}), 'unexpected parts more'),
        (lambda s: s.update(transformer=[1]), 'transformer is not a dictionary of tensors'),
        (lambda s: change(s, 'point_embedder', '2.bias', None), 'expected two linear layers'),
        (
            lambda s: change(s, 'seg_embeddings', 'weight', torch.ones(2, 32)),
            'one weight of one row',
        ),
        (lambda s: s.update(positional_encoding_gaussian_matrix=3), 'is not a tensor'),
    ],
)
def test_wrong_checkpoint_names_what_is_wrong(official, tiny, tmp_path, edit, message):
    state = official_checkpoint(tiny)
    edit(state)
    torch.save(state, tmp_path / 'wrong.pth')
    with pytest.raises(ConvertError, match=message):
        convert(official[0], tmp_path / 'wrong.pth', tmp_path / 'out', texts=TEXTS)
    assert os.listdir(tmp_path) == ['wrong.pth']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS pointer'),
        (b'<!DOCTYPE html><html>', 'a web page'),
        (b'\x10\0\0\0\0\0\0\0{"a":1}        ' + b' ' * 20, 'a safetensors file'),
        (b'PK\x03\x04' + b'\0' * 200, 'an unfinished download'),
        (b'hello world, I am no checkpoint', 'it starts with'),
    ],
)
def test_other_files_are_recognised(official, tmp_path, content, message):
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(ConvertError, match=message):
        convert(official[0], tmp_path / 'file.pth', tmp_path / 'out', texts=TEXTS)


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (
            lambda tiny: tiny.transformer.state_dict(),
            'bare weights of a transformer with 2 blocks',
        ),
        (lambda tiny: {'transformer.a.lora_A.weight': torch.ones(1)}, 'a LoRA adapter'),
        (lambda tiny: {'model.diffusion_model.x': torch.ones(1)}, 'SD3 as a single file'),
        (lambda tiny: {'optimizer': {}, 'step': 3}, 'the state of a training run'),
        (lambda tiny: torch.ones(3), 'a single Tensor'),
    ],
)
def test_other_checkpoints_are_recognised(official, tiny, tmp_path, state, message):
    torch.save(state(tiny), tmp_path / 'other.pth')
    with pytest.raises(ConvertError, match=message):
        convert(official[0], tmp_path / 'other.pth', tmp_path / 'out', texts=TEXTS)


def test_truncated_checkpoint(official, tmp_path):
    whole = official[1].read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConvertError, match='an unfinished download'):
        convert(official[0], tmp_path / 'cut.pth', tmp_path / 'out', texts=TEXTS)


# ---- folders ------------------------------------------------------------------------------------


def test_incomplete_sd3_folder_error_names_missing_files(official, tmp_path):
    with pytest.raises(ConvertError, match='no such folder'):
        convert(tmp_path / 'none', official[1], tmp_path / 'out', texts=TEXTS)
    shutil.copytree(official[0], tmp_path / 'sd3')
    (tmp_path / 'sd3/vae/config.json').unlink()
    with pytest.raises(ConvertError, match=r'lacks vae/config\.json.*gated'):
        convert(tmp_path / 'sd3', official[1], tmp_path / 'out', texts=TEXTS)
    (tmp_path / 'sd3/vae/config.json').write_text((official[0] / 'vae/config.json').read_text())
    (tmp_path / 'sd3/text_encoder_3/model.safetensors').unlink()
    with pytest.raises(ConvertError, match=r'text_encoder_3: no \.safetensors file'):
        convert(tmp_path / 'sd3', official[1], tmp_path / 'out', texts=TEXTS)
    assert sorted(os.listdir(tmp_path)) == ['sd3']


@pytest.fixture
def sd3(official, tmp_path):
    """A copy of the SD3 folder, to be changed."""
    shutil.copytree(official[0], tmp_path / 'sd3')
    return tmp_path / 'sd3'


@pytest.mark.slow
def test_a_vae_in_half_precision_and_shards_without_a_list_are_read(official, sd3, tiny, tmp_path):
    vae = sd3 / 'vae/diffusion_pytorch_model.safetensors'
    vae.rename(vae.with_name('diffusion_pytorch_model.fp16.safetensors'))
    weights = sd3 / 'text_encoder_3/model.safetensors'
    tensors = load_file(weights)
    weights.unlink()
    for i, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        save_file({key: tensors[key] for key in part}, sd3 / 'text_encoder_3'
                  / f'model-0000{i}-of-00002.safetensors', metadata={'format': 'pt'})  # fmt: skip
    convert(sd3, official[1], tmp_path / 'out', texts=TEXTS, dtype='float32')
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.float32)
    assert (ask(pipe).latents - ask(tiny).latents).abs().max() < 1e-5
    (sd3 / 'text_encoder_3/model-00001-of-00002.safetensors').unlink()
    with pytest.raises(ConvertError, match=r'the shard model-00001-of-00002\.safetensors is miss'):
        convert(sd3, official[1], tmp_path / 'out2', texts=TEXTS)


def drop_t5(sd3):
    index = json.loads((sd3 / 'model_index.json').read_text())
    index |= {'text_encoder_3': [None, None], 'tokenizer_3': [None, None]}
    (sd3 / 'model_index.json').write_text(json.dumps(index))
    remove_t5(sd3)


def remove_t5(sd3):
    shutil.rmtree(sd3 / 'text_encoder_3')
    shutil.rmtree(sd3 / 'tokenizer_3')


def only_pickles(sd3):
    (sd3 / 'text_encoder/model.safetensors').rename(sd3 / 'text_encoder/pytorch_model.bin')


def put_pointer(sd3):
    (sd3 / 'vae/diffusion_pytorch_model.safetensors').write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n'
    )


def make_35(sd3):
    config = json.loads((sd3 / 'transformer/config.json').read_text())
    (sd3 / 'transformer/config.json').write_text(
        json.dumps({**config, 'dual_attention_layers': [0, 1]})
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (drop_t5, 'sd3: saved without text_encoder_3 and tokenizer_3, which the prompts'),
        (remove_t5, 'the download left out text_encoder_3, tokenizer_3: get the rest'),
        (only_pickles, r'text_encoder: no \.safetensors file in it, only the pickle'),
        (put_pointer, r'vae/diffusion_pytorch_model\.safetensors: a Git LFS pointer'),
        (make_35, 'this is SD3.5'),
        (
            lambda sd3: (sd3 / 'vae/diffusion_pytorch_model.safetensors').write_bytes(b'x' * 99),
            r'sd3/vae.*this part of SD3 cannot be read',
        ),
        (
            lambda sd3: (sd3 / 'tokenizer/tokenizer.json').write_text('{'),
            r'sd3/tokenizer.*this part of SD3 cannot be read',
        ),
        (
            lambda sd3: (sd3 / 'text_encoder_2/config.json').write_text('{"hidden_size": "x"}'),
            r'text_encoder_2/config\.json: hidden_size is .x.; expected a whole number',
        ),
    ],
)
def test_variants_of_sd3_that_cannot_be_read_are_named(official, sd3, tmp_path, change, message):
    change(sd3)
    with pytest.raises(ConvertError, match=message) as caught:
        convert(sd3, official[1], tmp_path / 'out', texts=TEXTS)
    assert 'could not be written' not in str(caught.value)
    assert 'gated' not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ['sd3']


def test_invalid_sd3_folder_error_names_the_file(official, sd3, tmp_path):
    def refused(path, message):
        with pytest.raises(ConvertError, match=message):
            convert(path, official[1], tmp_path / 'out', texts=TEXTS)

    single = tmp_path / 'repo' / 'sd3_medium_incl_clips_t5xxlfp8.safetensors'
    single.parent.mkdir()
    single.write_bytes(b'x')
    refused(single, 'a single file; convert reads the folder')
    refused(single.parent, 'it holds SD3 as a single file, sd3_medium')
    cache = tmp_path / 'models--sd3' / 'snapshots' / 'abc'
    cache.parent.mkdir(parents=True)
    sd3.rename(cache)
    refused(tmp_path / 'models--sd3', rf'a download cache: give {cache}')
    refused(cache.parent, f'give {cache}')


def test_wrong_settings_are_named(official, tmp_path):
    with pytest.raises(ConvertError, match="dtype is 'int8'"):
        convert(*official, tmp_path / 'out', texts=TEXTS, dtype='int8')
    with pytest.raises(ConvertError, match='which guidance needs'):
        convert(*official, tmp_path / 'out', texts=['a'])
    with pytest.raises(ConvertError, match='72; this model takes multiples of 16'):
        convert(*official, tmp_path / 'out', texts=TEXTS, resolution=72)
    with pytest.raises(ConvertError, match=r"'b.udcff' is no UTF-8"):
        convert(*official, tmp_path / 'out', texts=[*TEXTS, 'b\udcff'])
    with (
        files.atomic_folder(tmp_path / 'out'),
        pytest.raises(BlockingIOError, match='another process writes it'),
    ):
        convert(*official, tmp_path / 'out', texts=TEXTS, resolution=64)
    shutil.rmtree(tmp_path / 'out')
    (tmp_path / 'out').touch()
    with pytest.raises(ConvertError, match='exists already'):
        convert(*official, tmp_path / 'out', texts=TEXTS)
    with pytest.raises(FileExistsError, match='out is a file'):
        convert(*official, tmp_path / 'out' / 'model', texts=TEXTS)


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        SafetensorError(
            'Error while serializing: I/O error: No space left on device (os error 28)'
        ),
    ],
)
def test_full_disk_leaves_nothing(official, tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(PromptTable, 'save', full)
    with pytest.raises(ConvertError, match='the disk is full'):
        convert(*official, tmp_path / 'out', texts=TEXTS)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize('line', ['vae', 'text_encoder_3'])
def test_killed_conversion_leaves_no_folder_and_can_be_repeated(official, tmp_path, line):
    program = (
        'import sys\n'
        'from diception_ros.model.convert import convert\n'
        'def report(line):\n'
        '    print(line, flush=True)\n'
        f'    if line.startswith({line!r}): sys.stdin.read()\n'
        f'convert({str(official[0])!r}, {str(official[1])!r}, {str(tmp_path / "out")!r},\n'
        f'        texts={TEXTS!r}, report=report)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    # Its output ends where it does, so this waits for as long as a busy machine needs.
    assert any(output_line.startswith(line) for output_line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert not (tmp_path / 'out').exists()
    assert not (tmp_path / 'out.diception.partial/model_index.json').exists()
    with pytest.raises(FileNotFoundError):
        DiceptionPipeline.from_pretrained(tmp_path / 'out.diception.partial')
    convert(*official, tmp_path / 'out', texts=TEXTS)
    assert os.listdir(tmp_path) == ['out']
    DiceptionPipeline.from_pretrained(tmp_path / 'out', dtype=torch.bfloat16)
