# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""NYUv2, normals: the labelled test set.

Source: DSINE's dsine_eval.zip, which StableNormal takes too, or Marigold's evaluation set.
"""

from __future__ import annotations

from diception_ros.evaluate.protocols import Protocol, _read, normals_table

PROTOCOL = Protocol(
    name='nyuv2_normals',
    task='normal',
    layout='test/N_img.png with test/N_normal.png (DSINE) or test/N_normal.npy (Marigold)',
    pattern='test/*_img.png',
    truths=_read.normals_beside,
    read=_read.normals,
    images=654,
    published=normals_table(18.338, 10.106, 52.850, 77.079, 82.903),
)
