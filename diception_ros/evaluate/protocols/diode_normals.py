# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DIODE, normals: the indoor part of the validation set.

Source: DIODE's own val.tar.gz and val_normals.tar.gz, unpacked into one folder.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read, normals_table

PROTOCOL = Protocol(
    name='diode_normals',
    task='normal',
    layout='indoors/SCENE/SCAN/N.png with N_normal.npy',
    pattern='indoors/scene_*/scan_*/*.png',
    truths=_read.normals_beside,
    read=_read.normals,
    images=325,
    published=normals_table(16.297, 11.117, 50.548, 83.325, 88.774),
)
