# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A call that many tests of the pipeline make, and a pipeline with an image encoder."""

import torch

from diception_ros.model.encoder import FEATURES, EfficientNetLite
from diception_ros.model.tiny import tiny_pipeline
from diception_ros.training.checkpoints import add_encoder

TEXTS = ['[[image2depth]]', '[[image2segmentation]]', '[[image2semantic]] person']
POINTS = [[], [(0.2, 0.7), (0.9, 0.1)], []]
ROUNDING = 2e-5  # float32, other batch sizes take other kernels


def ask(pipe, image, noise, texts=TEXTS, points=POINTS, steps=3, guidance=2.0, **more):
    """Ask three prompts, or those given, from given noise."""
    return pipe(
        image,
        texts,
        points=points,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=noise,
        **more,
    )


def encoder(features=FEATURES):
    """An encoder of random weights whose features have mean 0 and deviation 1 on noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EfficientNetLite(features).eval().normalise(torch.rand(8, 3, 64, 64) * 2 - 1)


def with_encoder(trained=False, features=FEATURES):
    pipe = tiny_pipeline()
    add_encoder(pipe, encoder(features))
    if trained:
        for value in pipe.transformer.image_features.parameters():
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(3))
    return pipe
