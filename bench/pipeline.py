# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How fast the pipeline answers, beside a naive loop in the same run.

    python bench/pipeline.py --model tiny --device cpu --steps 1 4 28 --prompts 1 3 6
    python bench/pipeline.py --model builtin --steps 1 4
    python bench/pipeline.py --model full --device cuda --dtype bfloat16 --compile whole

The naive loop does what the official scripts do: for every prompt it runs the text encoders (and
once more for the empty text under guidance), encodes the image, and answers alone and eagerly.
Weights are random but for the built-in model. The limit is the fastest of several large matrix
products measured first, in the same precision on the same device; TFLOP are counted by torch.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sizes import CLIP_G, CLIP_L, POINTS, T5, TRANSFORMER, VAE

from diception_ros import tasks

if TYPE_CHECKING:  # torch is loaded when the command line is known to be right
    import torch

    from diception_ros.model import DiceptionPipeline

PROMPTS = [tasks.get(name).prompt for name in tasks.names()]


def main() -> None:
    """Print one line for each number of steps and prompts."""
    args = arguments()
    import measure
    import torch

    from diception_ros.model import folder

    folder.silence_library_logging()
    pipe, resolution = build(args)
    device = torch.device(args.device)
    image = torch.rand(1, 3, resolution, resolution, device=device) * 2 - 1
    limit = measure.matrix_tflops(device, getattr(torch, args.dtype))
    parameters = sum(p.numel() for m in networks(pipe) for p in m.parameters())
    print(f'{args.model}, {resolution} px, {device}, {args.dtype}, torch {torch.__version__}, '
          f'compile {args.compile}, attention {args.attention or "native"}; '
          f'{parameters / 1e6:.1f} M parameters without text encoders; '
          f'limit {limit:.3f} TFLOP/s (measured)')  # fmt: skip
    if device.type == 'cuda':
        print(torch.cuda.get_device_name(device))
    print('| steps | guidance | prompts | median ms | p99 ms | answers/s | peak GB | TFLOP | '
          '% of limit | naive ms | ratio |')  # fmt: skip
    print('|' + '---|' * 11)
    slow = build(args, naive=True)[0] if args.compile != 'none' else pipe
    for steps in args.steps:
        guidance = 1.0 if steps == 1 else args.guidance
        for count in args.prompts:
            if device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats(device)
            case = (image, (PROMPTS * count)[:count], steps, guidance)
            fast = measure.timed(partial(answer, pipe, *case), args.repeats, device)
            peak = measure.peak_gb(device)
            loop = np.median(measure.timed(partial(naive, slow, *case), args.repeats, device))
            tflop = measure.tflop(partial(answer, slow, *case))
            median, p99 = np.percentile(fast, (50, 99))
            share = 100 * tflop / (median * limit)
            cells = [steps, guidance, count, f'{1e3 * median:.1f}', f'{1e3 * p99:.1f}',
                     f'{count / median:.2f}', f'{peak:.2f}', f'{tflop:.4f}', f'{share:.0f}',
                     f'{1e3 * loop:.1f}', f'{loop / median:.2f}']  # fmt: skip
            print('| ' + ' | '.join(map(str, cells)) + ' |', flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', choices=('tiny', 'builtin', 'full'), default='tiny')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument('--steps', type=int, nargs='+', default=[1, 4, 28])
    parser.add_argument('--prompts', type=int, nargs='+', default=[1, 3, 6])
    parser.add_argument('--guidance', type=float, default=2.0, help='with more than one step')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--compile', choices=('none', 'blocks', 'whole'), default='none')
    parser.add_argument('--attention', help='backend of diffusers, for example _native_cudnn')
    parser.add_argument('--channels-last', action='store_true', help='memory format of the VAE')
    parser.add_argument('--fp8', action='store_true', help='float8 linear layers by torchao')
    return parser.parse_args()


def build(args: argparse.Namespace, naive: bool = False) -> tuple[DiceptionPipeline, int]:
    """The pipeline, of random weights unless it is the built-in one, and its resolution."""
    import torch

    from diception_ros.model import DiceptionPipeline
    from diception_ros.model.tiny import tiny_pipeline

    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    if args.model == 'builtin':
        pipe = DiceptionPipeline.from_pretrained('builtin', dtype)
    else:
        pipe = tiny_pipeline() if args.model == 'tiny' else full(device, dtype)
    pipe.to(device, dtype)
    pipe.set_progress_bar_config(disable=True)
    if not naive:
        if args.attention:
            pipe.transformer.set_attention_backend(args.attention)
        if args.channels_last:
            pipe.vae.to(memory_format=torch.channels_last)
        if args.fp8:
            from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, quantize_

            quantize_(pipe.transformer.transformer_blocks,
                      Float8DynamicActivationFloat8WeightConfig())  # fmt: skip
        if args.compile == 'blocks':
            pipe.transformer.compile_repeated_blocks(fullgraph=True)
        elif args.compile == 'whole':
            mode = 'max-autotune' if device.type == 'cuda' else None
            pipe.transformer.compile(mode=mode, fullgraph=True)
            pipe.vae.encoder.compile(mode=mode)
            pipe.vae.decoder.compile(mode=mode)
    return pipe, pipe.config.resolution * pipe.input_scale


def full(device: torch.device, dtype: torch.dtype) -> DiceptionPipeline:
    """SD3-medium's sizes, text encoders included, built where they run."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    from diception_ros.model import (
        DiceptionPipeline,
        DiceptionPointEncoder,
        DiceptionTransformer2DModel,
    )
    from diception_ros.model.tiny import tiny_pipeline

    tiny = tiny_pipeline()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            parts = {
                'vae': AutoencoderKL(**VAE),
                'transformer': DiceptionTransformer2DModel.from_config(TRANSFORMER),
                'point_encoder': DiceptionPointEncoder(**POINTS),
                'text_encoder': CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_L)),
                'text_encoder_2': CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_G)),
                'text_encoder_3': T5EncoderModel(T5Config(**T5)),
            }
    finally:
        torch.set_default_dtype(before)
    return DiceptionPipeline(
        **{name: part.eval() for name, part in parts.items()},
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), tokenizer=tiny.tokenizer,
        tokenizer_2=tiny.tokenizer_2, tokenizer_3=tiny.tokenizer_3,
    )  # fmt: skip


def networks(pipe: DiceptionPipeline) -> list[Any]:
    """The networks that run for every answer."""
    return [pipe.vae, pipe.transformer, pipe.point_encoder]


def answer(pipe: Any, image: Any, texts: list[str], steps: int, guidance: float) -> None:
    """All prompts at once, embeddings from the table."""
    pipe(image, texts, num_inference_steps=steps, guidance_scale=guidance)


def naive(pipe: Any, image: Any, texts: list[str], steps: int, guidance: float) -> None:
    """One prompt after another, image encoder and text encoders, if there are any, every time."""
    for text in texts:
        repeated = ([''] if guidance > 1 else []) + [text] if pipe.text_encoder else []
        for again in repeated:
            for _ in pipe.encode_texts([again]):
                pass
        pipe(image, [text], num_inference_steps=steps, guidance_scale=guidance)


if __name__ == '__main__':
    main()
