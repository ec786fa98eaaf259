# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Instance segmentation of one category.

The released prompt is named semantic, but asks for each instance in a colour of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Instances
from diception_ros.core.prompt import COCO_CATEGORIES
from diception_ros.tasks.entity import Entity

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt


class Semantic(Entity):
    """Each instance of the category in a colour of its own, all else black."""

    def encode(self, label: Instances) -> NDArray[np.float32]:
        """As of the entity task.

        Raises:
            ValueError: the label is not square, or holds more than one category, since an output
                image shows one.
        """
        names = sorted(set(label.categories))
        if len(names) > 1:
            raise ValueError(
                f'expected instances of one category, got {", ".join(map(repr, names))}; '
                'leave out those of other categories'
            )
        return super().encode(label)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Instances:
        """As of the entity task, all with the category of the prompt, '' where there is none."""
        instances = super().decode(rgb)
        category = prompt.category.strip() if prompt is not None and prompt.category else ''
        return replace(instances, categories=(category,) * len(instances.scores))


TASK = Semantic(
    'semantic', '[[image2semantic]]', Instances, takes_category=True, categories=COCO_CATEGORIES
)
