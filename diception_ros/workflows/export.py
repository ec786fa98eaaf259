# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the ONNX graphs of a model folder: `diception export`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import importlib.util
from pathlib import Path
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from diception_ros.core.settings import ComputeSettings, PredictSettings, Settings, setting
from diception_ros.system import files
from diception_ros.system.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Largest and mean difference of output images, of 0 to 1, with which graphs are accepted. float16
# keeps 11 bits: the built-in model differs by 2e-3 at most, and an overflow by .5 or more. 8 bits
# may move the edge of a mask, so only their mean says something.
TOLERANCES = {'fp32': (1e-4, 1e-4), 'fp16': (1e-2, 1e-2), 'int8': (1.0, 0.03)}
# Images that ranges for int8 are measured on, at most.
_CALIBRATION_IMAGES = 16


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
        'for GPUs, int8 for CPUs',
        choices=('fp32', 'fp16', 'int8'),
    )  # fmt: skip
    calibration: Path | None = setting(
        None, 'images like those that will be predicted, for int8: the ranges of activations are '
        'measured on 16 of them', kind=Path, metavar='DIR',
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.precision == 'int8') != (self.calibration is not None):
            raise ValueError(
                f'precision is {self.precision} and calibration is {self.calibration}; int8 needs '
                'a folder of images as calibration, the others take none'
            )


@dataclass(frozen=True)
class ExportResult:
    """What was made.

    Attributes:
        model: the model folder with the graphs.
        sizes: bytes of each graph, by the name of its file.
        difference: largest difference of an output image from that of torch, of 0 to 1.
        mean_difference: mean of the absolute differences.
    """

    model: Path
    sizes: Mapping[str, int]
    difference: float
    mean_difference: float


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

    place = folder.resolve(config.model)
    folder.check_folder(place)
    if config.out is not None and place.resolve() in config.out.resolve().parents:
        raise ValueError(f'{config.out} is in the model folder that is copied; give another --out')
    for package in ('onnx', 'onnxscript'):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f'{package} is not installed', name=package)
    folder.silence_library_logging()
    images = [] if config.calibration is None else _read_images(config.calibration)
    if config.out is None:
        return _export(place, config.precision, images, progress)
    with files.atomic_folder(config.out) as partial:
        progress.log(f'copying {place}')
        shutil.copytree(place, partial, dirs_exist_ok=True)
        made = _export(partial, config.precision, images, progress)
    return replace(made, model=config.out)


def _read_images(calibration: Path) -> list[NDArray[np.uint8]]:
    """Some images of a folder, evenly chosen."""
    import numpy as np

    from diception_ros.core import images
    from diception_ros.workflows.predict import find_images

    paths = find_images([str(calibration)])
    count = min(len(paths), _CALIBRATION_IMAGES)
    chosen = np.linspace(0, len(paths) - 1, count).round().astype(int)
    return [images.read(paths[number]) for number in chosen]


def _export(
    place: Path, precision: str, images: Sequence[NDArray[np.uint8]], progress: Progress
) -> ExportResult:
    from diception_ros.model import onnx_export
    from diception_ros.model.onnx_backend import find_problem, graph_dtype

    if precision == 'int8':
        if find_problem(place) or graph_dtype(place) != 'float32':
            onnx_export.export(place, 'fp32', progress.log)
        progress.log(f'measuring ranges of activations on {len(images)} images')
        sizes = onnx_export.quantise(place, _measure(place, images))
    else:
        sizes = onnx_export.export(place, precision, progress.log)
    progress.log('comparing with torch')
    found = compare(place, images[:4])
    progress.log(
        f'largest difference of an output image from that of torch: {found.largest:.1e}, mean '
        f'{found.mean:.1e}'
    )
    allowed = TOLERANCES[precision]
    if not all(one <= most for one, most in zip(found, allowed, strict=True)):
        onnx_export.remove(place)
        raise ValueError(
            f'the output images of the graphs differ from those of torch by {found.largest:.1e} '
            f'and {found.mean:.1e} in the mean, expected at most {allowed[0]:g} and '
            f'{allowed[1]:g}; the graphs were removed'
        )
    return ExportResult(place, sizes, *found)


def _measure(
    folder: Path, images: Sequence[NDArray[np.uint8]]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Smallest and largest value, or 0, of all that is rounded, by name, of each graph."""
    import numpy as np

    from diception_ros.core.images import resize
    from diception_ros.core.prompt import MAX_POINTS
    from diception_ros.model.onnx_backend import IMAGE, NETWORK, OnnxBackend
    from diception_ros.model.onnx_export import Recorder

    model: Any = OnnxBackend(folder, ComputeSettings(backend='onnx', threads=1))
    recorders = [Recorder(folder / name) for name in (IMAGE, NETWORK)]
    model._image, model._network = recorders
    random = np.random.default_rng(0)
    texts = sorted(model._table, key=len)[:8]  # the shortest are those of the tasks
    side = model.resolution * model.input_scale
    for number, image in enumerate(images):
        latents = model.encode([resize(image, side)[0]])
        points = [
            [tuple(random.random(2)) for _ in range(random.integers(MAX_POINTS + 1))]
            for _ in texts
        ]  # fmt: skip
        seeds = [number] * len(texts)
        for steps, guidance in ((1, 1.0), (4, 2.0))[: 1 if number else 2]:
            settings = PredictSettings(num_inference_steps=steps, guidance_scale=guidance)
            model.denoise(latents, texts, points, seeds, settings, '')
    return {
        name: dict(zip(one.names, one.ranges, strict=True))
        for name, one in zip((IMAGE, NETWORK), recorders, strict=True)
    }


class Differences(NamedTuple):
    """Of the output images of graphs, of 0 to 1, from those of torch.

    Attributes:
        largest: of all pixels.
        mean: of the absolute differences.
    """

    largest: float
    mean: float


def compare(folder: Path, images: Sequence[NDArray[np.uint8]] = ()) -> Differences:
    """Differences of the output images of the graphs from those of torch in float32.

    Takes (H, W, 3) RGB images, one of noise and bars if none is given; every shape of batch that
    the Predictor makes, points, two steps and guidance.
    """
    import numpy as np

    from diception_ros.core.images import resize
    from diception_ros.model.onnx_backend import OnnxBackend
    from diception_ros.model.torch_backend import TorchBackend

    random = np.random.default_rng(0)
    torch_model = TorchBackend.load(folder, ComputeSettings(backend='torch', dtype='float32'))
    onnx_model = OnnxBackend(folder, ComputeSettings(backend='onnx'))
    side = torch_model.resolution * torch_model.input_scale
    image = random.integers(0, 256, (side, side, 3), np.uint8)
    image[:, ::16] = image[::32] = 255
    inputs = [resize(one, side)[0] for one in images] or [image]
    texts = list(torch_model.pipe.prompt_table)
    differences = []
    for settings in (
        PredictSettings(num_inference_steps=1, guidance_scale=1.0),
        PredictSettings(num_inference_steps=2, guidance_scale=2.0),
    ):
        for batch in (1, 3):
            prompts = [texts[number % len(texts)] for number in range(batch)]
            points = [[], [(0.25, 0.75)], [(0.5, 0.5), (0.1, 0.2)]][:batch]
            for one in inputs:
                outputs = []
                for model in (torch_model, onnx_model):
                    latents = model.denoise(
                        model.encode([one]), prompts, points, list(range(batch)), settings, ''
                    )
                    outputs.append(model.decode_latents(latents))
                differences.append(np.abs(outputs[0] - outputs[1]).reshape(-1))
    together = np.concatenate(differences)
    return Differences(float(together.max()), float(together.mean()))
