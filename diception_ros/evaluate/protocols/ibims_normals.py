# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""iBims-1, normals: the 100 pictures whose figures the paper's table shows beside ScanNet's.

Source: Marigold's evaluation set; that of DSINE holds OpenEXR files, which are not read.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read

PROTOCOL = Protocol(
    name='ibims_normals',
    task='normal',
    layout='N_img.png with N_normal.npy, in the folder or in ibims/',
    pattern='**/*_img.png',
    truths=_read.normals_beside,
    read=_read.normals,
    images=100,
)
