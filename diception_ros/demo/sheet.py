# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: some pictures, what was answered, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros import images
from diception_ros.demo import answers, judge
from diception_ros.demo.drive import Drive
from diception_ros.evaluate.questions import Question, task_of
from diception_ros.frame import Frame
from diception_ros.geometry import to_disparity
from diception_ros.labels import Label, MetricDepth, draw
from diception_ros.messages import pictures
from diception_ros.replay.bags import Bag
from diception_ros.sheet import contact_sheet
from diception_ros.sim.recorded import RecordedView

# Answered pictures that are shown, by their place among all of them.
_PLACES = (0.1, 0.5, 1.0)
_BLANK = 24  # grey of the sheet


def write(out: Path, drive: Drive, bag: Path, names: Sequence[str], count: int) -> None:
    """Draw the sheet.

    Args:
        out: the picture file.
        drive: what was played.
        bag: what was recorded.
        names: of the tasks; a column each.
        count: of answered pictures.
    """
    wanted = {round(place * (count - 1)) for place in _PLACES}
    shown: list[NDArray[np.uint8]] = []
    titles: list[str] = []
    for number, (frame, messages, truths) in enumerate(_frames(drive, bag, names)):
        if number not in wanted:
            continue
        blank = np.full_like(frame.image, _BLANK)
        shown.append(_clicked(frame, drive))
        titles.append(f'picture {number + 1} of {count}')
        for name in names:
            picture = _painted(name, messages, frame, drive)
            shown.append(blank if picture is None else picture)
            titles.append(name if picture is not None else f'{name}: not asked yet')
        if truths is not None:
            shown += [blank, *(truths.get(name, blank) for name in names)]
            titles += ['', *(f'{name}: truth' if name in truths else '' for name in names)]
    if shown:
        images.write(out, contact_sheet(shown, titles, columns=1 + len(names)))


def _frames(
    drive: Drive, bag: Path, names: Sequence[str]
) -> Iterator[tuple[Frame, Mapping[str, Any], dict[str, NDArray[np.uint8]] | None]]:
    """Each answered picture, its answers, and the true ones drawn, by task."""
    if drive.truth:
        for view, messages in judge.both(drive, bag):
            truths = {
                task_of(question.name): _truth(question, view, drive)
                for question in judge.ask(view, drive, names)
            }
            yield view.frame, messages, truths
        return
    with Bag(drive.path) as opened:
        stream = opened.messages([drive.camera.topic])
        for stamp, messages in answers.frames(bag):
            for raw in stream:
                frame = pictures.frame_from(opened.decode(raw))
                if frame.stamp_ns == stamp:
                    yield frame, messages, None
                    break


def _truth(question: Question, view: RecordedView, drive: Drive) -> NDArray[np.uint8]:
    label: Label = question.truth
    if isinstance(label, MetricDepth):
        label = to_disparity(label)[0]
    elif question.prompt.category is not None:  # all categories in one picture, as the answer
        label = answers.only(view.instances(), drive.categories)
    return label.preview(view.frame.image)


def _clicked(frame: Frame, drive: Drive) -> NDArray[np.uint8]:
    image = frame.image.copy()
    if drive.click is not None:
        draw.rings(image, np.array([drive.click], np.float32))
    return image


def _painted(
    name: str, messages: Mapping[str, Any], frame: Frame, drive: Drive
) -> NDArray[np.uint8] | None:
    found = answers.label(name, messages, frame.size, drive.categories)
    return None if found is None else found.preview(frame.image)
