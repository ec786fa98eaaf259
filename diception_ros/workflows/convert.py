# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a model folder of SD3 medium and the official checkpoint: `diception convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diception_ros.core.settings import REQUIRED, Settings, setting
from diception_ros.system.progress import SILENT, Progress


@dataclass(frozen=True)
class ConvertConfig(Settings):
    """What a model folder is made of."""

    sd3: Path = setting(
        REQUIRED, 'stable-diffusion-3-medium in the layout of diffusers', kind=Path, metavar='DIR'
    )
    checkpoint: Path = setting(REQUIRED, 'DICEPTION_v1.pth', kind=Path, metavar='FILE')
    out: Path = setting(
        REQUIRED, 'the model folder to make; must not exist', kind=Path, metavar='DIR'
    )
    dtype: str = setting(
        'bfloat16', 'of the stored weights; bfloat16 as in the checkpoint',
        choices=('bfloat16', 'float16', 'float32'),
    )  # fmt: skip
    point_order: str = setting(
        'xy',
        'which coordinate of a point the weights expect first; the official scripts contradict '
        'each other, xy as in its inference.py',
        choices=('xy', 'yx'),
    )
    with_text_encoders: bool = setting(
        False, 'copy the text encoders too (11 GB), to allow any text as a prompt'
    )
    resolution: int = setting(
        768, 'side of the model input, pixels', low=16, high=4096, metavar='S'
    )
    add: tuple[str, ...] = setting(
        (), 'more texts to embed, beside those of the tasks', metavar='TEXT'
    )


@dataclass(frozen=True)
class ConvertResult:
    """What was made.

    Attributes:
        model: the model folder.
    """

    model: Path


def convert(config: ConvertConfig, progress: Progress = SILENT) -> ConvertResult:
    """Make a model folder; it appears under its name when it is complete.

    Raises:
        ValueError, OSError: a source is missing or isn't what it should be, or the disk is full.

    Examples:
        >>> from diception_ros import ConvertConfig, convert
        >>> convert(ConvertConfig(sd3='sd3', checkpoint='v1.pth', out='converted')).model.name
        'converted'
    """
    from diception_ros import tasks
    from diception_ros.model import convert as conversion
    from diception_ros.model import folder

    folder.silence_library_logging()
    conversion.convert(
        config.sd3,
        config.checkpoint,
        config.out,
        texts=list(dict.fromkeys(['', *tasks.texts(), *config.add])),
        dtype=config.dtype,
        point_order=config.point_order,
        with_text_encoders=config.with_text_encoders,
        resolution=config.resolution,
        report=progress.log,
    )
    return ConvertResult(config.out)
