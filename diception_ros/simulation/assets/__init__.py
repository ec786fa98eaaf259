# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Assets of simulated rooms: furniture, people, small objects, materials; and their categories."""

from __future__ import annotations

from diception_ros.core.prompt import COCO_CATEGORIES

# Parts of the room itself. EntitySeg-like label sets count them as regions, a robot that looks for
# objects does not; labels of the simulation can include them or leave them out.
STUFF = ('floor', 'wall', 'ceiling')

# What COCO has no name for.
_OTHERS = (
    'desk', 'table', 'counter', 'cabinet', 'shelf', 'lamp', 'door', 'window', 'curtain',
    'picture', 'rug', 'box', 'column',
)  # fmt: skip

# What COCO names, in COCO's spelling: the texts that every model folder can be asked.
COCO = (
    'person', 'chair', 'couch', 'bed', 'dining table', 'tv', 'laptop', 'keyboard', 'mouse',
    'cell phone', 'bottle', 'wine glass', 'cup', 'bowl', 'apple', 'orange', 'book',
    'potted plant', 'vase', 'clock', 'refrigerator', 'sink', 'microwave', 'oven', 'backpack',
    'suitcase', 'sports ball', 'teddy bear', 'bench',
)  # fmt: skip

# What only furniture models show, in COCO's spelling. Rooms without them get no prompt for these.
MODELED = (
    'handbag', 'umbrella', 'toilet', 'scissors', 'cat', 'dog', 'bicycle', 'cake', 'remote',
)  # fmt: skip

# A category's number is its place here. Numbers go into bags: append, never reorder.
CATEGORIES = ('', *STUFF, *COCO, *_OTHERS, *MODELED, 'object')
NUMBERS = {name: number for number, name in enumerate(CATEGORIES)}

assert {*COCO, *MODELED} <= set(COCO_CATEGORIES)
