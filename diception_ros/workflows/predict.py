# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception predict --task` writes for each picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
import importlib.metadata
import json
import os
from pathlib import Path
import sys
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from diception_ros import __version__
from diception_ros.core import adapter_card as cards
from diception_ros.core import images, settings
from diception_ros.core.contact_sheet import contact_sheet
from diception_ros.core.frame import Frame
from diception_ros.core.labels import io
from diception_ros.core.prompt import Point, Prompt
from diception_ros.perception.predictor import Predictor
from diception_ros.perception.query import Prediction
from diception_ros.system.files import error_text
from diception_ros.tasks import BUILTIN, TaskRegistry

_VERSIONS = ('torch', 'diffusers', 'transformers', 'numpy')


def write_all(args: argparse.Namespace, points: tuple[Point, ...]) -> int:
    """Answer every task about every picture; 1 when a picture was left out."""
    registry = TaskRegistry(tuple(cards.read(folder) for folder in args.adapter))
    adapted = [card.name for card in registry.cards]
    prompts = ask(args.task or adapted, args.category, points, registry)
    chosen = settings.from_arguments(settings.PredictSettings, args)
    compute = settings.from_arguments(settings.ComputeSettings, args)
    folders = name_folders(args.images, args.out)
    predictor = Predictor.load(args.model, compute, **asdict(chosen))
    predictor.adapt(args.adapter)
    about = {
        'model': str(args.model),
        'adapters': args.adapter,
        'settings': {
            'device': compute.device,
            'dtype': compute.dtype,
            **asdict(chosen),
            'processing_resolution': predictor.resolution,
            'tta_shifts': predictor.tta_shifts,
        },
        'versions': {
            'diception_ros': __version__,
            **{name: importlib.metadata.version(name) for name in _VERSIONS},
        },
    }
    failed = 0
    progress = tqdm(folders.items(), unit='picture', disable=len(folders) < 2)
    for path, folder in progress:
        try:
            frame = Frame(images.read(path))
            predictions = predictor.predict([frame], prompts)
        except (OSError, ValueError) as error:
            # The others are still worth having; the exit code tells.
            tqdm.write(f'skipped {path}: {error_text(error)}', file=sys.stderr)
            failed += 1
            continue
        write_one(folder, path, frame, predictions, about)
    print(
        f'wrote {len(folders) - failed} of {len(folders)} pictures to {args.out}', file=sys.stderr
    )
    return 1 if failed else 0


def ask(
    names: Sequence[str],
    categories: Sequence[str],
    points: tuple[Point, ...],
    registry: TaskRegistry = BUILTIN,
) -> list[Prompt]:
    """The prompts of a command line: categories and points go to the tasks that use them.

    Raises:
        ValueError: a task lacks what it needs, or nobody uses what was given.
    """
    prompts = []
    for name in dict.fromkeys(names):
        task = registry.get(name)
        mine = points if task.takes_points else ()
        for category in categories if task.takes_category and categories else [None]:
            prompt = Prompt(name, category, mine)
            task.text(prompt)  # says what is missing
            prompts.append(prompt)
    for given, option, used in (
        (categories, '--category', any(prompt.category for prompt in prompts)),
        (points, '--points', any(prompt.points for prompt in prompts)),
    ):
        if given and not used:
            raise ValueError(f'{option} was given, but none of {", ".join(names)} uses it')
    return prompts


def name_folders(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A folder for each picture, named after its file and what sets it apart from the others.

    Two pictures of one name in two folders, or two formats of one picture, never meet.
    """
    unique = {Path(os.path.abspath(path)): path for path in paths}
    root = Path(os.path.commonpath([path.parent for path in unique]))
    return {path: out / full.relative_to(root) for full, path in unique.items()}


def write_one(
    folder: Path,
    path: Path,
    frame: Frame,
    predictions: Sequence[Prediction],
    about: dict[str, Any],
) -> None:
    """Write previews, labels, their stories and the sheet of one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    previews, names = [frame.image], [path.name]
    for prediction in predictions:
        prompt = prediction.prompt
        # Quoted, so that no category can leave the folder or meet another's name.
        name = ' '.join(filter(None, (prompt.task, quote(prompt.category or '', safe=' '))))
        preview = prediction.label.preview(frame.image)
        images.write(folder / f'{name}.png', preview)
        more = {} if prediction.uncertainty is None else {'uncertainty': prediction.uncertainty}
        io.save_npz(prediction.label, folder / f'{name}.npz', **more)
        story = {
            'picture': str(path),
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
        (folder / f'{name}.json').write_text(json.dumps(story, indent=2) + '\n')
        previews.append(preview)
        names.append(name)
    images.write(folder / 'sheet.png', contact_sheet(previews, names))
