# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exports the networks of a model folder as ONNX graphs that read the folder's own weights.

A graph holds no value of a weight: each is an initializer that lies in a .safetensors file of the
folder, named by its offset (ONNX calls this external data). So a graph stays right for other
weights of the same layout, and the folder does not grow by them. (int8 graphs hold ranges of
activations, and so belong to the weights that these were measured with.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import functools
import inspect
import itertools
import json
from pathlib import Path
import re
from typing import Any

from diffusers.models.normalization import RMSNorm
import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch.nn import functional

from diception_ros.core.prompt import MAX_POINTS
from diception_ros.model.encoder import FINE_CELLS
from diception_ros.model.folder import fingerprint, hidden_export_warnings
from diception_ros.model.onnx_backend import (
    CONDITION,
    DECODER,
    FEATURES,
    FORMAT,
    GRAPHS,
    IMAGE,
    INDEX_FILE,
    NETWORK,
    PRECISIONS,
    check_exportable,
)
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.model.weights import (
    PARTS,
    TensorPlace,
    layout_hash,
    tensor_places,
    weight_files,
)
from diception_ros.system import files

# The newest that ONNX Runtime 1.20 knows; 1.20 is the oldest that setup.py allows.
OPSET = 20
# ONNX's names of the types of stored weights.
_TYPES = {'F64': 'DOUBLE', 'F32': 'FLOAT', 'F16': 'FLOAT16', 'BF16': 'BFLOAT16'}


class _Graph(nn.Module):
    """Networks under the names of their folders, so that parameters are named as in the files."""

    def __init__(self, pipe: DiceptionPipeline) -> None:
        super().__init__()
        crop = functools.partial(_crop_positions, pipe.transformer.pos_embed)
        pipe.transformer.pos_embed.cropped_pos_embed = crop
        for part in PARTS:
            setattr(self, part, getattr(pipe, part))
        self.scale = pipe.input_scale
        self.factor, self.shift = pipe.vae.config.scaling_factor, pipe.vae.config.shift_factor


def _crop_positions(embed: Any, height: int, width: int) -> torch.Tensor:
    """`PatchEmbed.cropped_pos_embed` by indices, which are exported for every size.

    Slices, which diffusers uses, are contiguous for one size alone, and torch exports that one.
    """
    side, p = embed.pos_embed_max_size, embed.patch_size
    table = embed.pos_embed.unflatten(1, (side, side))
    for axis, length in ((1, height // p), (2, width // p)):
        index = torch.arange(length) + (side - length) // 2
        table = table.index_select(axis, index)
    return table.flatten(1, 2)


class _ImageGraph(_Graph):
    """Everything that depends on the input image alone."""

    def forward(self, image: torch.Tensor, *overlaps: torch.Tensor) -> Any:
        """(B, 3, D, E) in [-1, 1] -> what `DiceptionTransformer2DModel.embed_image` returns."""
        dtype = self.transformer.dtype
        image = image.to(dtype)
        features = () if self.image_encoder is None else self.image_encoder.parts(image)
        x = functional.avg_pool2d(image, self.scale) if self.scale > 1 else image
        if overlaps:
            rows, columns = (overlap.to(dtype) for overlap in overlaps)
            x = rows @ x @ columns.transpose(0, 1)
        if isinstance(self.vae, PcaAutoencoder):
            latents = self.vae.coordinates(x)
        else:
            latents = self.vae.encode(x, return_dict=False)[0].mode()
        latents = (latents - self.shift) * self.factor
        features = (part.to(latents) for part in features)
        tokens, sums = self.transformer.embed_parts(latents, *features)
        return tuple(item.float() for item in (tokens, *sums))


class _ConditionGraph(_Graph):
    """Everything in the transformer that depends on timestep and pooled text alone."""

    def forward(self, timestep: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """(N,) and (N, P) -> (N, M): the outputs of all adaptive normalisations, in a row."""
        embedded = self.transformer.time_text_embed(timestep, pooled.to(self.transformer.dtype))
        found = [norm.linear(norm.silu(embedded)) for norm in _adaptive(self.transformer)]
        return torch.cat(found, dim=1).float()


def _adaptive(transformer: nn.Module) -> list[Any]:
    """Normalisations whose scales and shifts are a projection of the condition."""
    return [module for module in transformer.modules() if hasattr(module, 'silu')]


class _Columns(nn.Module):
    """Returns some columns."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__()
        self.columns = slice(first, first + count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.columns]


def _of_the_first_half(projection: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """A projection of the first half of the tokens."""
    return functional.linear(_first_half(tokens), projection.weight, projection.bias)


def _first_half(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.unflatten(1, (2, -1))[:, 0]


def _last_block(
    block: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
) -> tuple[None, torch.Tensor]:
    """The block without what nothing uses: the image's tokens after they were attended to."""
    norm, gate, mlp_shift, mlp_scale, mlp_gate = block.norm1(hidden_states, emb=temb)
    text = block.norm1_context(encoder_hidden_states, temb)
    attended, _ = block.attn(hidden_states=norm, encoder_hidden_states=text)
    tokens = _first_half(hidden_states) + gate[:, None] * attended
    norm = block.norm2(tokens) * (1 + mlp_scale[:, None]) + mlp_shift[:, None]
    return None, tokens + mlp_gate[:, None] * block.ff(norm)


def _root_mean_square(norm: RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """RMSNorm as a division, of which ONNX Runtime makes one operation."""
    scale = torch.sqrt(x.float().pow(2).mean(-1, keepdim=True) + norm.eps)
    return (x / scale).to(norm.weight.dtype) * norm.weight


class _NetworkGraph(_Graph):
    """One pass of the transformer, with the point encoder.

    Args:
        pipe: changed: its transformer takes what _ConditionGraph returns as the pooled text.
    """

    def __init__(self, pipe: DiceptionPipeline) -> None:
        super().__init__(pipe)
        place = 0
        for norm in _adaptive(self.transformer):
            width = norm.linear.out_features
            norm.silu, norm.linear = nn.Identity(), _Columns(place, width)
            place += width
        self.transformer.time_text_embed.forward = lambda timestep, pooled: pooled
        last = self.transformer.transformer_blocks[-1]
        if last.context_pre_only and not last.use_dual_attention:
            last.attn.to_q.forward = functools.partial(_of_the_first_half, last.attn.to_q)
            last.forward = functools.partial(_last_block, last)
        for norm in self.transformer.modules():
            if isinstance(norm, RMSNorm) and norm.weight is not None and norm.bias is None:
                norm.forward = functools.partial(_root_mean_square, norm)

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        tokens: torch.Tensor,
        condition: torch.Tensor,
        points: torch.Tensor,
        given: torch.Tensor,
        conditional: torch.Tensor,
        image: torch.Tensor,
        *features: torch.Tensor,
    ) -> torch.Tensor:
        """(N, C, h, w) noisy latents -> their velocity; `conditional` is (N,), 0 or 1."""
        dtype = self.transformer.dtype
        # The unconditional half has zeros in place of point tokens.
        point_tokens = self.point_encoder(points, given) * conditional[:, None, None].to(dtype)
        velocity = self.transformer.predict_velocity(
            latents.to(dtype),
            image.to(dtype),
            tuple(part.to(dtype) for part in features),
            tokens.to(dtype),
            condition.to(dtype),
            point_tokens,
            timestep,
        )
        return velocity.float()


class _DecoderGraph(_Graph):
    """Latents to the output image."""

    def forward(self, latents: torch.Tensor, *overlaps: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) -> (N, H, W, 3) in [0, 1]."""
        dtype = self.vae.dtype
        z = latents.to(dtype) / self.factor + self.shift
        if isinstance(self.vae, PcaAutoencoder):
            decoded = self.vae.pixels(z)
            if overlaps:
                rows, columns = (overlap.to(dtype) for overlap in overlaps)
                decoded = rows.transpose(0, 1) @ decoded @ columns
        else:
            decoded = self.vae.decode(z, return_dict=False)[0]
        return (decoded.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def export(
    folder: Path, precision: str, log: Callable[[str], None] = lambda line: None
) -> dict[str, int]:
    """Write the graphs of a model folder into it.

    Args:
        folder: of the model.
        precision: in which the graphs compute, 'fp32' or 'fp16'; `quantise` makes int8 of fp32.
        log: called with progress.

    Returns:
        bytes of each file that was written, by name.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: the model uses something that the graphs cannot do.
    """
    import onnx_ir

    if reason := check_exportable(folder):
        raise ValueError(f'{folder}: {reason}')
    places = {
        f'{file.parent.name}.{name}': place
        for file in weight_files(folder)
        for name, place in tensor_places(file).items()
    }
    dtype = PRECISIONS[precision]
    pipe = DiceptionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype))
    sizes = {}
    for name, graph, inputs, outputs in _graphs(pipe):
        log(f'exporting {name}')
        with torch.no_grad(), hidden_export_warnings():
            # First, because torch.onnx tries other ways after a failure, in some of which axes
            # that vary become fixed.
            traced = torch.export.export(
                graph.eval(), tuple(example for example, _ in inputs.values()), strict=False,
                dynamic_shapes=_axes(graph, [axes for _, axes in inputs.values()]),
            )  # fmt: skip
            program = torch.onnx.export(
                traced, dynamo=True, input_names=list(inputs), output_names=outputs,
                opset_version=OPSET, optimize=False, verbose=False,
            )  # fmt: skip
        assert program is not None
        _refer(program.model, places, folder)
        content = onnx_ir.to_proto(program.model).SerializeToString()
        files.write_bytes(folder / name, content)
        sizes[name] = len(content)
    _write_index(folder, precision)
    return sizes


def _write_index(folder: Path, precision: str, **more: str) -> None:
    index = {
        'format': FORMAT, 'layout': layout_hash(folder), 'precision': precision, 'opset': OPSET,
        'exporter': f'torch {torch.__version__}', **more,
    }  # fmt: skip
    files.write_text(folder / INDEX_FILE, json.dumps(index, indent=2, sort_keys=True) + '\n')


def _graphs(
    pipe: DiceptionPipeline,
) -> Iterator[tuple[str, nn.Module, dict[str, Any], list[str]]]:
    """Each graph with its inputs (examples, and which of their axes vary) and names of outputs.

    The network's comes last, because it changes the pipeline.
    """
    config = pipe.transformer.config
    patch, token, scale = config.patch_size, pipe.token, pipe.input_scale
    # An example of any size; a size of 1 would be taken as fixed.
    batch, rows, columns = 2, 2, min(3, config.pos_embed_max_size)
    Dim = torch.export.Dim
    # Diffusers' upsampling copies batches of 64 and more, which changes nothing; torch exports
    # the other way alone.
    n = Dim('n', max=63)
    h, w = (Dim(name, min=1, max=config.pos_embed_max_size) for name in ('rows', 'columns'))

    zeros = torch.zeros
    lapped = {}
    if pipe.vae.config.get('lapped'):
        height, width = token * rows, token * columns
        lapped = {
            'row_overlap': (zeros(height, height), {0: token * h, 1: token * h}),
            'column_overlap': (zeros(width, width), {0: token * w, 1: token * w}),
        }
    size = token * scale
    image = {
        'image': (zeros(1, 3, size * rows, size * columns), {2: size * h, 3: size * w}),
        **lapped,
    }
    channels, width = config.in_channels, pipe.transformer.inner_dim
    latents = (
        zeros(batch, channels, patch * rows, patch * columns), {0: n, 2: patch * h, 3: patch * w}
    )  # fmt: skip
    length = len(pipe.prompt_table[next(iter(pipe.prompt_table))].tokens)
    timestep = (torch.ones(batch), {0: n})
    pooled = (zeros(batch, config.pooled_projection_dim), {0: n})
    inputs = {'timestep': timestep, 'pooled': pooled}
    yield CONDITION, _ConditionGraph(pipe), inputs, ['condition']
    condition = sum(norm.linear.out_features for norm in _adaptive(pipe.transformer))
    network = {
        'latents': latents,
        'timestep': timestep,
        'tokens': (zeros(batch, length, config.joint_attention_dim), {0: n}),
        'condition': (zeros(batch, condition), {0: n}),
        'points': (zeros(batch, MAX_POINTS, 2), {0: n}),
        'given': (torch.zeros(batch, MAX_POINTS, dtype=torch.bool), {0: n}),
        'conditional': (torch.ones(batch), {0: n}),
        'image_tokens': (zeros(batch, rows, columns, width), {0: n, 1: h, 2: w}),
    }
    made = ['image_tokens']
    own = getattr(pipe.transformer, 'image_features', None)
    firsts = () if own is None else (own.enter, own.fine and own.fine.enter)
    for name, first, side in zip(FEATURES, firsts, (patch, FINE_CELLS * patch), strict=False):
        if first is not None:
            example = zeros(batch, first.out_channels, side * rows, side * columns)
            network[name] = (example, {0: n, 2: side * h, 3: side * w})
            made.append(name)
    yield IMAGE, _ImageGraph(pipe), image, made
    yield DECODER, _DecoderGraph(pipe), {'latents': latents, **lapped}, ['images']
    yield NETWORK, _NetworkGraph(pipe), network, ['velocity']


def _axes(graph: nn.Module, axes: list[Any]) -> tuple[Any, ...]:
    """The axes as torch wants them: those of a variable argument in a tuple of its own."""
    parameters = inspect.signature(graph.forward).parameters.values()
    named = sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
    return (*axes[:named], *([tuple(axes[named:])] if axes[named:] else []))


def _refer(model: Any, places: Mapping[str, TensorPlace], folder: Path) -> None:
    """Make a graph read its initializers from the files of weights, and simplify it.

    Args:
        model: an onnx_ir.Model.
        places: of the tensors in the files, by part and name.
        folder: of the model, which the files are relative to.
    """
    import onnx_ir
    import onnxscript.optimizer

    graph = model.graph
    stored = {name: value for name, value in graph.initializers.items() if name in places}
    # As inputs, so that the optimizer cannot compute with their values.
    for name, value in stored.items():
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)
    onnxscript.optimizer.optimize(model)
    casts = []
    for name, value in stored.items():
        graph.inputs.remove(value)
        if not value.uses():
            continue
        place = places[name]
        kind = onnx_ir.DataType[_TYPES[place.dtype]]
        wanted = value.dtype
        value.const_value = onnx_ir.ExternalTensor(
            place.file.relative_to(folder).as_posix(), place.offset, place.length, kind,
            shape=onnx_ir.Shape(place.shape), name=name, base_dir=folder,
        )  # fmt: skip
        value.dtype = kind
        graph.register_initializer(value)
        if kind != wanted:
            # ONNX Runtime computes this once, when it loads the graph.
            cast = onnx_ir.node(
                'Cast', [value], {'to': wanted}, name=f'{name}.cast',
                outputs=[onnx_ir.Value(name=f'{name}.cast', type=onnx_ir.TensorType(wanted))],
            )  # fmt: skip
            onnx_ir.convenience.replace_all_uses_with(value, cast.outputs[0])
            cast.replace_input_with(0, value)
            casts.append(cast)
    graph.insert_before(graph[0], casts)
    # Places in this source, and names of all parameters: ten times as long as the graph.
    for held in (graph, *graph, *graph.inputs, *graph.outputs, *graph.initializers.values()):
        held.metadata_props.clear()


def remove(folder: Path) -> None:
    """Remove the graphs of a model folder."""
    for name in (INDEX_FILE, *GRAPHS):
        (folder / name).unlink(missing_ok=True)


# ---- int8 ---------------------------------------------------------------------------------------
#
# Activations take 8 bits between limits that were measured before (limits of each run would let a
# prediction depend on what else its batch holds), weights 8 bits by a scale of each channel. A
# graph says so by pairs of QuantizeLinear and DequantizeLinear, from which ONNX Runtime makes
# integer kernels. It rounds the weights itself: ONNX Runtime computes that once, as it loads the
# graph, so the folder stores no weight twice.

# Smallest scale, of values that are all 0.
_TINY = 1e-12
# Of these parts; but not the transformer's first layer, whose input is noise, nor those whose
# outputs are the latents, whose errors would be seen as they are; nor the refinement, which takes
# .2 ms less in 8 bits and made a third of the built-in model's errors of masks by name.
_INT8_PARTS = ('image_encoder.', 'transformer.')
_NOT_INT8 = re.compile(r'\.(pos_embed|proj_out|leave|encode|image_features\.refine)\.')


def _weight_name(node: Any) -> str:
    """The initializer that is the second input of a node, cast, cut or transposed; or ''."""
    value = node.inputs[1]
    while (by := value.producer()) is not None and by.op_type in ('Cast', 'Slice', 'Transpose'):
        value = by.inputs[0]
    return value.name if value.is_initializer() else ''


class _Plan:
    """What of a graph computes in 8 bits.

    Attributes:
        products: convolutions and matrix products of something and a weight.
        values: what is rounded to 8 bits: their inputs, and the convolutions' outputs.
        outputs: those of the values that are read rounded by everything.
        readers: nodes that read the other values rounded.
    """

    def __init__(self, graph: Any) -> None:
        self.products = [
            node for node in graph
            if node.op_type in ('Conv', 'MatMul') and _weight_name(node).startswith(_INT8_PARTS)
            and not _NOT_INT8.search(_weight_name(node))
        ]  # fmt: skip
        self.values = dict.fromkeys(node.inputs[0] for node in self.products)
        self.readers = set(self.products)
        self.outputs = set()
        for node in self.products:
            if node.op_type == 'Conv':
                (value,) = node.outputs
                uses = list(value.uses())
                if len(uses) == 1 and uses[0].node.op_type in ('Clip', 'Relu'):
                    (value,) = uses[0].node.outputs  # the limits of 8 bits replace it
                self.outputs.add(value)
        for node in graph:  # sums of such outputs, which an integer kernel adds
            if node.op_type == 'Add' and self.outputs.issuperset(node.inputs):
                self.outputs.add(node.outputs[0])
                self.readers.add(node)
        self.values |= dict.fromkeys(self.outputs)


class Recorder:
    """Runs a graph in place of the backend's, and keeps the range of each value of its plan."""

    def __init__(self, path: Path) -> None:
        import onnx_ir
        import onnxruntime

        model = onnx_ir.load(path)
        values = _Plan(model.graph).values
        self.names = [value.name for value in values]
        self.inputs, self._outputs = len(model.graph.inputs), len(model.graph.outputs)
        for value in values:
            for kind in ('ReduceMin', 'ReduceMax'):
                node = onnx_ir.node(kind, [value], {'keepdims': 0}, name=f'{value.name}.{kind}')
                node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
                node.outputs[0].name = node.name
                model.graph.append(node)
                model.graph.outputs.append(node.outputs[0])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(
            'session.model_external_initializers_file_folder_path', str(path.parent)
        )
        self._session = onnxruntime.InferenceSession(
            onnx_ir.to_proto(model).SerializeToString(), options, ['CPUExecutionProvider']
        )
        self.ranges = np.zeros((len(self.names), 2), np.float32)

    def run(self, feeds: dict[str, Any], shape: Any) -> list[Any]:
        outputs = self._session.run(None, feeds)
        ends = np.reshape(outputs[self._outputs :], (-1, 2))
        self.ranges[:, 0] = np.minimum(self.ranges[:, 0], ends[:, 0])
        self.ranges[:, 1] = np.maximum(self.ranges[:, 1], ends[:, 1])
        return list(outputs[: self._outputs])


def quantise(
    folder: Path, ranges: Mapping[str, Mapping[str, NDArray[np.float32]]]
) -> dict[str, int]:
    """Make graphs of a folder compute in 8 bits within ranges of a `Recorder` of each, by name.

    Returns:
        bytes of each graph, by name.
    """
    for name, found in ranges.items():
        files.write_bytes(folder / name, _quantised(folder / name, found))
    _write_index(folder, 'int8', weights=fingerprint(folder))
    return {name: (folder / name).stat().st_size for name in GRAPHS}


def _quantised(path: Path, ranges: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The graph of a file that computes in 8 bits within these ranges."""
    import onnx_ir

    types = onnx_ir.DataType
    model = onnx_ir.load(path)
    graph = model.graph
    plan = _Plan(graph)

    def constant(name: str, values: Any, dtype: Any) -> Any:
        if name not in graph.initializers:
            tensor = onnx_ir.tensor(np.asarray(values, dtype), name=name)
            graph.register_initializer(onnx_ir.Value(
                name=name, const_value=tensor, shape=onnx_ir.Shape(np.shape(values)),
                type=onnx_ir.TensorType(tensor.dtype),
            ))  # fmt: skip
        return graph.initializers[name]

    numbers = itertools.count()

    def add(before: Any, kind: str, *inputs: Any, dtype: Any = types.FLOAT, **more: Any) -> Any:
        name = f'int8_{next(numbers)}'
        output = onnx_ir.Value(name=name, type=onnx_ir.TensorType(dtype))
        graph.insert_before(before, onnx_ir.node(kind, inputs, more, name=name, outputs=[output]))
        return output

    scales, following = {}, dict(itertools.pairwise(graph))
    for value in plan.values:
        low, high = (float(end) for end in ranges[value.name])
        scale = max((high - low) / 255, _TINY)
        scales[value] = constant(f'{value.name}.scale', scale, np.float32)
        zero = round(-low / scale)
        about = [scales[value], constant(f'zero_point_{zero}', zero, np.uint8)]
        uses = list(value.uses())
        place = following[value.producer()] if value.producer() else graph[0]
        rounded = add(place, 'QuantizeLinear', value, *about, dtype=types.UINT8)
        back = add(place, 'DequantizeLinear', rounded, *about)
        scales[back] = scales[value]
        for use in uses:
            if value in plan.outputs or use.node in plan.readers:
                use.node.replace_input_with(use.idx, back)
        if value in plan.outputs and value.is_graph_output():
            graph.outputs[list(graph.outputs).index(value)] = back
    for node in plan.products:
        _round_weight(node, scales[node.inputs[0]], constant, functools.partial(add, node))
    return bytes(onnx_ir.to_proto(model).SerializeToString())


def _round_weight(node: Any, input_scale: Any, constant: Any, add: Any) -> None:
    """Round the weight and the bias of a convolution or matrix product."""
    import onnx_ir

    weight, *bias = node.inputs[1:]
    shape = node.graph.initializers[_weight_name(node)].shape
    # A matrix product's weight is transposed; the output channels are its columns.
    axis = 0 if node.op_type == 'Conv' else 1
    axes = [number for number in range(len(shape)) if number != axis]
    others = constant(f'axes_{axis}_{len(shape)}', axes, np.int64)
    largest = add('ReduceMax', add('Abs', weight), others, keepdims=0)
    least = [
        add('Div', largest, constant('largest_int8', 127, np.float32)),
        constant('tiny', _TINY, np.float32),
    ]
    if bias:
        # It is an int32 of the product's scale; those of channels without weights must fit.
        largest_bias = constant('largest_bias', 2**30, np.float32)
        least.append(add('Div', add('Abs', *bias), add('Mul', input_scale, largest_bias)))
    scale = add('Max', *least)
    about = [scale, constant(f'zeros_{shape[0]}', np.zeros(int(shape[0])), np.int8)]
    rounded = add('QuantizeLinear', weight, *about, dtype=onnx_ir.DataType.INT8, axis=axis)
    node.replace_input_with(1, add('DequantizeLinear', rounded, *about, axis=axis))
    if bias:
        step, kind = add('Mul', scale, input_scale), onnx_ir.DataType.INT32
        whole = add('Cast', add('Round', add('Div', *bias, step)), dtype=kind, to=kind)
        node.replace_input_with(2, add('DequantizeLinear', whole, step, axis=0))
