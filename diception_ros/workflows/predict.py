# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts labels of image files: `diception predict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import asdict, dataclass, field
import glob
import json
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from diception_ros import __version__, tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core.prompt import Point, Prompt, read_points
from diception_ros.core.settings import (
    REQUIRED,
    ComputeSettings,
    PredictSettings,
    Settings,
    setting,
    to_arguments,
)
from diception_ros.system import engines, files, resources, safe_load
from diception_ros.system.progress import SILENT, Progress
from diception_ros.tasks import BUILTIN, TaskRegistry

if TYPE_CHECKING:
    from diception_ros.core.frame import Frame
    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.query import Prediction

_ENDS = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# By what runs the model.
_VERSIONS = {
    'torch': ('torch', 'diffusers', 'transformers', 'numpy'),
    'onnx': ('onnxruntime', 'numpy'),
}
_BUILTIN = (
    'model: builtin, a small one trained on simulated rooms, for a first look; the real weights: '
    'diception convert --help, then --model DIR (docs/install.md)'
)


def points_text(points: str | Sequence[Sequence[float]]) -> str:
    """Points as an option has them: [(320, 240), (400, 260)] -> '320,240;400,260'."""
    if isinstance(points, str):
        return points
    return ';'.join(f'{x},{y}' for x, y in points)


@dataclass(frozen=True)
class PredictConfig(Settings):
    """What is predicted, and where the results go.

    Raises:
        ValueError: a value that its declaration does not allow, or no task.
    """

    images: tuple[str, ...] = setting(
        REQUIRED, 'images, folders of images, and patterns such as *.png', kind=tuple,
        metavar='IMAGE', flag='images',
    )  # fmt: skip
    out: Path = setting(
        REQUIRED, 'folder for --tasks, image file for --prompt', kind=Path, metavar='PATH'
    )
    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')
    adapters: tuple[str, ...] = setting(
        (), 'folders that diception adapt wrote, which add tasks', metavar='DIR'
    )
    tasks: tuple[str, ...] = setting(
        (), f'some of {", ".join(tasks.names())}, or of the adapters; none: those of the adapters',
        metavar='TASK',
    )  # fmt: skip
    prompt: str | None = setting(
        None, "a text for the network, such as '[[image2depth]]', in place of tasks: its output "
        'image is written, for one IMAGE', kind=str, metavar='TEXT',
    )  # fmt: skip
    categories: tuple[str, ...] = setting(
        (), 'categories to segment, for tasks that take a category', metavar='NAME'
    )
    points: str = setting(
        '', 'one to five pixels on the object, for tasks that take points', metavar='X,Y;X,Y'
    )
    jobs: int = setting(
        1, 'processes that share the images; with --engine ray, processors of each', low=1,
        metavar='N',
    )  # fmt: skip
    engine: str = setting(
        'local', 'where images are processed: on this machine, or on a Ray cluster',
        choices=engines.ENGINES,
    )  # fmt: skip
    part: str = setting(
        '', 'process only the K-th of N parts of the images, from 1', metavar='K/N'
    )
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'points', points_text(self.points))
        super().__post_init__()
        read_points(self.points)
        parse_part(self.part)
        engines.check_device(self.engine, self.compute.device)
        if self.part and self.shared:
            raise ValueError('part is for one process; leave out jobs and engine')
        if self.prompt is not None and (self.part or self.shared):
            raise ValueError('prompt takes one image; leave out jobs, engine and part')
        if self.prompt is not None and (self.tasks or self.adapters):
            raise ValueError('prompt goes to the model itself; leave out tasks and adapters')
        if self.prompt is None and not self.tasks and not self.adapters:
            raise ValueError(f'tasks is empty; give one or more of {", ".join(tasks.names())}')

    @property
    def shared(self) -> bool:
        """Whether several processes share the images, here or on a cluster."""
        return self.jobs > 1 or self.engine == engines.RAY


