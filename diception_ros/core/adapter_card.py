# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of an adapter: the task that it adds, how it was trained, and its validation metrics.

An adapter is a folder with `card.json` and `adapter.safetensors`. Reading a card loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
import json
import math
from pathlib import Path
import re
from typing import Any

from diception_ros.system import files, safe_load

CARD_FILE = 'card.json'
WEIGHTS_FILE = 'adapter.safetensors'
# Kinds of label that an adapter's task can have; `tasks` has the meaning of each.
KINDS = ('mask', 'instances', 'normals', 'depth', 'rgb')
_FORMAT = 'diception_ros adapter 1'
_TYPES: dict[str, tuple[type, ...]] = {'str': (str,), 'int': (int,), 'float': (int, float)}
# A name is part of topics and of file names.
_NAME = re.compile(r'[a-z][a-z0-9_]*')
_SHA256 = re.compile(r'[0-9a-f]{64}')


@dataclass(frozen=True)
class Card:
    """What an adapter is.

    Attributes:
        name: of the task that it brings: small letters, digits and _.
        prompt: the text that the model reads, such as '[[image2segmentation]] floor'.
        kind: of the label, one of KINDS.
        base: the model that it was made for, as it was called.
        base_sha256: fingerprint of that model's weights; no other takes the adapter.
        rank: of the low-rank matrices.
        parameters: number of trained parameters.
        share: of the base's parameters, so 0.01 is 1 %.
        data: the training data: place, hash, numbers of images trained on and held out.
        settings: of the training.
        metrics: on the validation images, by metric, of the prediction, of that for another image
            (`shuffled`) and of the mean image (`mean`).
        versions: of the packages that made it.
        threshold: of a mask, how bright a pixel must be that belongs to it, in [0, 1]; see
            `training/validation.py`.

    Raises:
        ValueError: a value that cannot be.
    """

    name: str
    prompt: str
    kind: str
    base: str
    base_sha256: str
    rank: int
    parameters: int
    share: float
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f'name of a task: expected small letters, digits and _, the first a letter, '
                f'got {self.name!r}'
            )
        if not self.prompt.strip():
            raise ValueError(
                f'prompt of {self.name!r}: expected a text such as '
                f"'[[image2segmentation]] {self.name}', got an empty one"
            )
        if self.kind not in KINDS:
            raise ValueError(f'kind is {self.kind!r}; expected one of {", ".join(KINDS)}')
        if not _SHA256.fullmatch(self.base_sha256):
            raise ValueError(
                f'base_sha256 is {self.base_sha256!r:.80}; expected 64 digits 0-9 and a-f'
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f'threshold is {self.threshold}; expected above 0 and below 1')
        for name, least in (('rank', 1), ('parameters', 1), ('share', 0)):
            value = getattr(self, name)
            # Written so that NaN fails.
            if not least <= value < math.inf:
                raise ValueError(f'{name} is {value}; expected at least {least}')

    def write(self, folder: Path) -> None:
        """Write the card into an adapter's folder."""
        content = _plain({'format': _FORMAT, **asdict(self)})
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        files.write_text(folder / CARD_FILE, text + '\n')


def _plain(value: Any) -> Any:
    """A value for JSON, which has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(folder: str | Path) -> str:
    """SHA-256, hexadecimal, of an adapter: the same wherever it lies.

    Raises:
        FileNotFoundError: a file of it is missing.
    """
    return files.sha256_of_parts(
        (Path(folder) / name).read_bytes() for name in (CARD_FILE, WEIGHTS_FILE)
    )


def check_distinct(cards: Iterable[Card]) -> None:
    """Raise ValueError if two adapters bring a task of one name."""
    seen: set[str] = set()
    for card in cards:
        if card.name in seen:
            raise ValueError(f'two adapters bring a task {card.name!r}; give one of them')
        seen.add(card.name)


def read(folder: str | Path) -> Card:
    """Read the card of an adapter's folder, as `diception adapt` wrote it.

    Raises:
        ValueError: there is no such folder, or it holds no adapter; a value that cannot be.
    """
    folder = Path(folder)
    path = folder / CARD_FILE
    if not path.is_file():
        there = 'a file' if folder.is_file() else 'no card.json in it'
        why = there if folder.exists() else 'no such folder'
        raise ValueError(
            f'adapter {str(folder)!r}: {why}; give a folder that diception adapt wrote'
        )
    content = safe_load.json_file(path)
    if not isinstance(content, dict) or content.pop('format', None) != _FORMAT:
        raise ValueError(f'{path}: no card of an adapter of this version')
    kinds = {item.name: item.type for item in fields(Card)}
    for name, kind in kinds.items():
        value = content.get(name)
        # To Python, true is a whole number.
        if isinstance(value, bool) or not isinstance(value, _TYPES.get(str(kind), (dict,))):
            raise ValueError(f'{path}: {name} is {value!r:.60}; expected {kind}')
    try:
        return Card(**{name: content[name] for name in kinds})
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
