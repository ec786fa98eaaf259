# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The adapters that one loaded model has in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from diception_ros import card as cards
from diception_ros.card import WEIGHTS_FILE, Card
from diception_ros.model import lora
from diception_ros.model.fingerprint import fingerprint
from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.model.prompts import Embedding

# How far two embeddings of one text may be apart to be the same in another precision.
_CLOSE = 0.02


@dataclass(frozen=True, eq=False)
class _Adapter:
    """What was read of an adapter's folder."""

    card: Card
    values: dict[str, torch.Tensor]
    prompt: Embedding


class Adapters:
    """Reads adapters, and puts them in and out. `check` may be called from any thread.

    Args:
        pipe: the model.
        place: folder that it was loaded from, None where there is none.
    """

    def __init__(self, pipe: DiceptionPipeline, place: Path | None) -> None:
        self._pipe, self._place = pipe, place
        # Looked at now: `check` may run while `hold` changes the network.
        self._layers = lora.widths(pipe.transformer)
        self._read: dict[str, tuple[tuple[int, ...], _Adapter]] = {}
        self._held: dict[str, _Adapter] = {}

    def check(self, folders: Sequence[str | Path]) -> list[Card]:
        """Make sure that adapters suit the model; changes nothing.

        Args:
            folders: of adapters.

        Returns:
            Their cards, in the same order.

        Raises:
            ValueError: a folder that holds no adapter, two of one name, one that was made for
                other weights, or whose text the model knows differently.
        """
        return [one.card for one in self._all(folders)]

    def hold(self, folders: Sequence[str | Path]) -> list[Card]:
        """Have these adapters in, and no others.

        Args, Returns, Raises: as `check`; nothing is changed when it raises.
        """
        wanted = {one.card.name: one for one in self._all(folders)}
        transformer = self._pipe.transformer
        for name in [name for name, one in self._held.items() if wanted.get(name) is not one]:
            lora.remove(transformer, name)
            del self._held[name]
        for name, one in wanted.items():
            if name not in self._held:
                lora.put(transformer, name, one.values)
                if one.card.prompt not in self._pipe.prompt_table:
                    self._pipe.prompt_table.add(one.card.prompt, one.prompt)
                self._held[name] = one
        return [one.card for one in wanted.values()]

    def of(self, task: str) -> str:
        """The adapter that answers a task; '' for the base alone."""
        return task if task in self._held else ''

    def _all(self, folders: Sequence[str | Path]) -> list[_Adapter]:
        found = [self._load(Path(folder)) for folder in folders]
        cards.check_distinct(one.card for one in found)
        return found

    def _load(self, folder: Path) -> _Adapter:
        card = cards.read(folder)
        path = folder / WEIGHTS_FILE
        if not path.is_file():
            raise ValueError(f'adapter {str(folder)!r}: no {WEIGHTS_FILE} in it')
        stat = path.stat()
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._read.get(str(folder))
        if known is not None and known[0] == mark and known[1].card == card:
            return known[1]
        self._check_base(folder, card)
        one = _Adapter(card, *lora.read(str(path)))
        try:
            lora.check(self._layers, card.name, one.values)
            self._check_text(card.prompt, one.prompt)
        except ValueError as error:
            raise ValueError(f'adapter {str(folder)!r}: {error}') from error
        self._read[str(folder)] = mark, one
        return one

    def _check_base(self, folder: Path, card: Card) -> None:
        if self._place is None:
            raise ValueError(f'adapter {str(folder)!r}: this model has no folder to compare it by')
        mine = fingerprint(self._place)
        if mine != card.base_sha256:
            raise ValueError(
                f'adapter {str(folder)!r} was made for the model {card.base!r} with the weights '
                f'{card.base_sha256[:12]}..., not for {str(self._place)!r} with {mine[:12]}...; '
                'use that model, or adapt this one'
            )

    def _check_text(self, text: str, brought: Embedding) -> None:
        table = self._pipe.prompt_table
        other = next((known for known in table), None) if text not in table else text
        if other is None:
            return
        mine = table[other]
        if mine.tokens.shape != brought.tokens.shape or mine.pooled.shape != brought.pooled.shape:
            raise ValueError(f'its text {text!r} was embedded by other text encoders')
        if other == text and not all(
            torch.allclose(known.float().cpu(), new.float(), rtol=_CLOSE, atol=_CLOSE)
            for known, new in ((mine.tokens, brought.tokens), (mine.pooled, brought.pooled))
        ):
            raise ValueError(f'the model knows its text {text!r} by another embedding')
