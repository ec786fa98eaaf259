# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth for a recorded bag, scored against its depth camera: python replay_bag.py drive.mcap.

`python replay_bag.py BAG [TRUTH [MODEL]]`: TRUTH is a topic of depth images, or a folder
of arrays.
Writes results.mcap with the topics of the node, and report/index.html. No ROS is needed.
"""

import sys

from diception_ros import ReplayConfig, replay

if len(sys.argv) < 2:
    sys.exit(__doc__)
bag = sys.argv[1]
truth = sys.argv[2] if len(sys.argv) > 2 else '/camera/depth/image'
model = sys.argv[3] if len(sys.argv) > 3 else 'builtin'
config = ReplayConfig(
    bags=[bag],
    out='results.mcap',
    model=model,
    truth=[f'depth={truth}'],  # a topic of the bag, or a folder of arrays
    report='report',
    perception={'tasks': ['depth']},
)
for result in replay(config).bags:
    print(f'{result.bag}: {result.frames} frames, skipped {dict(result.skipped)}')
    for camera, tasks in result.numbers.items():
        print(f'  {camera or "camera"}: abs_rel {tasks["depth"]["abs_rel"]:.3f}')
