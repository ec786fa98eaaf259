# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt embeddings, computed once and kept beside the weights.

The prompts are few and known (six tasks, the COCO categories, the empty text), while SD3's text
encoders have 11 GB. So a model folder holds the embeddings, and needs no encoders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.model.weights import TensorPlace, read_array, read_metadata, tensor_places
from diception_ros.system import safe_load
from diception_ros.system.files import atomic_file

if TYPE_CHECKING:
    import torch

TABLE_FILE = 'prompt_embeddings.safetensors'
CLIP_LENGTH = 77  # Source: CLIP's context; both CLIP encoders of SD3 are padded to it
T5_LENGTH = 256  # Source: the official code's max_sequence_length
_FORMAT = 'diception_ros prompt table 1'
_DTYPES = {'F16', 'BF16', 'F32', 'F64'}  # names of safetensors
_MEND = '; copy the model folder again'


class UnknownTextError(ValueError):
    """A text has no embedding, and there are no text encoders to compute one."""


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """Embedding of one text.

    Attributes:
        tokens: (77 + 256, joint_attention_dim) CLIP tokens, then T5 tokens.
        pooled: (pooled_projection_dim,) pooled output of both CLIP encoders.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor


class PromptTable:
    """Embeddings by text, read from a safetensors file on first use.

    Those that were read or added stay in memory, in the dtype in which they were stored.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._places: dict[str, TensorPlace] = {}
        self._read: dict[str, PromptEmbedding] = {}

    @classmethod
    def load(cls, path: str | Path) -> PromptTable:
        """Open a table that `save` wrote; tensors stay on disk until they are used.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a prompt table.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such prompt table')
        table = cls()
        try:
            about = safe_load.json_text(read_metadata(path).get('table', '{}'), 'table')
            places = tensor_places(path)
            parts = {name: places[name] for name in ('tokens', 'pooled')}
            shapes = {name: list(part.shape) for name, part in parts.items()}
            kinds = {part.dtype for part in parts.values()}
            form, texts = about['format'], about['texts']
        except Exception as error:
            raise ValueError(f'{path}: not a prompt table ({error}){_MEND}') from error
        if form != _FORMAT:
            raise ValueError(
                f"{path}: not a prompt table; expected format '{_FORMAT}', found {form!r}{_MEND}"
            )
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f'{path}: texts is {texts!r:.60}; expected a list of texts{_MEND}')
        rows = len(texts)
        if len(set(texts)) != rows:
            raise ValueError(f'{path}: a text stands in it twice{_MEND}')
        sizes = {name: (len(shape), shape[:1]) for name, shape in shapes.items()}
        if sizes != {'tokens': (3, [rows]), 'pooled': (2, [rows])} or not kinds <= _DTYPES:
            raise ValueError(
                f'{path}: tokens has shape {shapes["tokens"]} and pooled {shapes["pooled"]} of '
                f'{" and ".join(sorted(kinds))}; expected ({rows}, T, D) and ({rows}, D) floating '
                f'point numbers, a row for each text{_MEND}'
            )
        table._rows = {text: row for row, text in enumerate(texts)}
        table._places = parts
        return table

    def __contains__(self, text: object) -> bool:
        return text in self._rows or text in self._read

    def __iter__(self) -> Iterator[str]:
        yield from self._rows
        yield from (text for text in self._read if text not in self._rows)

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def made_without_encoders(self) -> bool:
        """Whether it was made without text encoders, by `from_scratch.random_text_table`."""
        shape = self._shape()
        return shape is not None and shape[0] != CLIP_LENGTH + T5_LENGTH

    def _shape(self) -> tuple[int, ...] | None:
        """Of the tokens of one text; None for an empty table."""
        if self._places:
            return self._places['tokens'].shape[1:]
        return next((tuple(item.tokens.shape) for item in self._read.values()), None)

    def check(self, texts: Iterable[str]) -> None:
        """Raise UnknownTextError, which names the known texts, for a text that is not in it."""
        for text in texts:
            if text not in self:
                raise UnknownTextError(self._unknown(text))

    def arrays(self, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The embedding of a text of the file, without torch.

        Returns:
            (T, joint_attention_dim) tokens and (pooled_projection_dim,) pooled, see
            `PromptEmbedding`.

        Raises:
            UnknownTextError: the file has no such text.
        """
        self.check([text])
        row = self._rows[text]
        tokens, pooled = (read_array(self._places[name], row) for name in ('tokens', 'pooled'))
        return tokens.astype(np.float32), pooled.astype(np.float32)

    def __getitem__(self, text: str) -> PromptEmbedding:
        """The embedding of `text`; UnknownTextError names the known texts."""
        if text not in self._read:
            self.check([text])
            row = self._rows[text]
            with safe_load.tensors_file(self._places['tokens'].file) as file:
                self._read[text] = PromptEmbedding(
                    file.get_slice('tokens')[row].clone(), file.get_slice('pooled')[row].clone()
                )
        return self._read[text]

    def add(self, text: str, embedding: PromptEmbedding) -> None:
        """Add an embedding, in memory until `save`."""
        for known in self:
            shapes = [tuple(part.shape) for part in (self[known].tokens, self[known].pooled)]
            got = [tuple(part.shape) for part in (embedding.tokens, embedding.pooled)]
            if shapes != got:
                raise ValueError(
                    f'embedding of {text!r} has shapes {got}; this table holds {shapes}: '
                    'it was made by other text encoders'
                )
            break
        self._read[text] = embedding

    def save(self, path: str | Path) -> None:
        """Write the whole table atomically: a reader sees the old file or the new one.

        Raises:
            ValueError: the table is empty.
        """
        path = Path(path)
        texts = list(self)
        if not texts:
            raise ValueError(f'{path}: there is no embedding to save')
        from safetensors.torch import save_file
        import torch

        with atomic_file(path) as partial:
            save_file(
                {
                    'tokens': torch.stack([self[text].tokens.cpu() for text in texts]),
                    'pooled': torch.stack([self[text].pooled.cpu() for text in texts]),
                },
                partial,
                # One entry: safetensors writes several in no fixed order.
                metadata={'table': json.dumps({'format': _FORMAT, 'texts': texts})},
            )

    def _unknown(self, text: str) -> str:
        near = difflib.get_close_matches(text, list(self), n=1)
        hint = f'; did you mean {near[0]!r}?' if near else '.'
        words: dict[str, list[str]] = {}
        for known in self:
            first, _, rest = known.partition(' ')
            words.setdefault(first, []).extend([rest] if rest else [])
        there = ', '.join(
            repr(first) + (f' with {" / ".join(rest)}' if rest else '')
            for first, rest in words.items()
        )
        if self.made_without_encoders:
            return (
                f'no embedding for {text!r}{hint} This model was trained without text encoders, '
                f'so it knows these texts and no others: {there}. Use one of them, or give '
                'another model (--model DIR) that diception convert made'
            )
        return (
            f'no embedding for {text!r}{hint} This model carries no text encoders, only the '
            f'embeddings of: {there or "no text"}. To add one: diception prompts --model DIR '
            f'--add {text!r} --sd3 SD3_DIR'
        )


