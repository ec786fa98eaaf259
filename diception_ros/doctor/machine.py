# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the machine has: OpenGL for simulated rooms, room on disks and in shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import importlib.util
import os
from pathlib import Path
import shutil
import tempfile

from diception_ros import probe
from diception_ros.doctor.finding import OK, WARN, Finding

# Of the profile for Fast DDS: what each process takes of /dev/shm, bytes.
SEGMENT = 64 << 20
# A minute of answers to a camera of 640x480 at 10 Hz is less.
LEAST_DISK = 2_000_000_000
# A process that ends well leaves none; those of 20 that were killed are about as many.
MANY_SEGMENTS = 100
_GL = """
from diception_ros.sim import gl
mujoco, context = gl.context((8, 8))
context.free()
tell(mujoco.__version__)
"""


def graphics(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether simulated rooms can be drawn; nothing where there is no MuJoCo."""
    if importlib.util.find_spec('mujoco') is None:
        return
    backend = environment.get('MUJOCO_GL') or 'egl'
    answer = probe.ask(_GL)
    if answer.said is None:
        reason = answer.error.partition('Error: ')[2] or answer.error
        found, _, cure = reason.rpartition('; ')
        yield Finding('graphics', WARN, found or reason, cure)
    else:
        yield Finding('graphics', OK, f'{backend}, MuJoCo {answer.said}')


def space(places: Mapping[str, Path] | None = None) -> Finding:
    """Whether there is room for what is written.

    Args:
        places: folders by what they are for; None for those of this process.
    """
    places = places or {'here': Path.cwd(), 'temporary files': Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(path).free for name, path in places.items()}
    shown = ', '.join(f'{size / 1e9:.0f} GB {name}' for name, size in free.items())
    if min(free.values()) < LEAST_DISK:
        return Finding(
            'disk', WARN, f'{shown} free', 'make room; bags and model folders are large'
        )
    return Finding('disk', OK, f'{shown} free')


def shared_memory(place: Path = Path('/dev/shm')) -> Iterator[Finding]:
    """Whether pictures can go between processes in shared memory.

    Args:
        place: where it lies.
    """
    if not place.is_dir():
        yield Finding(
            'memory', WARN, f'no {place}, so messages go through the network card',
            'in a container: --ipc=host',
        )  # fmt: skip
        return
    room = shutil.disk_usage(place)
    # A camera, the node and somebody who looks.
    if room.free < 3 * SEGMENT:
        yield Finding(
            'memory', WARN, f'{room.free >> 20} MiB of {room.total >> 20} MiB of {place} free; '
            f'with the profile for Fast DDS each process takes {SEGMENT >> 20} MiB',
            'in a container: --shm-size=1g or --ipc=host; else see what fills it',
        )  # fmt: skip
    else:
        yield Finding('memory', OK, f'{room.free >> 20} MiB of {place} free')
    left = len([*place.glob('fastrtps_*'), *place.glob('fastdds_*')])
    if left > MANY_SEGMENTS:
        yield Finding(
            'memory', WARN, f'{left} files of Fast DDS in {place}, most of them of processes '
            'that were killed',
            f'end all ROS processes, then: rm {place}/fastrtps_* {place}/fastdds_*',
        )  # fmt: skip
