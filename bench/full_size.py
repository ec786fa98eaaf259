# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way at SD3-medium's real sizes, with random weights.

    python bench/full_size.py --folder /big/disk [--steps 1] [--dtype bfloat16] [--keep]

Writes an SD3 folder and an official checkpoint of random numbers (16 GB), converts them, loads the
result, asks one prompt at 768 px, saves the pipeline and compares the saved weights bit for bit.
Every stage runs in a process of its own; its seconds and its peak of memory are printed. The peak
counts pages of files that are mapped, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import resource
import shutil
import subprocess
import sys
import time

from sizes import CLIP_G, CLIP_L, POINTS, T5, TRANSFORMER, VAE

TEXTS = ['', '[[image2depth]]']


def make(folder: Path, args: argparse.Namespace) -> None:
    """Write an SD3 folder and a checkpoint of random numbers."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL
    from safetensors.torch import save_file
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    from diception_ros.model import DiceptionPointEncoder, DiceptionTransformer2DModel
    from diception_ros.model.tiny import tiny_pipeline

    def random(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        return (torch.randn(shape, generator=dice) * 0.02).to(dtype)

    dice = torch.Generator().manual_seed(0)
    sd3 = folder / 'sd3'
    tiny = tiny_pipeline()
    tiny.save_pretrained(sd3)
    index = json.loads((sd3 / 'model_index.json').read_text())
    for name in ('point_encoder', 'resolution'):
        del index[name]
    index['_class_name'] = 'StableDiffusion3Pipeline'
    (sd3 / 'model_index.json').write_text(json.dumps(index))

    with init_empty_weights(include_buffers=True):
        transformer = DiceptionTransformer2DModel.from_config(TRANSFORMER)
        point_encoder = DiceptionPointEncoder(**POINTS)
        t5 = T5EncoderModel(T5Config(**T5))
    shutil.rmtree(sd3 / 'transformer')
    transformer.save_config(sd3 / 'transformer')
    state = {
        name: random(value.shape, torch.bfloat16)
        for name, value in transformer.state_dict().items()
    }
    parts = {
        name: random(value.shape, torch.bfloat16)
        for name, value in point_encoder.state_dict().items()
    }
    torch.save(
        {
            'transformer': state,
            'point_embedder': {
                name.removeprefix('mlp.'): value
                for name, value in parts.items()
                if name.startswith('mlp.')
            },
            'seg_embeddings': {'weight': parts['used'][None]},
            'not_seg_embeddings': {'weight': parts['unused'][None]},
            'positional_encoding_gaussian_matrix': parts['gaussian'],
        },
        folder / 'DICEPTION_v1.pth',
    )
    del state, parts

    AutoencoderKL(**VAE).half().save_pretrained(sd3 / 'vae')
    for name, config in (('text_encoder', CLIP_L), ('text_encoder_2', CLIP_G)):
        CLIPTextModelWithProjection(CLIPTextConfig(**config)).half().save_pretrained(sd3 / name)
    # T5-XXL in shards of one layer, so that it is never in memory as a whole.
    shutil.rmtree(sd3 / 'text_encoder_3')
    (sd3 / 'text_encoder_3').mkdir()
    T5Config(**T5).save_pretrained(sd3 / 'text_encoder_3')
    shards: dict[str, dict[str, torch.Size]] = {}
    for name, value in t5.state_dict().items():
        if name != 'encoder.embed_tokens.weight':
            layer = name.split('.')[2] if name.startswith('encoder.block.') else 'rest'
            shards.setdefault(f'model-{layer}.safetensors', {})[name] = value.shape
    for file, shapes in shards.items():
        save_file(
            {name: random(shape, torch.float16) for name, shape in shapes.items()},
            sd3 / 'text_encoder_3' / file,
            metadata={'format': 'pt'},
        )
    weight_map = {name: file for file, shapes in shards.items() for name in shapes}
    (sd3 / 'text_encoder_3/model.safetensors.index.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': weight_map})
    )


def convert(folder: Path, args: argparse.Namespace) -> None:
    """Make the model folder."""
    from diception_ros import tasks
    from diception_ros.model.convert import convert

    texts = list(dict.fromkeys([*TEXTS, *tasks.texts()]))[: args.texts]
    convert(folder / 'sd3', folder / 'DICEPTION_v1.pth', folder / 'model', texts=texts,
            dtype='bfloat16', report=lambda line: print(f'    {line}', flush=True))  # fmt: skip


def run(folder: Path, args: argparse.Namespace) -> None:
    """Ask one prompt at 768 px."""
    import torch

    from diception_ros.model import DiceptionPipeline

    start = time.perf_counter()
    pipe = DiceptionPipeline.from_pretrained(folder / 'model', dtype=getattr(torch, args.dtype))
    print(f'    loaded in {time.perf_counter() - start:.1f} s')
    image = torch.rand(1, 3, 768, 768, generator=torch.Generator().manual_seed(1)) * 2 - 1
    start = time.perf_counter()
    out = pipe(image, TEXTS[1:], num_inference_steps=args.steps, guidance_scale=1.0,
               generator=torch.Generator().manual_seed(0))  # fmt: skip
    seconds = time.perf_counter() - start
    assert out.images.shape == (1, 768, 768, 3)
    assert torch.isfinite(out.latents).all()
    print(f'    {args.steps} step(s) in {args.dtype}: {seconds:.1f} s, image mean '
          f'{out.images.mean():.3f} std {out.images.std():.3f}')  # fmt: skip


def save(folder: Path, args: argparse.Namespace) -> None:
    """Save the loaded pipeline and compare the files with those it was loaded from."""
    from safetensors import safe_open
    import torch

    from diception_ros.model import DiceptionPipeline

    pipe = DiceptionPipeline.from_pretrained(folder / 'model', dtype=torch.bfloat16)
    pipe.save_pretrained(folder / 'again')
    count = 0
    for file in sorted((folder / 'model').rglob('*.safetensors')):
        other = folder / 'again' / file.relative_to(folder / 'model')
        with safe_open(file, 'pt') as one, safe_open(other, 'pt') as two:
            assert set(one.keys()) == set(two.keys()), file
            for name in one.keys():  # noqa: SIM118 (not a dictionary)
                assert torch.equal(one.get_tensor(name), two.get_tensor(name)), name
                count += 1
    print(f'    {count} tensors saved and read back bit for bit')


STAGES: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    'make': make, 'convert': convert, 'run': run, 'save': save,
}  # fmt: skip


def main() -> None:
    """Run every stage in a process of its own, or one stage here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=1)
    parser.add_argument('--dtype', default='bfloat16', choices=('bfloat16', 'float32'))
    parser.add_argument('--texts', type=int, default=2, help='to embed, of 87')
    parser.add_argument('--keep', action='store_true', help='keep the files')
    parser.add_argument('--stage', choices=STAGES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = args.folder / 'diception_full_size'
    if args.stage:
        start = time.perf_counter()
        STAGES[args.stage](work, args)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f'{args.stage}: {time.perf_counter() - start:.0f} s, peak {peak:.1f} GB', flush=True)
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        for stage in STAGES:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], '--stage', stage], check=True)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == '__main__':
    main()
