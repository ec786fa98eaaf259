# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The profile that lets big pictures through Fast DDS, and the variable that names it.

Stock Fast DDS loses big best-effort messages between processes: its shared memory of 512 KiB is
smaller than one picture. Knows no ROS.
"""

from __future__ import annotations

from pathlib import Path
import sys

PROFILE = 'config/fastdds_shm.xml'
# Fast DDS 3, which came with Kilted, renamed it.
VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_OLD = ('foxy', 'galactic', 'humble', 'iron', 'jazzy')


def variable(distro: str) -> str:
    """Which variable names the profile in a ROS distribution, such as 'jazzy'."""
    return VARIABLES[distro in _OLD]


def profile() -> Path | None:
    """The file that comes with this package, in the repository or where it was installed."""
    package = Path(__file__).resolve().parents[1]
    roots = [
        package.parent,  # the repository
        Path(sys.prefix, 'share', package.name),  # pip
        *(parent / 'share' / package.name for parent in package.parents),  # colcon
    ]
    return next((root / PROFILE for root in roots if (root / PROFILE).is_file()), None)
