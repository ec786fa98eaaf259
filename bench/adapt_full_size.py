# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adapting a model of SD3-medium's size at 768 px: memory and seconds of a step, random weights.

    python bench/adapt_full_size.py --count                            # counted, anywhere
    python bench/adapt_full_size.py --folder /big/disk --device cuda   # measured, 24 GB of GPU
    python bench/adapt_full_size.py --folder /tmp --reduced            # that it runs, anywhere

`--count` runs the true network on tensors without content and adds up what is alive: the base in
bfloat16, rank 128 in query, key and value, gradient checkpointing, attention that keeps no scores
(as on a GPU). It knows neither what a GPU's allocator wastes nor what its libraries take (about
1 GB), nor that norms are float32 under autocast.

The other two learn as `diception adapt --bf16 true --checkpointing true` does, on eight labelled
images of noise, with batches of 1 (accumulated to 8) and 8.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from pathlib import Path
import shutil
import time
from typing import Any
from unittest import mock

from diffusers import AutoencoderKL
from measure import Living, peak
import numpy as np
from sizes import POINTS, TRANSFORMER, VAE
import torch
from train_full_size import PIXELS, build

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.labelled import Labelled
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPointEncoder, DiceptionTransformer2DModel, adapters
from diception_ros.model import folder as model_folder
from diception_ros.model.text_embeddings import CLIP_LENGTH, T5_LENGTH
from diception_ros.training.adapt import PAPER_LR, FewShotDataset, prepare_adaptation
from diception_ros.training.settings import AdaptSettings
from diception_ros.training.trainer import Trainer

SIDE = 768
TEXT = '[[image2depth]]'  # one that `build` makes an embedding of
GB = 1e9


