# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth for a recorded bag, scored against its depth camera: python replay_bag.py drive.mcap.

Writes results.mcap with the topics of the node, and report/index.html. No ROS is needed.
"""

import sys

from diception_ros import ReplayConfig, replay

bag, truth, model = [*sys.argv[1:], '/camera/depth/image_raw', 'builtin'][:3]
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
