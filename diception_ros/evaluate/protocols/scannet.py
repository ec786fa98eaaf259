# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ScanNet, depth: 800 pictures of the validation scenes.

Source: the evaluation of Marigold and GenPercept, and their scannet_val_sampled_800_1.tar.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read

PROTOCOL = Protocol(
    name='scannet',
    task='depth',
    layout='SCENE/color/N.jpg with SCENE/depth/N.png (16 bits, millimetres, of one size)',
    pattern='scene*/color/*.jpg',
    truths=lambda picture: [(picture.replace('/color/', '/depth/').replace('.jpg', '.png'),)],
    read=_read.png_depth(1000),
    images=800,
    metres=(1e-3, 10.0),
    published={'abs_rel': 0.072, 'delta1': 0.944},
)