class _Attention(torch.autograd.Function):
    """Keeps what fused attention keeps: its inputs, its output and one number a row."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors[:3])


@contextlib.contextmanager
def fused() -> Iterator[None]:
    """A context in which attention makes no matrix of scores."""

    def attend(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> Any:
        return _Attention.apply(query, key, value)

    with mock.patch('torch.nn.functional.scaled_dot_product_attention', attend):
        yield


def size(values: Any) -> int:
    """Bytes of tensors."""
    return sum(value.numel() * value.element_size() for value in values)


def count(batches: list[int]) -> None:
    """Print what is alive, without allocating it."""
    with torch.device('meta'):
        network = DiceptionTransformer2DModel.from_config(TRANSFORMER).to(torch.bfloat16)
        points, vae = DiceptionPointEncoder(**POINTS), AutoencoderKL(**VAE).eval()
        whole = sum(one.numel() for part in (network, points) for one in part.parameters())
        base, rest = size(network.parameters()), size([*points.parameters(), *vae.parameters()])
        matrices = adapters.insert(network, 'counted', adapters.PAPER_RANK)
    for value in matrices.values():
        value.data = value.data.float()
    network.enable_adapters()
    network.train()
    network.enable_gradient_checkpointing()
    mine = size(matrices.values())
    print(f'{mine / 4e6:.1f} M parameters learn, {mine / 4 / whole:.2%} of {whole / 1e6:.0f} M')
    fixed = {
        'base, bfloat16': base,
        'VAE and point encoder, float32': rest,
        'matrices, float32': mine,
        'their gradients': mine,
        "AdamW's two moments": 2 * mine,
        'their running mean': mine,
    }
    for name, value in fixed.items():
        print(f'{name:50}{value / GB:8.3f} GB')
    kept = sum(fixed.values())
    print(f'{"kept all the time":50}{kept / GB:8.3f} GB')
    for batch in batches:
        with fused():
            passing, between = activations(network, batch)
            encoding = encoder(vae, batch)
        network.zero_grad()
        print(f'batch {batch}')
        print(f'{"  between the blocks, forward":50}{between / GB:8.3f} GB')
        print(f'{"  at most, in one block backward":50}{passing / GB:8.3f} GB')
        print(f'{"  at most, in the VAE before that":50}{encoding / GB:8.3f} GB')
        print(f'{"  at most, with all that is kept":50}'
              f'{(kept + max(passing, encoding)) / GB:8.3f} GB')  # fmt: skip


def activations(network: DiceptionTransformer2DModel, batch: int) -> tuple[int, int]:
    """Bytes at most, with the gradients that are there by then; between forward and backward."""
    side = SIDE // 8
    like = {'device': 'meta', 'dtype': torch.bfloat16}
    width = network.config['caption_projection_dim']
    with Living() as living:
        out = network(
            hidden_states=torch.empty(batch, 16, side, side, **like),
            image_latents=torch.empty(batch, 16, side, side, **like),
            encoder_hidden_states=torch.empty(
                batch, CLIP_LENGTH + T5_LENGTH, TRANSFORMER['joint_attention_dim'], **like
            ),
            pooled_projections=torch.empty(batch, TRANSFORMER['pooled_projection_dim'], **like),
            point_embeds=torch.empty(batch, 5, width, **like),
            timestep=torch.empty(batch, device='meta'),
            return_dict=False,
        )[0]
        between = living.now
        out.float().square().mean().backward()
    return living.most, between


@torch.no_grad()
def encoder(vae: AutoencoderKL, batch: int) -> int:
    """Bytes at most while a batch of images is encoded."""
    with Living() as living:
        vae.encode(torch.empty(batch, 3, SIDE, SIDE, device='meta'))
    return living.most


def labels(side: int) -> Labelled:
    """Images of noise of which the left half is labelled."""
    rng = np.random.default_rng(0)
    mask = np.zeros((side, side), bool)
    mask[:, : side // 2] = True
    samples = [
        Sample(Frame(rng.integers(0, 256, (side, side, 3), np.uint8)), Prompt('half'), Mask(mask),
               name=f'{k}')
        for k in range(8)
    ]  # fmt: skip
    return Labelled(samples, '', ())


def fit_adapter(folder: Path, args: argparse.Namespace, batch: int) -> None:
    """Go some steps of a batch and print what they took."""
    chosen = AdaptSettings(
        rank=2 if args.reduced else adapters.PAPER_RANK,
        batch_size=batch,
        gradient_accumulation_steps=max(1, 8 // batch),
        device=args.device,
        bf16=True,
        gradient_checkpointing=True,
        val_fraction=0,
        buffer=8,
        lr=PAPER_LR,
        max_steps=args.steps,
    )
    side = PIXELS if args.reduced else SIDE
    device = torch.device(args.device)
    with peak(device) as loading:
        what = prepare_adaptation(str(folder), 'half', TEXT, 'mask', labels(side), chosen)
        source = FewShotDataset(what.train, [], chosen.buffer, chosen.min_crop_scale, chosen.seed)
        runner = Trainer(what.settings, source, pipe=what.pipe, registry=what.registry)
    before = torch.cuda.memory_allocated(device) if device.type == 'cuda' else 0
    seconds = []
    with peak(device) as used:
        for _ in range(args.steps):
            start = time.perf_counter()
            losses, norm = runner.train_step()
            seconds.append(time.perf_counter() - start)
            mean = np.mean([value for values in losses.values() for value in values])
            print(f'  step {runner.step}: loss {mean:.5f}, norm {norm:.4f}, {seconds[-1]:.2f} s')
    print(f'batch {batch}, accumulated {chosen.gradient_accumulation_steps} times, at {side} px: '
          f'{min(seconds):.2f} s a step at best; memory {loading[0] / GB:.3f} GB while '
          f'loading, {before / GB:.3f} GB kept, {(before + used[0]) / GB:.3f} GB at most'
          )  # fmt: skip


def main() -> None:
    """Count, or build and learn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', action='store_true', help='count, and learn nothing')
    parser.add_argument('--folder', type=Path, help='with 4 GB of room')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--reduced', action='store_true', help='small widths, small images')
    parser.add_argument('--steps', type=int, default=4)
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 8])
    args = parser.parse_args()
    model_folder.silence_library_logging()
    if args.count:
        count(args.batches)
        return
    if args.folder is None:
        parser.error('give --folder, or --count')
    folder = args.folder / 'diception_adapt_full_size'
    shutil.rmtree(folder, ignore_errors=True)
    try:
        build(args.reduced).to(dtype=torch.bfloat16).save_pretrained(folder)
        for batch in args.batches:
            fit_adapter(folder, args, batch)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
