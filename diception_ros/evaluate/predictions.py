# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers that were written to files earlier, so that scoring needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diception_ros.evaluate.datasets import Case, crop
from diception_ros.evaluate.protocols import Protocol, Size
from diception_ros.labels import Disparity, Label, Normals, disk


class Predictions:
    """Labels that `diception predict` wrote earlier, found by the pictures' paths.

    `diception predict` names the folder of an answer after the picture's path below what all its
    pictures share, so an answer may lie under any end of the path in the data set; the longest
    that is there counts.

    Args:
        folder: --out of that command.
        protocol: says which task.
        cases: of which each must have an answer.

    Raises:
        FileNotFoundError: no such folder, or a picture has no answer.
        ValueError: two pictures have the same answer.
    """

    def __init__(self, folder: Path, protocol: Protocol, cases: Sequence[Case]) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: no such folder of predictions')
        self._protocol = protocol
        self._kind: type[Disparity] | type[Normals] = (
            Disparity if protocol.task == 'depth' else Normals
        )
        self._files: dict[str, Path] = {}
        # Answers that are of the whole picture where the model of the protocol sees a part.
        self.cropped = 0
        owners: dict[Path, str] = {}
        lacking = []
        for case in cases:
            path = self._place(folder, case)
            if path is None:
                lacking.append(case)
                continue
            other = owners.setdefault(path, case.name)
            if other != case.name:
                raise ValueError(
                    f'{path}: this answer would count for {other} and for {case.name}; predict '
                    'all pictures of the data set by one command, so that their folders differ'
                )
            self._files[case.name] = path
        if lacking:
            expected = folder / lacking[0].name / f'{protocol.task}.npz'
            raise FileNotFoundError(
                f'{lacking[0].picture}: no prediction {expected}, nor under any shorter end of '
                f'its path ({len(lacking)} of {len(cases)} pictures have none); write them with '
                f'diception predict --task {protocol.task} --out {folder}'
            )

    def __call__(self, case: Case) -> Label:
        """Read the answer to a case.

        Raises:
            ValueError: it is no label, of another kind, or of another size.
        """
        path = self._files[case.name]
        label = disk.read(path)
        if not isinstance(label, self._kind):
            raise ValueError(
                f'{path}: expected {self._kind.__name__} for protocol {self._protocol.name}, '
                f'came {type(label).__name__}'
            )
        window = self._protocol.window
        seen = case.size if window is None else _extent(window(case.size))
        if label.size == seen:
            return label
        if window is not None and label.size == case.size:
            self.cropped += 1
            return crop(label, window(case.size))
        choices = seen if seen == case.size else f'{seen} or {case.size}'
        raise ValueError(
            f'{path}: expected the size of {case.picture}, {choices} (H, W), came {label.size}'
        )

    def files(self) -> list[Path]:
        """The files of all answers, in the order of the cases."""
        return list(self._files.values())

    def _place(self, folder: Path, case: Case) -> Path | None:
        parts = case.name.split('/')
        for start in range(len(parts)):
            path = folder.joinpath(*parts[start:], f'{self._protocol.task}.npz')
            if path.is_file():
                return path
        return None


def _extent(window: tuple[slice, slice]) -> Size:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