@dataclass(frozen=True)
class PredictResult:
    """What was written.

    Attributes:
        written: for each image that was read, its folder in `out`, or the file of a prompt.
        skipped: why an image was left out, by image.
        results: for each image, one mapping a result: task, category and points of the prompt,
            kind of the label, seconds by stage, and the files label, preview and metadata.
    """

    written: Mapping[Path, Path]
    skipped: Mapping[Path, str]
    results: Mapping[Path, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def predict(config: PredictConfig, progress: Progress = SILENT) -> PredictResult:
    """Predict every task for every image, and write the results.

    For each image a folder of `out` gets, for each task, a preview (.png), the label without loss
    (.npz, see `diception_ros.core.labels.save_npz`) and how it was made (.json); and sheet.png.

    Raises:
        FileNotFoundError: none of the images exists, or no such model.
        ValueError: an unknown task, one that lacks a category or points, or categories or points
            that no task takes.

    Examples:
        >>> from diception_ros import PredictConfig, predict
        >>> config = PredictConfig(images=['photos'], tasks=['depth', 'normal'], out='results')
        >>> [sorted(path.name for path in folder.iterdir())[:3]
        ...  for folder in predict(config).written.values()]
        [['depth.json', 'depth.npz', 'depth.png']]
    """
    paths = find_images(config.images, config.out)
    points = read_points(config.points)
    if config.prompt is not None:
        return _generate(config, paths, points, progress)
    files.check_folders(_folders(paths, config.out).values())
    registry = TaskRegistry(tuple(cards.read(folder) for folder in config.adapters))
    names = config.tasks or [card.name for card in registry.cards]
    prompts = make_prompts(names, config.categories, points, registry)
    from diception_ros.model import folder

    # Adapters bring the embeddings of their own texts.
    texts = [
        registry.get(prompt.task).text(prompt)
        for prompt in prompts
        if not registry.is_adapter(prompt.task)
    ]
    folder.check_texts(folder.resolve(config.model), texts)
    if config.shared:
        return _predict_parts(config, paths, progress)
    predictor = _load(config, progress)
    predictor.adapt(config.adapters)
    predictor.check(prompts, config.predict, config.adapters)
    if config.model == 'builtin':
        progress.log(_BUILTIN)
    if config.part:
        return _predict_part(config, predictor, paths, prompts, progress)
    with files.exclusive_folder(config.out):
        folders = _folders(paths, config.out)
        return _predict(config, predictor, folders, prompts, progress)


# Options that the process of a part does not get.
_LOCAL = ('images', 'out', 'jobs', 'engine', 'part', 'threads')


def parse_part(text: str) -> tuple[int, int]:
    """Number, from 1, and count of a part: '2/4' -> (2, 4), '' -> (1, 1).

    Raises:
        ValueError: it is no such text.
    """
    if not text:
        return 1, 1
    number, _, count = text.partition('/')
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise ValueError(f'part is {text!r}; expected K/N with K from 1 to N, such as 2/4')


def folders_of(model: str, adapters: Sequence[str]) -> tuple[Path, ...]:
    """Folders of a model and adapters without which no process can run."""
    named = [] if model == 'builtin' else [model]
    return tuple(Path(folder).absolute() for folder in (*named, *adapters) if folder)


def _summary_of(out: Path, number: int, count: int) -> Path:
    return out.absolute() / f'part-{number}-of-{count}.json'


def _predict_part(
    config: PredictConfig,
    predictor: Predictor,
    found: Sequence[Path],
    prompts: list[Prompt],
    progress: Progress,
) -> PredictResult:
    """Process every N-th image, and write which were left out beside the results."""
    number, count = parse_part(config.part)
    folders = _folders(found, config.out)
    mine = dict(list(folders.items())[number - 1 :: count])
    config.out.mkdir(parents=True, exist_ok=True)
    result = _predict(config, predictor, mine, prompts, progress)
    skipped = {str(path): why for path, why in result.skipped.items()}
    files.write_text(_summary_of(config.out, number, count), json.dumps({'skipped': skipped}))
    return result


def _predict_parts(
    config: PredictConfig, found: Sequence[Path], progress: Progress
) -> PredictResult:
    """Process parts of the images in processes of their own."""
    gpu = config.compute.device.startswith('cuda')
    with files.exclusive_folder(config.out):
        folders = _folders(found, config.out)
        paths, skipped = list(folders), dict[Path, str]()
        count = min(len(paths), engines.slots(config.engine, config.jobs, gpu))
        share = config.jobs if config.engine == engines.RAY else resources.processors() // count
        number_of_threads = config.compute.threads or resources.automatic_threads(
            config.compute.device, share
        )
        parts, shares = list[engines.EngineJob](), dict[Path, list[Path]]()
        for k in range(1, count + 1):
            out, mine = _summary_of(config.out, k, count), paths[k - 1 :: count]
            command = [
                sys.executable, '-m', 'diception_ros', 'predict', f'--out={config.out}',
                f'--part={k}/{count}', f'--threads={number_of_threads}',
                *to_arguments(config, _LOCAL), '--', *config.images,
            ]  # fmt: skip
            needs = (*folders_of(config.model, config.adapters), *filter(Path.exists, mine))
            part = Path(f'part {k} of {count}')
            parts.append(engines.EngineJob(part, out, command, Path.cwd(), needs))
            shares[out] = mine
            out.unlink(missing_ok=True)
        results = engines.run(config.engine, parts, config.jobs, gpu)
        with progress.bar(len(paths), 'images', 'image') as bar, contextlib.closing(results):
            for done in results:
                mine = shares[done.job.out]
                if done.code in (0, 1) and done.job.out.exists():
                    lacking = safe_load.json_object(done.job.out)['skipped']
                    skipped |= {path: lacking[str(path)] for path in mine if str(path) in lacking}
                    for file in (done.job.out, done.job.out.with_suffix('.log')):
                        file.unlink()
                else:
                    progress.log(f'{done.job.source}: {done.last_line}')
                    skipped |= dict.fromkeys(mine, done.last_line)
                bar.update(len(mine))
    for path, why in skipped.items():
        progress.log(f'skipped {path}: {why}')
    written = {path: folder for path, folder in folders.items() if path not in skipped}
    return PredictResult(written, skipped)


def _predict(
    config: PredictConfig,
    predictor: Predictor,
    folders: Mapping[Path, Path],
    prompts: list[Prompt],
    progress: Progress,
) -> PredictResult:
    import importlib.metadata

    from diception_ros.core import images
    from diception_ros.core.frame import Frame

    about = {
        'model': config.model,
        'adapters': list(config.adapters),
        'settings': {
            'device': config.compute.device,
            'dtype': config.compute.dtype,
            'backend': predictor.backend.name,
            **asdict(config.predict),
            'processing_resolution': predictor.resolution,
            'tta_shifts': predictor.tta_shifts,
        },
        'versions': {
            'diception_ros': __version__,
            **{
                name: importlib.metadata.version(name)
                for name in _VERSIONS[predictor.backend.name]
            },
        },
    }
    skipped = {}
    results: dict[Path, Sequence[Mapping[str, Any]]] = {}
    for path, folder in progress.each(folders.items(), len(folders), unit='image'):
        try:
            image = images.read(path)
            if doubt := images.doubt(path, image):
                progress.log(doubt)
            frame = Frame(image, doubt=doubt)
            predictions = predictor.predict([frame], prompts)
        except (OSError, ValueError) as error:
            # The other images are still of use.
            skipped[path] = files.error_text(error)
            progress.log(f'skipped {path}: {skipped[path]}')
            continue
        results[path] = _write(folder, path, frame, predictions, about)
    written = {path: folder for path, folder in folders.items() if path not in skipped}
    return PredictResult(written, skipped, results)


def _generate(
    config: PredictConfig, found: list[Path], points: tuple[Point, ...], progress: Progress
) -> PredictResult:
    """Write the network's output image, at the size of the input image."""
    if len(found) > 1:
        raise ValueError(f'prompt takes one IMAGE, got {len(found)}')
    import numpy as np
    from PIL import Image

    from diception_ros.core import images
    from diception_ros.core.frame import Frame

    frame = Frame(images.read(found[0]))
    output = _load(config, progress).generate(frame, config.prompt or '', points)
    height, width = frame.size
    whole = Image.fromarray((output * 255).round().astype(np.uint8))
    images.write(
        config.out, np.asarray(whole.resize((width, height), Image.Resampling.LANCZOS), np.uint8)
    )
    return PredictResult({found[0]: config.out}, {})


def _load(config: PredictConfig, progress: Progress) -> Predictor:
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    folder.silence_library_logging()
    return Predictor.load(
        config.model,
        config.compute,
        bool(config.adapters),
        progress.log,
        **asdict(config.predict),
    )


def find_images(given: Sequence[str], out: Path | None = None) -> list[Path]:
    """The image files that are given.

    Args:
        given: images, folders, and patterns.
        out: folder whose images are left out: those of an earlier run.

    Raises:
        FileNotFoundError: none of them exists, or a pattern matches nothing.
        ValueError: a folder has no images in it.
    """
    paths: list[Path] = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob('*') if p.suffix.lower() in _ENDS)
            inside = [
                p for p in inside
                if not (out in p.parents or p.is_dir() or files.is_stream(p))
            ]  # fmt: skip
            if not inside:
                but = f' outside of {out}' if out and out.is_dir() else ''
                raise ValueError(f'{path}: no images in it{but}; expected {" ".join(_ENDS)}')
            paths += inside
        elif glob.has_magic(text) and not path.exists():
            matched = sorted(glob.glob(text, recursive=True))
            if not matched:
                raise FileNotFoundError(f'{text}: no such image')
            paths += map(Path, matched)
        else:
            paths.append(path)
    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f'{paths[0]}: no such image' if paths else 'no images are given')
    return list(dict.fromkeys(paths))


