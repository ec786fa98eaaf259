# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DIODE, depth: the validation set, indoors and outdoors.

Source: the evaluation of Marigold and GenPercept, and DIODE's own val.tar.gz.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read


def _truths(picture: str) -> list[tuple[str, ...]]:
    stem = picture.removesuffix('.png')
    return [(f'{stem}_depth.npy', f'{stem}_depth_mask.npy')]


PROTOCOL = Protocol(
    name='diode',
    task='depth',
    layout='indoors/ and outdoor/ SCENE/SCAN/N.png with N_depth.npy (metres) and N_depth_mask.npy',
    pattern='*door*/scene_*/scan_*/*.png',
    truths=_truths,
    read=_read.npy_depth,
    images=771,
    metres=(0.6, 350.0),
    published={'abs_rel': 0.289, 'delta1': 0.722},
)
