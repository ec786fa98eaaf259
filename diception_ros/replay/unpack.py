# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decompresses as much as there is of data that may be cut off or damaged."""

from __future__ import annotations

import bz2
from collections.abc import Callable

import lz4.frame

from diception_ros.replay.records import zstd


def _plain(packed: bytes) -> tuple[bytes, str]:
    return packed, ''


def _unzstd(packed: bytes) -> tuple[bytes, str]:
    unpack = zstd.ZstdDecompressor()
    return _piecewise(packed, unpack.decompress, (zstd.ZstdError, EOFError))


def _unlz4(packed: bytes) -> tuple[bytes, str]:
    return _piecewise(
        packed, lz4.frame.LZ4FrameDecompressor().decompress, (RuntimeError, EOFError)
    )


def _unbz2(packed: bytes) -> tuple[bytes, str]:
    return _piecewise(packed, bz2.BZ2Decompressor().decompress, (OSError, EOFError))


def _piecewise(
    packed: bytes, unpack: Callable[[bytes], bytes], errors: tuple[type[Exception], ...]
) -> tuple[bytes, str]:
    # In pieces, so that what stands before a fault comes out.
    found = []
    step = 1 << 16
    try:
        for at in range(0, len(packed), step):
            found.append(unpack(packed[at : at + step]))
    except errors as error:
        return b''.join(found), f'cannot be decompressed ({error})'
    return b''.join(found), ''


# What makes the data, and '' or what is wrong with the rest of it; by the name in the file.
MCAP: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    '': _plain,
    'zstd': _unzstd,
    'lz4': _unlz4,
}
ROS1 = {'none': _plain, 'lz4': _unlz4, 'bz2': _unbz2}
