# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters: read from folders, inserted into the transformer, enabled for one pass.

Between passes all adapters are disabled, so other code gets the base model, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
import contextlib
from dataclasses import dataclass
import math
from pathlib import Path
import re
import warnings

import torch
from torch import nn

from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import WEIGHTS_FILE, Card
from diception_ros.model.folder import fingerprint
from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.model.text_embeddings import PromptEmbedding
from diception_ros.model.transformer import DiceptionTransformer2DModel
from diception_ros.system import safe_load

# Query, key and value of the image tokens. Source: arXiv 2502.17157, section 4.1, which does not
# say whether the text tokens' are meant too; those would double the share, 2.8 % of SD3's at 128.
TARGETS = ('to_q', 'to_k', 'to_v')
# And the convolutions at stride 4 of a network with `FineRefinement`: masks become finer, see
# docs/adaptation.md. Not `enter`, whose sums over an image's features are computed once for all
# tasks.
_CONVOLUTIONS = re.compile(r'image_features\.fine\.(refine\.\d+|leave)')
PAPER_RANK = 128  # Source: arXiv 2502.17157, section 4.1
PAPER_WIDTH = 1536  # of SD3 medium, for which that rank was chosen
_TOKENS, _POOLED = 'prompt.tokens', 'prompt.pooled'


def layer_shapes(transformer: DiceptionTransformer2DModel) -> dict[str, tuple[int, ...]]:
    """Shape of the weight of each layer that an adapter changes, by name.

    (out, in), of a convolution (out, in, rows, columns).
    """
    shapes = {}
    for name, module in transformer.named_modules():
        if name.rpartition('.')[2] in TARGETS or _CONVOLUTIONS.fullmatch(name):
            layer = getattr(module, 'base_layer', module)  # the layer below inserted adapters
            shapes[name] = tuple(layer.weight.shape)
    return shapes


def convolutions(layers: Iterable[str]) -> list[str]:
    """The convolutions among the layers that an adapter changes."""
    return [name for name in layers if _CONVOLUTIONS.fullmatch(name)]


