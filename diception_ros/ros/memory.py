# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory the node has, and giving it back."""

from __future__ import annotations

import gc
import os
from pathlib import Path
import sys


def resident_mb() -> float:
    """Memory of this process, MB (1e6 bytes); 0 where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def gpu_mb(device: str) -> float:
    """Memory that tensors have on a GPU, MB; 0 on the CPU."""
    if not device.startswith('cuda'):
        return 0.0
    import torch

    return float(torch.cuda.memory_allocated(device)) / 1e6


def release() -> None:
    """Give back what nobody refers to any more, on the GPU too."""
    gc.collect()
    torch = sys.modules.get('torch')  # if nothing was loaded, it is not imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
