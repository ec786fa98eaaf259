# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training at SD3-medium's size, with random weights: the paper's setting through the same loop.

    python bench/train_full_size.py --folder /big/disk --device cuda    # 768 px, 80 GB of GPU
    python bench/train_full_size.py --folder /tmp --reduced             # anywhere, in a minute

Writes a model folder of random numbers (4 GB; removed afterwards), learns from it as
`diception train` does (full fine-tuning, AdamW 2e-5, all six tasks), and prints seconds and peak
of memory of each step. Before that, one batch's gradients with and without gradient checkpointing
are compared. `--reduced` keeps SD3's 24 layers, its 77 + 256 text tokens and 5 point tokens, and
makes all widths and the image small. On a CPU most of the seconds go into counting the bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

from sizes import POINTS, TRANSFORMER, VAE
from task_examples import example

from diception_ros import tasks
from diception_ros.core.frame import Frame
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.sample import Sample

if TYPE_CHECKING:  # torch is loaded when the command line is known to be right
    import torch

    from diception_ros.model import DiceptionPipeline
    from diception_ros.training.trainer import Trainer

WIDTH, PIXELS = 32, 128  # of the reduced network, of its images
_REDUCED = {
    'attention_head_dim': 16, 'num_attention_heads': WIDTH // 16, 'joint_attention_dim': 48,
    'caption_projection_dim': WIDTH, 'pooled_projection_dim': 40,
}  # fmt: skip
_REDUCED_VAE = {'block_out_channels': (8, 8, 16, 16), 'layers_per_block': 1, 'norm_num_groups': 4}
_REDUCED_POINTS = {'embed_dim': WIDTH, 'num_frequencies': 16, 'hidden_dim': WIDTH}


class Gradients(NamedTuple):
    """What one batch gives.

    Attributes:
        of: by parameter.
        peak: bytes that its tensors took at most, beyond what was there before.
        loss: mean over the batch.
        seconds: forward and backward.
    """

    of: dict[str, torch.Tensor]
    peak: int
    loss: float
    seconds: float


def build(reduced: bool) -> DiceptionPipeline:
    """A pipeline of random weights with the embeddings of the texts that are asked."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    import torch

    from diception_ros.model import (
        DiceptionPipeline,
        DiceptionPointEncoder,
        DiceptionTransformer2DModel,
        PromptTable,
    )
    from diception_ros.model.text_embeddings import CLIP_LENGTH, T5_LENGTH, PromptEmbedding

    torch.manual_seed(0)
    sizes = {**TRANSFORMER, **(_REDUCED if reduced else {})}
    transformer = DiceptionTransformer2DModel.from_config(sizes)
    points = DiceptionPointEncoder(**(_REDUCED_POINTS if reduced else POINTS))
    for vector in (points.used, points.unused):
        torch.nn.init.normal_(vector, std=0.02)
    pipe = DiceptionPipeline(
        vae=AutoencoderKL(**{**VAE, **(_REDUCED_VAE if reduced else {})}).eval(),
        transformer=transformer,
        point_encoder=points,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        resolution=PIXELS if reduced else 768,
    )
    pipe.prompt_table = PromptTable()
    for text in dict.fromkeys(['', *(_text(sample) for sample in samples(PIXELS))]):
        tokens = torch.randn(CLIP_LENGTH + T5_LENGTH, sizes['joint_attention_dim'])
        pooled = torch.randn(sizes['pooled_projection_dim'])
        pipe.prompt_table.add(text, PromptEmbedding(tokens, pooled))
    return pipe


def samples(side: int) -> list[Sample]:
    """One question of each task, about noise."""
    rng = np.random.default_rng(0)
    out = []
    for name in tasks.names():
        task = tasks.get(name)
        points = (Point(side / 2, side / 3),) if task.takes_points else ()
        prompt = Prompt(name, 'person' if task.takes_category else None, points)
        frame = Frame(rng.integers(0, 256, (side, side, 3), np.uint8))
        out.append(Sample(frame, prompt, example(task, rng, side), name=name))
    return out


def _text(sample: Sample) -> str:
    return tasks.get(sample.prompt.task).text(sample.prompt)


def begin(
    folder: Path, side: int, args: argparse.Namespace, gradient_checkpointing: bool
) -> Trainer:
    """A run in the paper's setting, but for the size of a batch."""
    from diception_ros.training.settings import TrainSettings
    from diception_ros.training.sources import InMemoryDataset
    from diception_ros.training.trainer import Trainer

    chosen = TrainSettings(
        model=str(folder),
        device=args.device,
        bf16=args.device != 'cpu',
        max_steps=args.steps,
        gradient_checkpointing=gradient_checkpointing,
        batch_size=args.batch,
        ema=args.ema,
        hflip=False,
        task_weights=' '.join(f'{name}=1' for name in tasks.names()),
    )
    return Trainer(chosen, InMemoryDataset(samples(side)))


