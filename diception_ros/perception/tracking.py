# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""State of a camera from frame to frame: instance tracks, and the last metric scale and shift."""

from __future__ import annotations

from collections.abc import Mapping
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.geometry import ScaleShift
from diception_ros.core.labels import Instances

if TYPE_CHECKING:
    from diception_ros.core.frame import Frame

# Labels without an instance after which its track ends: the model misses one now and then, but an
# instance that appears in the place of one long gone is another.
MAX_MISSED_FRAMES = 3


class Tracks:
    """Ids that instances keep from one label to the next, and with them their colours.

    A new instance gets the smallest free id, so ids stay small; a missed instance keeps its id for
    three labels.
    """

    def __init__(self) -> None:
        self._seen: Instances | None = None  # each instance where it was last
        self._missed: dict[int, int] = {}  # labels without it, by id

    def follow(self, label: Instances, min_iou: float) -> Instances:
        """Give the instances of a label their ids; its own ids are ignored.

        Instances of the last labels and of this one are paired so that the sum of overlaps is
        largest (Hungarian method); a pair must be of one category and overlap (intersection over
        union) by `min_iou`.

        Returns:
            The instances with their ids. Ids below the largest that are not in the image have no
            pixel, the score 0 and the category of some other instance.
        """
        new = label.present()
        if self._seen is not None and self._seen.size != new.size:
            self._seen, self._missed = None, {}
        numbers = np.zeros(len(new.scores), np.int32)
        if self._seen is not None:
            from scipy.optimize import linear_sum_assignment

            iou = new.iou(self._seen)  # (instances, ids)
            ours, theirs = np.array(new.categories), np.array(self._seen.categories)
            iou[(iou < min_iou) | (ours[:, None] != theirs[None])] = 0
            for thing, number in zip(*linear_sum_assignment(iou, maximize=True), strict=True):
                if iou[thing, number] > 0:
                    numbers[thing] = number + 1
        present = set(numbers.tolist())
        missed = {
            number: times + 1
            for number, times in self._missed.items()
            if number not in present and times < MAX_MISSED_FRAMES
        }
        free = (number for number in itertools.count(1) if number not in present | set(missed))
        for thing in np.flatnonzero(numbers == 0):
            numbers[thing] = next(free)
        out = _numbered(new, numbers)
        self._remember(out, missed)
        self._missed = {**missed, **dict.fromkeys(numbers.tolist(), 0)}
        return out

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All that is kept, as arrays; inverse of `from_state`."""
        missed = np.array([*self._missed.items()], np.int64).reshape(-1, 2)
        if self._seen is None:
            return {'missed': missed}
        return {
            'missed': missed,
            'ids': self._seen.ids,
            'categories': np.array(self._seen.categories, np.str_),
            'scores': self._seen.scores,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Tracks:
        """Restore a saved state; inverse of `state_dict`."""
        made = cls()
        made._missed = {int(number): int(times) for number, times in state['missed']}
        if 'ids' in state:
            made._seen = Instances(
                state['ids'], tuple(map(str, state['categories'])), state['scores']
            )
        return made

    def _remember(self, out: Instances, missed: dict[int, int]) -> None:
        if self._seen is None or not missed:
            self._seen = out
            return
        old = self._seen
        # What was missed lies where it was last, but for what others are seen on now.
        unseen = np.isin(old.ids, list(missed)) & (out.ids == 0)
        ids = np.where(unseen, old.ids, out.ids).astype(np.int32)
        names = list(out.categories)
        names += ['' for _ in range(len(names), max(missed))]
        for number in missed:
            names[number - 1] = old.categories[number - 1]
        self._seen = Instances(ids, tuple(names), np.zeros(len(names), np.float32))


class Memory:
    """What is kept of one camera.

    Attributes:
        tracks: of the instances, by task.
        scale_shift: of the last depth that was in metres, None before the first.
    """

    def __init__(self) -> None:
        self.tracks: dict[str, Tracks] = {}
        self.scale_shift: ScaleShift | None = None
        self._last: tuple[tuple[int, int], int] | None = None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All that is kept, as arrays; inverse of `from_state`."""
        arrays: dict[str, NDArray[Any]] = {}
        for task, tracks in self.tracks.items():
            state = tracks.state_dict()
            arrays |= {f'tracks/{task}/{name}': array for name, array in state.items()}
        if self.scale_shift is not None:
            arrays['affine'] = np.array(self.scale_shift, np.float64)
        if self._last is not None:
            size, stamp_ns = self._last
            arrays['last'] = np.array([*size, stamp_ns], np.int64)
        return arrays

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Memory:
        """Restore a saved state; inverse of `state_dict`."""
        made = cls()
        tracks: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            if name.startswith('tracks/'):
                _, task, field = name.split('/')
                tracks.setdefault(task, {})[field] = array
        made.tracks = {task: Tracks.from_state(saved) for task, saved in tracks.items()}
        if 'affine' in state:
            made.scale_shift = ScaleShift(*map(float, state['affine']))
        if 'last' in state:
            height, width, stamp_ns = map(int, state['last'])
            made._last = (height, width), stamp_ns
        return made

    def enter(self, frame: Frame, reset_after_s: float) -> None:
        """Begin a frame; reset the state if the frame does not follow the last one.

        It does not if it has another size, is older than the last (a bag that starts again, a
        clock that was set), or is more than `reset_after_s` younger.
        """
        if self._last is not None:
            size, stamp_ns = self._last
            later_ns = frame.stamp_ns - stamp_ns
            if size != frame.size or not 0 <= later_ns <= reset_after_s * 1e9:
                self.tracks, self.scale_shift = {}, None
        self._last = frame.size, frame.stamp_ns


def _numbered(new: Instances, numbers: NDArray[np.int32]) -> Instances:
    if np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
        return new
    count = int(numbers.max())
    table = np.zeros(len(numbers) + 1, np.int32)
    table[1:] = numbers
    names, scores = [new.categories[0]] * count, np.zeros(count, np.float32)
    for thing, number in enumerate(numbers.tolist()):
        names[number - 1], scores[number - 1] = new.categories[thing], new.scores[thing]
    return Instances(table[new.ids], tuple(names), scores)
