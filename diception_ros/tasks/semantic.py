# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Instance segmentation of one category.

The released prompt is named semantic, but asks for each instance in a colour of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.coco import CATEGORIES
from diception_ros.core.labels import Instances
from diception_ros.tasks import Task, _checks, _instances
from diception_ros.tasks.codecs import instance_colors

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt


class Semantic(Task[Instances]):
    """Each instance of the category in a colour of its own, all else black."""

    def encode(self, label: Instances) -> NDArray[np.float32]:
        """Colours follow from place and size of the instances: see `codecs.instance_colors.paint`.

        Raises:
            ValueError: the label is not square, or holds more than one category, since an image
                answers a question about one.
        """
        _checks.square(label)
        names = sorted(set(label.categories))
        if len(names) > 1:
            raise ValueError(
                f'expected instances of one category, got {", ".join(map(repr, names))}; '
                'leave out those that were not asked for'
            )
        return instance_colors.paint(label.ids)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Instances:
        """One instance per colour, best first: see `codecs.instance_colors`.

        All have the category of the prompt, or '' where there is none. The bounds of the entity
        task hold.
        """
        _checks.output_image(rgb)
        ids, scores = instance_colors.find_instances(rgb)
        category = prompt.category.strip() if prompt is not None and prompt.category else ''
        return Instances(ids, (category,) * len(scores), scores)

    def score(self, predicted: Instances, truth: Instances) -> dict[str, float]:
        """`mean_iou`, and `precision`, `recall`, `f1` at an IoU of 0.5: see `_instances.score`.

        Categories are not compared: both labels answer a question about one.

        Raises:
            ValueError: the sizes differ.
        """
        return _instances.score(predicted, truth)


TASK = Semantic(
    'semantic', '[[image2semantic]]', Instances, takes_category=True, categories=CATEGORIES
)
