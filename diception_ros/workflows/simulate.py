# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders simulated rooms with exact labels: `diception simulate`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
import re

from diception_ros.core.settings import REQUIRED, Settings, setting
from diception_ros.system import files
from diception_ros.system.progress import SILENT, Progress

BAG = '.mcap'


@dataclass(frozen=True)
class SimulateConfig(Settings):
    """What to render, and where to.

    Raises:
        ValueError: a value that its declaration does not allow, or two that exclude each other.
    """

    out: Path = setting(
        REQUIRED, 'a folder, or a bag if it ends in .mcap', kind=Path, metavar='PATH'
    )
    scenes: int = setting(4, 'number of rooms', low=1, metavar='N')
    views: int = setting(10, 'number of images of each room', low=1, metavar='K')
    size: str = setting('640x480', 'width and height of the images, pixels', metavar='WxH')
    seed: int = setting(0, 'random seed', low=0)
    split: str = setting(
        'train',
        'split of the rooms; no room is in two of them',
        choices=('train', 'validation', 'test'),
    )
    rig: str = setting(
        'any', 'of the camera; robot: low and level; hand: held by a person',
        choices=('any', 'robot', 'hand'),
    )  # fmt: skip
    rate: float = setting(10.0, 'images per second of a bag', low=1e-3, high=1e4, metavar='HZ')
    labels: str | None = setting(
        None, 'write images/ and labels/ of this, N x K images that show enough of it', kind=str,
        choices=('floor', 'graspable', 'shadow', 'highlight'),
    )  # fmt: skip
    realism: str = setting(
        '', 'some of cameras,textures,lighting,reflections,meshes,closeups, or all of them but '
        'closeups, each with a share of the rooms, such as all:0.5; empty: plain rooms',
        metavar='NAMES',
    )  # fmt: skip
    furniture: str | None = setting(
        None, 'unpacked sweethome3d-furniture, whose models stand in the rooms', kind=str,
        metavar='FOLDER',
    )  # fmt: skip
    stuff: bool = setting(False, 'in a folder, floor, walls and ceiling are entities too')
    gl: str | None = setting(
        None, 'OpenGL library (default: that in MUJOCO_GL, or egl)', kind=str,
        choices=('egl', 'osmesa'),
    )  # fmt: skip
    force: bool = setting(False, 'overwrite what is at PATH')

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_size(self.size)
        if self.out.suffix in ('.bag', '.db3'):
            raise ValueError(f'out is {self.out}; bags are written as .mcap')
        if self.labels is not None and (self.out.suffix == BAG or self.stuff):
            raise ValueError(
                '--labels writes a folder of images; leave out --stuff and give a folder as --out'
            )
        if self.labels is not None and (self.realism or self.furniture):
            raise ValueError('labels renders plain rooms: no realism and no furniture')


@dataclass(frozen=True)
class SimulateResult:
    """What was rendered.

    Attributes:
        out: the folder or bag.
        frames: images written.
        expected: images asked for; more where rooms had no good view.
    """

    out: Path
    frames: int
    expected: int


def parse_size(text: str) -> tuple[int, int]:
    """'640x480' -> (480, 640), which is (H, W) in pixels."""
    match = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
    if match is None:
        raise ValueError(f'size is {text!r}; expected WxH such as 640x480')
    from diception_ros.core.images import MAX_PIXELS

    height, width = int(match[2]), int(match[1])
    if width * height > MAX_PIXELS:
        raise ValueError(f'size is {text!r}; expected at most {MAX_PIXELS} pixels')
    return height, width


def simulate(config: SimulateConfig, progress: Progress = SILENT) -> SimulateResult:
    """Render rooms into a folder of samples, a bag, or a folder of images and labels.

    Raises:
        FileExistsError: there is something at `out`, and `force` isn't given.
        ValueError: an unknown name in `realism`.
        ImportError, OSError: MuJoCo or its OpenGL library is missing.

    Examples:
        >>> from diception_ros import SimulateConfig, simulate
        >>> simulate(SimulateConfig(out='rooms', scenes=1, views=2, size='96x64')).frames
        2
    """
    from diception_ros.simulation.adaptation import write_image_folder
    from diception_ros.simulation.realism import Realism
    from diception_ros.simulation.record import Recording, to_bag, to_folder

    recording = Recording(
        config.scenes, config.views, parse_size(config.size), config.seed, config.split,  # type: ignore[arg-type]
        None if config.rig == 'any' else config.rig,  # type: ignore[arg-type]
        config.rate, config.stuff, config.gl, Realism.parse(config.realism, config.furniture),
    )  # fmt: skip
    if config.labels is not None:
        frames = write_image_folder(recording, config.labels, config.out, config.force)  # type: ignore[arg-type]
    else:
        record = to_bag if config.out.suffix == BAG else to_folder
        frames = record(recording, config.out, config.force)
    expected, written = config.scenes * config.views, 0
    is_bag = config.out.suffix == BAG  # whose writer locks it
    lock = contextlib.nullcontext() if is_bag else files.exclusive_folder(config.out)
    with lock, progress.bar(expected, unit='frame') as bar:
        for written in frames:
            bar.update(written - bar.n)
    return SimulateResult(config.out, written, expected)
