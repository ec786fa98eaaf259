# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where networks run."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """The torch device of this name.

    Raises:
        ValueError: no such kind of device, or it is not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N') from error
    if device.type == 'cpu':
        return device
    if device.type != 'cuda':
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N')
    if (device.index or 0) >= torch.cuda.device_count():
        why = (
            f'torch {torch.__version__} was built without CUDA'
            if torch.version.cuda is None
            else f'{torch.cuda.device_count()} CUDA devices are there'
        )
        raise ValueError(
            f'device {name!r} is not there ({why}); set device to cpu to run slowly on purpose'
        )
    return device