def encode_clip(texts: Sequence[str], tokenizer: Any, encoder: Any) -> tuple[Any, Any]:
    """Encode texts with one of the two CLIP text encoders.

    Args:
        texts: N texts.
        tokenizer: its tokenizer; it knows the padding, which differs between the two.
        encoder: a CLIPTextModelWithProjection.

    Returns:
        (N, 77, d) last hidden state but one, without the final layer norm; (N, d) pooled output.
    """
    # Every CLIP encoder of SD3 takes 77 tokens, whatever the tokenizer would allow.
    ids = tokenizer(
        list(texts),
        padding='max_length',
        max_length=CLIP_LENGTH,
        truncation=True,
        return_tensors='pt',
    ).input_ids
    out = encoder(ids.to(encoder.device), output_hidden_states=True)
    return out.hidden_states[-2], out[0]


def encode_t5(texts: Sequence[str], tokenizer: Any, encoder: Any, device: Any = None) -> Any:
    """Encode texts with T5.

    Args:
        texts: N texts.
        tokenizer: its tokenizer.
        encoder: a T5EncoderModel.
        device: where the token ids go; the encoder's device when None.

    Returns:
        (N, 256, d) last hidden state. Padding is attended: SD3 was trained without a mask.
    """
    ids = tokenizer(
        list(texts),
        padding='max_length',
        max_length=T5_LENGTH,
        truncation=True,
        add_special_tokens=True,
        return_tensors='pt',
    ).input_ids
    return encoder(ids.to(encoder.device if device is None else device))[0]


def combine_embeddings(
    texts: Sequence[str], first: tuple[Any, Any], second: tuple[Any, Any], t5: Any
) -> Iterable[tuple[str, PromptEmbedding]]:
    """Combine the outputs of the three encoders as SD3 does.

    Args:
        texts: N texts.
        first: (N, 77, d1) tokens and (N, d1) pooled of CLIP-L.
        second: (N, 77, d2) tokens and (N, d2) pooled of CLIP-G.
        t5: (N, 256, d) tokens of T5, d >= d1 + d2.

    Returns:
        each text with its PromptEmbedding.

    Source: arXiv 2403.03206, section 4 (text representations of SD3).
    """
    import torch

    clip = torch.cat([first[0], second[0]], dim=-1)  # (N, 77, d1 + d2)
    clip = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))  # (N, 77, d)
    tokens = torch.cat([clip, t5.to(clip.dtype)], dim=1)  # (N, 333, d)
    pooled = torch.cat([first[1], second[1]], dim=-1)  # (N, d1 + d2)
    return zip(
        texts, (PromptEmbedding(*pair) for pair in zip(tokens, pooled, strict=True)), strict=True
    )
