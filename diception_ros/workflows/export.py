# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the ONNX graphs of a model folder: `diception export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import importlib.util
from pathlib import Path
import shutil

from diception_ros.core.settings import Settings, setting
from diception_ros.system import files
from diception_ros.system.progress import SILENT, Progress


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Which graphs are made."""

    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')
    out: Path | None = setting(
        None, 'a copy of the model folder, with the graphs in it; must not exist. Without it the '
        'graphs are written into the model folder', kind=Path, metavar='DIR',
    )  # fmt: skip
    precision: str = setting(
        'fp32', 'in which the graphs compute; the weights stay as they are stored. fp16 is meant '
        'for GPUs',
        choices=('fp32', 'fp16'),
    )  # fmt: skip


@dataclass(frozen=True)
class ExportResult:
    """What was made.

    Attributes:
        model: the model folder with the graphs.
        sizes: bytes of each graph, by the name of its file.
        difference: largest difference of an output image from that of torch, of 0 to 1.
    """

    model: Path
    sizes: Mapping[str, int]
    difference: float


def export(config: ExportConfig, progress: Progress = SILENT) -> ExportResult:
    """Write the ONNX graphs of a model folder, and compare their outputs with those of torch.

    The graphs read the weights out of the folder's .safetensors files, so the folder grows by a
    megabyte at most, and belong to every model with these configurations and this layout of its
    files. Graphs that were there are replaced. Needs the packages onnx and onnxscript.

    Raises:
        FileNotFoundError: no such model folder.
        ImportError: onnx or onnxscript is not installed.
        ValueError: the model uses something that the graphs cannot do, or their outputs differ.

    Examples:
        >>> from diception_ros import ExportConfig, export
        >>> export(ExportConfig(model='model', out='exported')).difference < 1e-4
        True
    """
    from diception_ros.model import folder

    for package in ('onnx', 'onnxscript'):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f'{package} is not installed', name=package)
    folder.silence_library_logging()
    place = folder.resolve(config.model)
    folder.check_folder(place)
    if config.out is None:
        return _export(place, config.precision, progress)
    with files.atomic_folder(config.out) as partial:
        progress.log(f'copying {place}')
        shutil.copytree(place, partial, dirs_exist_ok=True)
        made = _export(partial, config.precision, progress)
    return ExportResult(config.out, made.sizes, made.difference)


def _export(place: Path, precision: str, progress: Progress) -> ExportResult:
    from diception_ros.model import onnx_export

    sizes = onnx_export.export(place, precision, progress.log)
    progress.log('comparing with torch')
    difference = onnx_export.compare(place)
    largest = onnx_export.TOLERANCES[precision]
    progress.log(f'largest difference of an output image from that of torch: {difference:.1e}')
    if not difference <= largest:
        onnx_export.remove(place)
        raise ValueError(
            f'the output images of the graphs differ from those of torch by {difference:.1e}, '
            f'expected at most {largest:g}; the graphs were removed'
        )
    return ExportResult(place, sizes, difference)
