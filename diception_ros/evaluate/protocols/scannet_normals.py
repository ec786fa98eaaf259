# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ScanNet, normals: 300 pictures of FrameNet's test split.

Source: DSINE's dsine_eval.zip, which StableNormal takes too, or Marigold's evaluation set.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read, normals_table

PROTOCOL = Protocol(
    name='scannet_normals',
    task='normal',
    layout='SCENE/N_img.png with SCENE/N_normal.png (DSINE) or SCENE/N_normal.npy (Marigold)',
    pattern='scene*/*_img.png',
    truths=_read.normals_beside,
    read=_read.normals,
    images=300,
    published=normals_table(18.842, 10.266, 53.610, 74.895, 82.864),
)