def gradients(runner: Trainer) -> Gradients:
    """Those of the first batch, under noise that is the same at every call."""
    from measure import peak

    runner.generator.manual_seed(0)
    runner.optimizer.zero_grad()
    start = time.perf_counter()
    with peak(runner.device) as used, runner._attention_backend():
        losses, counts = runner.losses(runner.batch(0))
        mean = losses.sum() / counts.sum()
        mean.backward()
    found = {
        name: value.grad.detach().float().cpu()
        for name, value in runner.parameters.items()
        if value.grad is not None
    }
    runner.optimizer.zero_grad()
    return Gradients(found, used[0], mean.item(), time.perf_counter() - start)


def compare(one: Gradients, other: Gradients) -> float:
    """The largest difference of two gradients, relative to the largest number of each tensor."""
    assert one.of.keys() == other.of.keys()
    return max(
        float((value - other.of[name]).abs().max() / value.abs().max().clamp(min=1e-12))
        for name, value in one.of.items()
    )


def main() -> None:
    """Build, compare, learn, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', type=Path, required=True, help='with 4 GB of room')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--reduced', action='store_true', help='small widths, small images')
    parser.add_argument('--steps', type=int, default=2)
    parser.add_argument('--batch', type=int, default=6)
    parser.add_argument('--ema', type=float, default=0.0, help='decay of the mean of the weights')
    parser.add_argument('--compare-batch', type=int, default=1,
                        help='size of the batch whose gradients are compared')  # fmt: skip
    args = parser.parse_args()
    from measure import peak
    import torch

    from diception_ros.model import folder as model_folder

    model_folder.silence_library_logging()
    side = PIXELS if args.reduced else 768
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        pipe = build(args.reduced)
        count = sum(value.numel() for part in (pipe.transformer, pipe.point_encoder)
                    for value in part.parameters())  # fmt: skip
        pipe.to(dtype=torch.bfloat16).save_pretrained(folder)
        del pipe
        print(f'{count / 1e6:.1f} M parameters learn; written in '
              f'{time.perf_counter() - start:.0f} s')  # fmt: skip

        whole, args.batch = args.batch, args.compare_batch
        found = [gradients(begin(folder, side, args, saving)) for saving in (False, True)]
        for saving, one in zip(('without', 'with'), found, strict=True):
            print(f'{args.batch} samples {saving} checkpointing: loss {one.loss:.5f}, '
                  f'{one.seconds:.2f} s, {one.peak / 1e9:.3f} GB beyond the weights')  # fmt: skip
        print(f'largest relative difference of their gradients: {compare(*found):.2g}')
        del found

        args.batch = whole
        with peak(torch.device(args.device)) as used:
            runner = begin(folder, side, args, True)
            for _ in range(args.steps):
                start = time.perf_counter()
                losses, norm = runner.train_step()
                mean = np.mean([value for values in losses.values() for value in values])
                print(f'step {runner.step}: loss {mean:.5f}, norm {norm:.3f}, '
                      f'{time.perf_counter() - start:.2f} s')  # fmt: skip
        print(f'{args.batch} samples a step at {side} px: {used[0] / 1e9:.3f} GB at most, '
              f'weights, gradients and AdamW are {16 * count / 1e9:.3f} of them')  # fmt: skip


if __name__ == '__main__':
    main()
