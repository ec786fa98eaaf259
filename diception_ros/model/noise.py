# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The noise that results start from: the same numbers in every backend and on every device."""

from __future__ import annotations

from collections.abc import Sequence
import functools
import math

import numpy as np
from numpy.typing import NDArray

# The Box-Muller transform takes numbers in groups: half of them radii, half of them angles.
_GROUP = 16


def standard_normal(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Draw from the normal distribution as `torch.randn` does on a CPU, up to rounding.

    So a seed means what it means to torch, and to the official scripts on a CPU.

    Args:
        seed: as for `torch.Generator.manual_seed`; its lower 32 bits count.
        shape: at least 16 numbers, a multiple of 16 or not.

    Returns:
        of this shape, float32, not to be changed.

    Source: ATen/native/cpu/DistributionTemplates.h of torch (normal_fill), whose generator is
    MT19937 seeded as by its authors.
    """
    return _draw(seed % 2**32, tuple(shape))


@functools.lru_cache(maxsize=16)
def _draw(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    count = math.prod(shape)
    if count < _GROUP:
        raise ValueError(f'noise of {shape}: expected at least {_GROUP} numbers')
    source = np.random.RandomState(seed)

    def uniform(number: int) -> NDArray[np.float32]:
        bits = source.randint(0, 2**32, number, np.uint32)
        return (bits & (2**24 - 1)).astype(np.float32) * np.float32(2**-24)

    whole, rest = divmod(count, _GROUP)
    drawn = _normal(uniform(count)[: whole * _GROUP])
    if rest:
        # The last group is drawn anew, over the end of the one before.
        drawn = np.concatenate([drawn[: count - _GROUP], _normal(uniform(_GROUP))])
    found = drawn.reshape(shape)
    found.flags.writeable = False
    return found


def _normal(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    groups = uniform.reshape(-1, 2, _GROUP // 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - groups[:, :1]))
    angle = np.float32(2 * math.pi) * groups[:, 1:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
