# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks recorded results: their headers, against a replay, and against ground truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import TYPES
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.geometry import to_disparity
from diception_ros.core.images import contact_sheet
from diception_ros.core.labels import Instances, Label, Mask, MetricDepth, visualize
from diception_ros.core.prompt import Prompt
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import ONE_POINT, EvalItem, task_of
from diception_ros.live_demo.run import NODE, Drive
from diception_ros.messages import Types, outputs, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.messages.outputs import LABEL_INFO
from diception_ros.simulation.views import RecordedView, recorded_views
from diception_ros.system import files, safe_load
from diception_ros.system.progress import SILENT, Progress

# Frames whose messages may interleave in a recording, where one topic lags behind another.
_OPEN = 8


@dataclass
class HeaderCheck:
    """Result of a check of all headers.

    Attributes:
        messages: number of messages.
        frames: number of frames that they belong to.
        complete: number of frames with a message on every recorded topic.
        unmatched: 'topic: header' of messages whose header is that of no image.
        topics: messages by topic.
    """

    messages: int = 0
    frames: int = 0
    complete: int = 0
    unmatched: list[str] = field(default_factory=list)
    topics: dict[str, int] = field(default_factory=dict)


def frames(bag: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The results of each image: its stamp, and messages by topic relative to the node."""
    waiting: dict[int, dict[str, Any]] = {}
    with Bag(bag) as opened:
        topics = [
            topic
            for topic, declared in opened.topics.items()
            # LabelInfo belongs to no image.
            if topic.startswith(f'{NODE}/') and declared.msgtype != LABEL_INFO
        ]
        for raw in opened.messages(topics):
            message = opened.decode(raw)
            stamp = stamp_of(message.header)
            waiting.setdefault(stamp, {})[raw.topic.removeprefix(f'{NODE}/')] = message
            if len(waiting) > _OPEN:
                first = next(iter(waiting))
                yield first, waiting.pop(first)
    yield from waiting.items()


def check(bag: Path, headers: Mapping[int, str], late: Collection[str] = ()) -> HeaderCheck:
    """Check whether every result has the header of an image.

    Topics that are `late` have no results in the beginning; they do not make a frame incomplete.
    """
    result = HeaderCheck()
    sets = []
    for stamp, messages in frames(bag):
        result.frames += 1
        sets.append({topic for topic in messages if topic not in late})
        for topic, message in messages.items():
            result.messages += 1
            result.topics[topic] = result.topics.get(topic, 0) + 1
            if headers.get(stamp) != message.header.frame_id:
                result.unmatched.append(f'{topic}: {stamp} {message.header.frame_id!r}')
    every = set().union(*sets)
    result.complete = sum(item == every for item in sets)
    return result


def compare(bag: Path, replayed: Path, topics: Collection[str]) -> tuple[int, int]:
    """Count the messages of a recording that equal those of a replay, byte for byte.

    Returns:
        Number of equal messages, and of all.
    """
    known = {
        (stamp, topic): _digest(message)
        for stamp, messages in frames(replayed)
        for topic, message in messages.items()
        if topic in topics
    }
    equal = count = 0
    for stamp, messages in frames(bag):
        for topic in topics & messages.keys():
            count += 1
            equal += known.get((stamp, topic)) == _digest(messages[topic])
    return equal, count


def _digest(message: Any) -> bytes:
    return hashlib.sha256(TYPES.serialize_cdr(message, message.__msgtype__)).digest()


def without_memory(names: Sequence[str], types: Types) -> set[str]:
    """Topics of tasks whose results do not depend on earlier frames.

    Instances keep their ids from frame to frame, so theirs depend.
    """
    return {
        item.topic
        for name in names
        if not issubclass(tasks.get(name).label, Instances)
        for item in outputs.declared(tasks.get(name), types)
    }


def label(
    task: str, messages: Mapping[str, Any], size: tuple[int, int], categories: Sequence[str]
) -> Label | None:
    """The label of a task in the messages of one frame, by topic; None if there is none."""
    return outputs.to_label(tasks.get(task), {**messages, 'size': size}, categories)


def only(things: Instances, categories: Collection[str]) -> Instances:
    """The things of some categories, numbered anew from 1."""
    return things.select(np.array([name in categories for name in things.categories], np.bool_))


MODEL, CONSTANT = 'model', 'mean image'
# Rooms of the training split whose mean makes the baseline; more change little.
_ROOMS = 10

Numbers = dict[str, dict[str, dict[str, float]]]


def mean_file(side: int, size: tuple[int, int], cache: Path) -> Path:
    """Where `mean_baseline` keeps its mean images."""
    return cache / f'constant_{size[1]}x{size[0]}_{side}.npz'


def mean_baseline(
    side: int,
    size: tuple[int, int],
    cache: Path,
    backend: str | None = None,
    progress: Progress = SILENT,
) -> evaluators.MeanBaseline:
    """A baseline that always predicts the mean output image of the training split.

    The mean images are kept in the folder `cache`, since rendering takes time.
    """
    file = mean_file(side, size, cache)
    if not file.exists():
        means = evaluators.mean_of_rooms(0, size, side, _ROOMS, backend, progress)
        with files.atomic_file(file) as partial, partial.open('wb') as opened:
            np.savez_compressed(opened, **means)  # type: ignore[arg-type]
    return evaluators.MeanBaseline(safe_load.npz_file(file))


def score(
    drive: Drive,
    bag: Path,
    names: Sequence[str],
    baseline: evaluators.MeanBaseline,
    count: int = 0,
    progress: Progress = SILENT,
) -> Numbers:
    """Score the node and the mean image.

    Returns:
        numbers by kind of prompt, metric and column.
    """
    tallies: dict[str, dict[str, evaluators.Evaluator]] = {}
    for view, messages in progress.each(matched_views(drive, bag), count, 'score', 'image'):
        for item in items_of(view, drive, names):
            prediction = prediction_of(item, messages, view, drive)
            other = baseline.predict(item.prompt, view.size)
            if prediction is None or other is None:
                continue
            mine = tallies.setdefault(
                item.name, {who: evaluators.create(item.name) for who in (MODEL, CONSTANT)}
            )
            mine[MODEL].update(item, prediction)
            mine[CONSTANT].update(item, other)
    return {
        kind: evaluators.by_metric(tallies[kind])
        for kind in evaluators.names(names)
        if kind in tallies
    }


def matched_views(drive: Drive, bag: Path) -> Iterator[tuple[RecordedView, Mapping[str, Any]]]:
    """Each processed image with its ground truth, and the results."""
    views = recorded_views(drive.path)
    for stamp, messages in frames(bag):
        # Both are in the order of time.
        view = next((item for item in views if item.frame.stamp_ns >= stamp), None)
        if view is None:
            return
        if view.frame.stamp_ns == stamp:
            yield view, messages


def items_of(view: RecordedView, drive: Drive, names: Sequence[str]) -> list[EvalItem]:
    """The prompts of the node for an image, with the ground truth."""
    known: dict[str, Callable[[], Label]] = {
        'depth': view.metric_depth,
        'normal': view.surface_normals,
        'entity': view.instances,
        'pose': view.keypoints,
    }
    items = [
        EvalItem(name, Prompt(name), known[name]())
        for name in names
        if name in known and name in view.tasks
    ]
    if 'semantic' in names and 'semantic' in view.tasks:
        items += [
            EvalItem('semantic', Prompt('semantic', category), view.of_category(category))
            for category in drive.categories
        ]
    if 'segmentation' in names and drive.click is not None and 'segmentation' in view.tasks:
        things = view.instances(stuff=True)
        number = things.ids[round(drive.click.y), round(drive.click.x)]
        if number:
            prompt = Prompt('segmentation', points=(drive.click,))
            items.append(EvalItem(ONE_POINT, prompt, Mask(things.ids == number)))
    return items


def prediction_of(
    item: EvalItem, messages: Mapping[str, Any], view: RecordedView, drive: Drive
) -> Label | None:
    """The node's label for a prompt; None where there is none."""
    prompt = item.prompt
    prediction = label(prompt.task, messages, view.size, drive.categories)
    if isinstance(prediction, Instances) and prompt.category is not None:
        return only(prediction, [prompt.category])
    return prediction


# Images in the contact sheet, by their position among all processed ones.
_PLACES = (0.1, 0.5, 1.0)
_BLANK = 24  # grey of the sheet


def write(out: Path, drive: Drive, bag: Path, names: Sequence[str], count: int) -> None:
    """Draw the contact sheet: some images, results, and the ground truth where there is one."""
    wanted = {round(place * (count - 1)) for place in _PLACES}
    shown: list[NDArray[np.uint8]] = []
    titles: list[str] = []
    for frame, messages, truths, number in _frames(drive, bag, names, wanted):
        blank = np.full_like(frame.image, _BLANK)
        shown.append(_clicked(frame, drive))
        titles.append(f'image {number + 1} of {count}')
        for name in names:
            preview = _preview(name, messages, frame, drive)
            shown.append(blank if preview is None else preview)
            titles.append(name if preview is not None else f'{name}: no result yet')
        if truths is not None:
            shown += [blank, *(truths.get(name, blank) for name in names)]
            titles += ['', *(f'{name}: truth' if name in truths else '' for name in names)]
    if shown:
        images.write(out, contact_sheet(shown, titles, columns=1 + len(names)))


def _frames(
    drive: Drive, bag: Path, names: Sequence[str], wanted: Collection[int]
) -> Iterator[tuple[Frame, Mapping[str, Any], dict[str, NDArray[np.uint8]] | None, int]]:
    """Processed images by their numbers: results, drawn ground truth by task, the number."""
    if drive.truth:
        for number, (view, messages) in enumerate(matched_views(drive, bag)):
            if number in wanted:
                truths = {
                    task_of(item.name): _truth(item, view, drive)
                    for item in items_of(view, drive, names)
                }
                yield view.frame, messages, truths, number
        return
    with Bag(drive.path) as opened:
        stream = opened.messages([drive.camera.topic])
        for number, (stamp, messages) in enumerate(frames(bag)):
            for raw in stream:
                frame = image_messages.frame_from(opened.decode(raw))
                if frame.stamp_ns == stamp:
                    if number in wanted:
                        yield frame, messages, None, number
                    break


def _truth(item: EvalItem, view: RecordedView, drive: Drive) -> NDArray[np.uint8]:
    label: Label = item.truth
    if isinstance(label, MetricDepth):
        label = to_disparity(label)[0]
    elif item.prompt.category is not None:  # all categories in one image, as in the result
        label = only(view.instances(), drive.categories)
    return label.preview(view.frame.image)


def _clicked(frame: Frame, drive: Drive) -> NDArray[np.uint8]:
    image = frame.image.copy()
    if drive.click is not None:
        visualize.draw_points(image, np.array([drive.click], np.float32))
    return image


def _preview(
    name: str, messages: Mapping[str, Any], frame: Frame, drive: Drive
) -> NDArray[np.uint8] | None:
    prediction = label(name, messages, frame.size, drive.categories)
    return None if prediction is None else prediction.preview(frame.image)
