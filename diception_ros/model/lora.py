# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters of the transformer: put in, switched on for one pass, taken out.

Between passes every adapter is off, so whoever knows nothing of adapters gets the base, bit for
bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import math
import warnings

from peft import LoraConfig
from safetensors import SafetensorError, safe_open
import torch
from torch import nn

from diception_ros.model.prompts import Embedding
from diception_ros.model.transformer import DiceptionTransformer2DModel

# Query, key and value of the image tokens. Source: arXiv 2502.17157, section 4.1, which does not
# say whether the text tokens' are meant too; those would double the share, 2.8 % of SD3's at 128.
TARGETS = ('to_q', 'to_k', 'to_v')
PAPER_RANK = 128  # Source: arXiv 2502.17157, section 4.1
PAPER_WIDTH = 1536  # of SD3 medium, for which that rank was chosen
_TOKENS, _POOLED = 'prompt.tokens', 'prompt.pooled'


def widths(transformer: DiceptionTransformer2DModel) -> dict[str, tuple[int, int]]:
    """Numbers in and out of each layer that an adapter changes, by its name."""
    found = {}
    for name, module in transformer.named_modules():
        if name.rpartition('.')[2] in TARGETS:
            layer = getattr(module, 'base_layer', module)  # what is under adapters that are in
            found[name] = (layer.in_features, layer.out_features)
    return found


def per_rank(transformer: DiceptionTransformer2DModel) -> int:
    """Parameters that each rank adds."""
    return sum(map(sum, widths(transformer).values()))


def choose_rank(transformer: DiceptionTransformer2DModel, whole: int, share: float) -> int:
    """The largest rank whose parameters are at most a share of the base's.

    Args:
        transformer: without adapters.
        whole: parameters of the base.
        share: 0.01 is 1 %.

    Raises:
        ValueError: one rank is more than that already.
    """
    each = per_rank(transformer)
    rank = int(share * whole / each)
    if rank < 1:
        # Rounded up, so that what is read here is enough.
        unit = 10 ** (math.floor(math.log10(each / whole)) - 1)
        raise ValueError(
            f'share is {share:g}, {int(share * whole)} parameters; one rank has {each}, so '
            f'expected at least {math.ceil(each / whole / unit) * unit:.2g}'
        )
    return rank


def insert(
    transformer: DiceptionTransformer2DModel, name: str, rank: int
) -> dict[str, nn.Parameter]:
    """Put a new adapter in, off, which changes nothing yet.

    Args:
        transformer: that it is for.
        name: of the adapter.
        rank: of its matrices; scaled by one.

    Returns:
        Its parameters, by the names that they have in a file; they alone want gradients. The first
        matrix is drawn from torch's random state, the second is zero.
    """
    transformer.requires_grad_(False)
    chosen = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights='gaussian', target_modules=list(TARGETS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # that there are several adapters
        transformer.add_adapter(chosen, _inside(name))
    transformer.disable_adapters()
    found = parameters(transformer, name)
    for value in found.values():
        value.requires_grad_(True)
    return found


def parameters(transformer: DiceptionTransformer2DModel, name: str) -> dict[str, nn.Parameter]:
    """The parameters of an adapter, by the names that they have in a file."""
    found = {}
    for full, value in transformer.named_parameters():
        before, middle, after = full.partition(f'.{_inside(name)}.')
        if middle:
            found[f'{before}.{after}'] = value
    return found


def put(
    transformer: DiceptionTransformer2DModel, name: str, values: Mapping[str, torch.Tensor]
) -> None:
    """Put an adapter in, off, whose matrices are known.

    Raises:
        ValueError: they are of another network.
    """
    check(widths(transformer), name, values)
    rank = next(len(value) for full, value in values.items() if '.lora_A.' in full)
    kept = torch.get_rng_state()
    mine = insert(transformer, name, rank)
    torch.set_rng_state(kept)
    with torch.no_grad():
        for full, value in values.items():
            mine[full].copy_(value)
            mine[full].requires_grad_(False)


def check(
    layers: Mapping[str, tuple[int, int]], name: str, values: Mapping[str, torch.Tensor]
) -> None:
    """Make sure that matrices suit a network.

    Args:
        layers: of the network, see `widths`.
        name: of the adapter, for messages.
        values: its matrices.

    Raises:
        ValueError: they are of another network.
    """
    ranks = {len(value) for full, value in values.items() if '.lora_A.' in full}
    expected = {
        f'{module}.{part}.weight': shape
        for module, (enter, leave) in layers.items()
        for rank in ranks
        for part, shape in (('lora_A', (rank, enter)), ('lora_B', (leave, rank)))
    }
    came = {full: tuple(value.shape) for full, value in values.items()}
    if len(ranks) != 1 or came != expected:
        odd = sorted(set(came.items()) ^ set(expected.items()))
        raise ValueError(
            f'adapter {name!r}: its matrices are of another network; first difference: '
            f'{odd[0][0] if odd else "no matrices"}'
        )


def remove(transformer: DiceptionTransformer2DModel, name: str) -> None:
    """Take an adapter out; the network's answers are what they were before it came."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # that another one is active now
        transformer.delete_adapters(_inside(name))
    # Where it was the last one, diffusers knows of none that could be off.
    if getattr(transformer, '_hf_peft_config_loaded', False):
        transformer.disable_adapters()


@contextlib.contextmanager
def switched_on(transformer: DiceptionTransformer2DModel, name: str) -> Iterator[None]:
    """A context in which one adapter is on; with an empty name none is."""
    if not name:
        yield
        return
    transformer.enable_adapters()
    transformer.set_adapter(_inside(name))
    try:
        yield
    finally:
        transformer.disable_adapters()


def pack(values: Mapping[str, torch.Tensor], prompt: Embedding) -> dict[str, torch.Tensor]:
    """What the file of an adapter holds; inverse of `read`."""
    return {
        **{full: value.detach().cpu().contiguous() for full, value in values.items()},
        _TOKENS: prompt.tokens.cpu().contiguous(),
        _POOLED: prompt.pooled.cpu().contiguous(),
    }


def read(path: str) -> tuple[dict[str, torch.Tensor], Embedding]:
    """Matrices of an adapter by their names, and the embedding of its prompt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or no adapter.
    """
    try:
        with safe_open(path, 'pt') as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        prompt = Embedding(values.pop(_TOKENS), values.pop(_POOLED))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f'{path}: damaged, or not the weights of an adapter ({error})') from error
    return values, prompt


def _inside(name: str) -> str:
    """What an adapter is called in the network, where 'items' or 'to_q' mean something else."""
    return f'adapter_{name}'