def make_prompts(
    names: Sequence[str],
    categories: Sequence[str],
    points: tuple[Point, ...],
    registry: TaskRegistry = BUILTIN,
) -> list[Prompt]:
    """The prompts for tasks: categories and points go to the tasks that take them.

    Raises:
        ValueError: an unknown task, one that lacks what it needs, or categories or points that no
            task takes.
    """
    prompts = []
    for name in dict.fromkeys(names):
        task = registry.get(name)
        mine = points if task.takes_points else ()
        for category in categories if task.takes_category and categories else [None]:
            prompt = Prompt(name, category, mine)
            task.text(prompt)  # raises if something is missing
            prompts.append(prompt)
    for value, what, used in (
        (categories, 'categories', any(prompt.category for prompt in prompts)),
        (points, 'points', any(prompt.points for prompt in prompts)),
    ):
        if value and not used:
            raise ValueError(f'--{what} was given, but none of {", ".join(names)} uses it')
    return prompts


def _folders(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A folder for each image, named after its file and what sets it apart from the others.

    Two images of one name in two folders, or two formats of one image, never meet.
    """
    unique = {Path(os.path.abspath(path)): path for path in paths}
    root = Path(os.path.commonpath([path.parent for path in unique]))
    return {path: out / full.relative_to(root) for full, path in unique.items()}


def _write(
    folder: Path,
    path: Path,
    frame: Frame,
    predictions: Sequence[Prediction],
    about: dict[str, Any],
) -> list[Mapping[str, Any]]:
    """Write previews, labels, their metadata and the contact sheet of one image.

    Returns:
        What `PredictResult.results` has of the image.
    """
    from diception_ros.core import images
    from diception_ros.core.images import contact_sheet
    from diception_ros.core.labels import save_npz

    folder.mkdir(parents=True, exist_ok=True)
    previews, names = [frame.image], [path.name]
    results: list[Mapping[str, Any]] = []
    for prediction in predictions:
        prompt = prediction.prompt
        # Quoted, so that no category can leave the folder or take another's name.
        name = ' '.join(filter(None, (prompt.task, quote(prompt.category or '', safe=' '))))
        preview = prediction.label.preview(frame.image)
        images.write(folder / f'{name}.png', preview)
        more = {} if prediction.uncertainty is None else {'uncertainty': prediction.uncertainty}
        save_npz(prediction.label, folder / f'{name}.npz', **more)
        metadata: dict[str, Any] = {
            'image': str(path),
            'size': {'height': frame.size[0], 'width': frame.size[1]},
            'prompt': {
                'task': prompt.task,
                'category': prompt.category,
                'points': [point._asdict() for point in prompt.points],
            },
            'label': {'kind': type(prediction.label).__name__, 'file': f'{name}.npz'},
            'seconds': dict(prediction.seconds),
            **about,
        }
        files.write_text(folder / f'{name}.json', json.dumps(metadata, indent=2) + '\n')
        previews.append(preview)
        names.append(name)
        results.append(
            {
                **metadata['prompt'],
                'kind': metadata['label']['kind'],
                'seconds': metadata['seconds'],
                'label': folder / f'{name}.npz',
                'preview': folder / f'{name}.png',
                'metadata': folder / f'{name}.json',
            }
        )
    images.write(folder / 'sheet.png', contact_sheet(previews, names))
    return results