def matrix_shapes(shape: Sequence[int], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the two matrices beside a layer's weight of this shape, see `layer_shapes`."""
    out, enter, *kernel = shape
    return (rank, enter, *kernel), (out, rank, *(1 for _ in kernel))


def parameters_per_rank(transformer: DiceptionTransformer2DModel) -> int:
    """Parameters per rank."""
    return sum(
        math.prod(matrix)
        for shape in layer_shapes(transformer).values()
        for matrix in matrix_shapes(shape, 1)
    )


def choose_rank(transformer: DiceptionTransformer2DModel, whole: int, share: float) -> int:
    """The largest rank with at most `share` (0.01: 1 %) of the `whole` parameters of the base.

    Raises:
        ValueError: one rank has more than that.
    """
    each = parameters_per_rank(transformer)
    rank = int(share * whole / each)
    if rank < 1:
        # Rounded up, so that the value in the message is enough.
        unit = 10 ** (math.floor(math.log10(each / whole)) - 1)
        raise ValueError(
            f'share is {share:g}, {int(share * whole)} parameters; one rank has {each}, so '
            f'expected at least {math.ceil(each / whole / unit) * unit:.2g}'
        )
    return rank


def insert(
    transformer: DiceptionTransformer2DModel,
    name: str,
    rank: int,
    layers: Collection[str] | None = None,
) -> dict[str, nn.Parameter]:
    """Insert a new adapter of scale 1, disabled.

    Args:
        transformer: the network.
        name: of the adapter.
        rank: of its matrices.
        layers: names of the layers that it changes; None for all of `layer_shapes`.

    Returns:
        Its parameters, by their names in a file; only they require gradients. The first matrix is
        drawn from torch's random state, the second is zero.
    """
    from peft import LoraConfig

    transformer.requires_grad_(False)
    chosen = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights='gaussian',
        target_modules=[*(layer_shapes(transformer) if layers is None else layers)],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # about several adapters
        transformer.add_adapter(chosen, _inside(name))
    transformer.disable_adapters()
    matrices = parameters(transformer, name)
    for value in matrices.values():
        value.requires_grad_(True)
    return matrices


def parameters(transformer: DiceptionTransformer2DModel, name: str) -> dict[str, nn.Parameter]:
    """The parameters of an adapter, by their names in a file."""
    by_name = {}
    for full, value in transformer.named_parameters():
        before, middle, after = full.partition(f'.{_inside(name)}.')
        if middle:
            by_name[f'{before}.{after}'] = value
    return by_name


def load(
    transformer: DiceptionTransformer2DModel, name: str, values: Mapping[str, torch.Tensor]
) -> None:
    """Insert an adapter with these matrices, disabled.

    Raises:
        ValueError: the matrices are of another network.
    """
    layers = check(layer_shapes(transformer), name, values)
    rank = next(len(value) for full, value in values.items() if '.lora_A.' in full)
    rng_state = torch.get_rng_state()
    mine = insert(transformer, name, rank, layers)
    torch.set_rng_state(rng_state)
    with torch.no_grad():
        for full, value in values.items():
            mine[full].copy_(value)
            mine[full].requires_grad_(False)


def check(
    layers: Mapping[str, tuple[int, ...]], name: str, values: Mapping[str, torch.Tensor]
) -> list[str]:
    """Check that the matrices of an adapter fit a network, see `layer_shapes`.

    Returns:
        The names of the layers that it changes: all, or those of attention alone, as of adapters
        that were made before convolutions were adapted, too.

    Raises:
        ValueError: the matrices are of another network.
    """
    ranks = {len(value) for full, value in values.items() if '.lora_A.' in full}
    found = {full: tuple(value.shape) for full, value in values.items()}
    others = convolutions(layers)
    attention = [layer for layer in layers if layer not in others]
    expected: dict[str, tuple[int, ...]] = {}
    for changed in (attention, list(layers)):
        expected = {
            f'{layer}.{part}.weight': shape
            for layer in changed
            for rank in ranks
            for part, shape in zip(
                ('lora_A', 'lora_B'), matrix_shapes(layers[layer], rank), strict=True
            )
        }
        if len(ranks) == 1 and found == expected:
            return changed
    odd = sorted(set(found.items()) ^ set(expected.items()))
    raise ValueError(
        f'adapter {name!r}: its matrices are of another network; first difference: '
        f'{odd[0][0] if odd else "no matrices"}'
    )


def remove(transformer: DiceptionTransformer2DModel, name: str) -> None:
    """Remove an adapter; the network is then as before its insertion."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # about the adapter that is active now
        transformer.delete_adapters(_inside(name))
    # After the last one is removed, diffusers has no adapters to disable.
    if getattr(transformer, '_hf_peft_config_loaded', False):
        transformer.disable_adapters()


@contextlib.contextmanager
def enabled(transformer: DiceptionTransformer2DModel, name: str) -> Iterator[None]:
    """A context in which one adapter is enabled; with an empty name none is."""
    if not name:
        yield
        return
    transformer.enable_adapters()
    transformer.set_adapter(_inside(name))
    try:
        yield
    finally:
        transformer.disable_adapters()


def pack(values: Mapping[str, torch.Tensor], prompt: PromptEmbedding) -> dict[str, torch.Tensor]:
    """The content of an adapter's file; inverse of `read`."""
    return {
        **{full: value.detach().cpu().contiguous() for full, value in values.items()},
        _TOKENS: prompt.tokens.cpu().contiguous(),
        _POOLED: prompt.pooled.cpu().contiguous(),
    }


def read(path: str) -> tuple[dict[str, torch.Tensor], PromptEmbedding]:
    """Read the matrices of an adapter by name, and the embedding of its prompt.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged or no adapter.
    """
    try:
        with safe_load.tensors_file(path) as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        prompt = PromptEmbedding(values.pop(_TOKENS), values.pop(_POOLED))
    except KeyError as error:
        raise ValueError(f'{path}: not the weights of an adapter, there is no {error}') from error
    return values, prompt


def _inside(name: str) -> str:
    """Name of an adapter inside the network, where 'items' or 'to_q' would be ambiguous."""
    return f'adapter_{name}'


# Largest difference of two embeddings of one text in different precisions.
_CLOSE = 0.02


@dataclass(frozen=True, eq=False)
class _Adapter:
    """Content of an adapter's folder."""

    card: Card
    values: dict[str, torch.Tensor]
    prompt: PromptEmbedding


class Adapters:
    """Reads adapters, inserts and removes them. `check` may be called from any thread.

    Args:
        pipe: the model.
        place: folder that it was loaded from, None if there is none.
    """

    def __init__(self, pipe: DiceptionPipeline, place: Path | None) -> None:
        self._pipe, self._place = pipe, place
        # Now, because `check` may run while `set_active` changes the network.
        self._layers = layer_shapes(pipe.transformer) if place else {}
        self._read: dict[str, tuple[tuple[int, ...], _Adapter]] = {}
        self._held: dict[str, _Adapter] = {}

    def check(self, folders: Sequence[str | Path]) -> list[Card]:
        """Check that adapters fit the model; changes nothing.

        Returns:
            Their cards, in the same order.

        Raises:
            ValueError: a folder holds no adapter, two have one name, one was made for other
                weights, or the model has another embedding of its text.
        """
        return [item.card for item in self._all(folders)]

    def set_active(self, folders: Sequence[str | Path]) -> list[Card]:
        """Insert these adapters and remove all others.

        Args, Returns, Raises: as `check`; nothing is changed when it raises.
        """
        wanted = {item.card.name: item for item in self._all(folders)}
        transformer = self._pipe.transformer
        for name in [name for name, entry in self._held.items() if wanted.get(name) is not entry]:
            remove(transformer, name)
            del self._held[name]
        for name, item in wanted.items():
            if name not in self._held:
                load(transformer, name, item.values)
                if item.card.prompt not in self._pipe.prompt_table:
                    self._pipe.prompt_table.add(item.card.prompt, item.prompt)
                self._held[name] = item
        return [entry.card for entry in wanted.values()]

    def name_for(self, task: str) -> str:
        """The adapter of a task; '' for the base model."""
        return task if task in self._held else ''

    def _all(self, folders: Sequence[str | Path]) -> list[_Adapter]:
        adapters = [self._load(Path(folder)) for folder in folders]
        cards.check_distinct(item.card for item in adapters)
        return adapters

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
        adapter = _Adapter(card, *read(str(path)))
        try:
            check(self._layers, card.name, adapter.values)
            self._check_text(card.prompt, adapter.prompt)
        except ValueError as error:
            raise ValueError(f'adapter {str(folder)!r}: {error}') from error
        self._read[str(folder)] = mark, adapter
        return adapter

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

    def _check_text(self, text: str, own: PromptEmbedding) -> None:
        table = self._pipe.prompt_table
        other = next((known for known in table), None) if text not in table else text
        if other is None:
            return
        mine = table[other]
        if mine.tokens.shape != own.tokens.shape or mine.pooled.shape != own.pooled.shape:
            raise ValueError(f'its text {text!r} was embedded by other text encoders')
        if other == text and not all(
            torch.allclose(known.float().cpu(), new.float(), rtol=_CLOSE, atol=_CLOSE)
            for known, new in ((mine.tokens, own.tokens), (mine.pooled, own.pooled))
        ):
            raise ValueError(f'the model has another embedding of its text {text!r}')
