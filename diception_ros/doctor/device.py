# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""torch, and where the model is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diception_ros import probe
from diception_ros.doctor import missing
from diception_ros.doctor.finding import BROKEN, OK, WARN, Finding

# Where NVIDIA's kernel driver says that it is loaded.
_DRIVER = Path('/proc/driver/nvidia/version')
_PROGRAM = """
import torch
found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
tell({
    'torch': torch.__version__, 'cuda': torch.version.cuda, 'threads': torch.get_num_threads(),
    'devices': [[one.name, one.total_memory] for one in found],
})
"""
_BUILD = 'install a build of torch for CUDA: https://pytorch.org/get-started/locally'


def device(wanted: str, driver: Path = _DRIVER) -> Finding:
    """Whether torch works, and has the device that is wanted.

    Args:
        wanted: 'cpu', 'cuda' or 'cuda:N'.
        driver: a file that is there when a driver is loaded.

    Returns:
        a finding about 'torch' where it cannot be imported, else about 'device'.
    """
    answer = probe.ask(_PROGRAM)
    if answer.said is None:
        return Finding('torch', BROKEN, answer.error, missing.install(['torch']))
    return judge(wanted, answer.said, driver.exists())


def judge(wanted: str, said: dict[str, Any], driver: bool) -> Finding:
    """What to say about what torch told.

    Args:
        wanted: see `device`.
        said: versions 'torch' and 'cuda' (None in a build without), 'threads', and 'devices' with
            name and bytes of memory of each.
        driver: whether NVIDIA's driver is loaded.
    """
    devices, built = said['devices'], said['cuda'] is not None
    about = f'torch {said["torch"]}'
    shown = ', '.join(f'{name} ({size / 2**30:.0f} GiB)' for name, size in devices)
    kind, _, number = wanted.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not number.isdecimal()):
        return Finding('device', BROKEN, f'{wanted!r}', 'expected cpu, cuda or cuda:N')
    if kind == 'cuda' and int(number or 0) >= len(devices):
        if not built:
            return Finding('device', BROKEN, f'{about} was built without CUDA', _BUILD)
        if not driver:
            return Finding(
                'device', BROKEN, f'{about} is built for CUDA {said["cuda"]}, but no NVIDIA '
                'driver is loaded',
                'install the driver (nvidia-smi then shows the card), in a container give '
                '--gpus all, or set device to cpu',
            )  # fmt: skip
        return Finding(
            'device', BROKEN, f'{about} sees {shown or "no CUDA device"}, not {wanted}',
            'look at nvidia-smi and CUDA_VISIBLE_DEVICES; a driver older than CUDA '
            f'{said["cuda"]} needs an update or an older torch',
        )  # fmt: skip
    if kind == 'cuda':
        return Finding('device', OK, f'{about}, {shown}')
    if devices:
        return Finding('device', WARN, f'{about} on the CPU, beside {shown}', 'set device to cuda')
    if driver:
        return Finding(
            'device', WARN, f'{about} on the CPU, although an NVIDIA driver is loaded',
            'look at nvidia-smi and CUDA_VISIBLE_DEVICES' if built else _BUILD,
        )  # fmt: skip
    return Finding('device', OK, f'{about} on the CPU, {said["threads"]} threads')
