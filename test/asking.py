# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One call that many tests of the pipeline make."""

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
