# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures in a folder, as somebody who labels by hand would have them.

FOLDER/images/000002_01.png   view 1 of scene 2, 8-bit RGB
FOLDER/labels/000002_01.png   its mask, 8-bit, 0 or 255; or its target picture, 8-bit RGB
FOLDER/about.json             what this is and how to make it again
"""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import platform
import shutil
from typing import Any

import cv2
import numpy as np

from diception_ros import __version__, images
from diception_ros.data.sample import Sample
from diception_ros.labels import Mask
from diception_ros.sim import adaptation
from diception_ros.sim.adaptation import Target
from diception_ros.sim.record import Recording
from diception_ros.sim.renderer import Renderer

FORMAT = 1
_MARK = 'about.json'

# Rooms that are looked at for one that is asked for, before giving up. Of 60 views, floor was seen
# in 58, shadows in 40 and graspable things in 20.
_PATIENCE = 20


def to_pictures(
    recording: Recording, target: Target, out: Path, force: bool = False
) -> Iterator[int]:
    """Write pictures and labels, `scenes` times `views` of them.

    A view that shows too little of what is labelled is left out, and rooms are taken one after
    another until there are enough pictures: there are more rooms than asked for then.

    Args:
        recording: what to record; `rate` and `stuff` have no meaning here.
        target: the label.
        out: the folder.
        force: replace a folder that this function wrote; never anything else.

    Yields:
        How many pictures were written after each one.

    Raises:
        FileExistsError: there is something already.
        ImportError, OSError: see `gl.context`.
        ValueError: a seed below 0.
    """
    wanted = recording.scenes * recording.views
    written = skipped = number = 0
    with Renderer(recording.size, recording.backend) as renderer:
        _create(out, force)
        _tell(out, recording, target, {'complete': False})
        while written < wanted and number < _PATIENCE * recording.scenes:
            found = adaptation.of_scene(
                renderer, target, recording.seed, number, recording.split, recording.views,
                recording.carrier,
            )  # fmt: skip
            for sample in found:
                if sample is None:
                    skipped += 1
                    continue
                _write(out, sample)
                written += 1
                yield written
                if written == wanted:
                    break
            number += 1
    counts = {'pictures': written, 'rooms': number, 'views_left_out': skipped}
    _tell(out, recording, target, {'complete': written == wanted, **counts})


def _create(out: Path, force: bool) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not _is_ours(out):
            raise FileExistsError(
                f'{out} exists and is no folder of labelled pictures; choose another name'
            )
        if not force:
            raise FileExistsError(f'{out} already holds pictures; --force replaces them')
        shutil.rmtree(out)
    for part in ('images', 'labels'):
        (out / part).mkdir(parents=True)


def _is_ours(out: Path) -> bool:
    # Other tools, too, may call a file about.json.
    try:
        about = json.loads((out / _MARK).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get('made_by') == 'diception simulate --labels'


def _write(out: Path, sample: Sample) -> None:
    *_, number, view, _ = sample.name.split('/')
    name = f'{int(number):06d}_{int(view):02d}.png'
    label = sample.label
    if isinstance(label, Mask):
        # By OpenCV: a mask has one channel, and `images.write` writes RGB.
        _, content = cv2.imencode('.png', label.values.astype(np.uint8) * 255)
        (out / 'labels' / name).write_bytes(content.tobytes())
    else:
        images.write(out / 'labels' / name, label.preview())
    images.write(out / 'images' / name, sample.frame.image)


def _tell(out: Path, recording: Recording, target: Target, more: dict[str, Any]) -> None:
    import mujoco

    height, width = recording.size
    carrier = recording.carrier or 'any'
    about = {
        'made_by': 'diception simulate --labels',
        'format': FORMAT,
        'command': f'diception simulate --labels {target} --scenes {recording.scenes} '
        f'--views {recording.views} --size {width}x{height} --seed {recording.seed} '
        f'--split {recording.split} --carrier {carrier} --out FOLDER',
        'labels': target,
        'kind': 'rgb' if target == 'highlight' else 'mask',
        'seed': recording.seed,
        'split': recording.split,
        'least_share': adaptation.LEAST,
        'versions': {
            'diception_ros': __version__,
            'mujoco': mujoco.__version__,
            'numpy': np.__version__,
            'python': platform.python_version(),
        },
        **more,
    }
    (out / _MARK).write_text(json.dumps(about, indent=1) + '\n')
