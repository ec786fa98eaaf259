# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ETH3D, depth: the training set of the high-resolution multi-view benchmark.

Scale and shift are fitted by a grid of pixels of 1024 on the longer side, errors are told of all
pixels.

Source: the evaluation of Marigold and GenPercept, and their eth3d.tar.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read


def _truths(picture: str) -> list[tuple[str, ...]]:
    # rgb/SCENE/images/dslr_images/N.JPG
    _, scene, _, kind, name = picture.split('/')
    return [(f'depth/{scene}_dslr_depth/{scene}/ground_truth_depth/{kind}/{name}',)]


PROTOCOL = Protocol(
    name='eth3d',
    task='depth',
    layout='rgb/SCENE/images/dslr_images/N.JPG with '
    'depth/SCENE_dslr_depth/SCENE/ground_truth_depth/dslr_images/N.JPG (32-bit floats, metres)',
    pattern='rgb/*/images/dslr_images/*.JPG',
    truths=_truths,
    read=_read.raw_depth,
    images=454,
    metres=(1e-5, float('inf')),
    fit_side=1024,
    published={'abs_rel': 0.050, 'delta1': 0.975},
)
