# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of files: bytes, values of JSON and YAML, headers of tensors, ONNX graphs."""

import contextlib
import json
import struct

import yaml

SECRET = 'secret.png'  # lies outside of the folder that is named, and of the one above
# What stands in place of bytes, and of values of JSON and YAML.
NUMBERS = (0, 1, -1, 127, 255, 2**15, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63))
CODE = "__import__('os').system('touch ran')"
VALUES = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, -0.0, 0.5, 1e-300, 1e308, -1e308,
    float('nan'), float('inf'), '', 'x', 'mask', '0', '\0', '\ud800', 'ü', 'a/b', '..', '/', CODE,
    f'../../{SECRET}', f'..\\..\\{SECRET}', 'x' * 5000, [], [[]], [0], [1, 2],
    [1e300, 1e300], {}, {'a': 1}, [None],
)  # fmt: skip


def mutated(name, content, rng):
    """Other content of a file."""
    text = name.endswith(('.json', '.yaml'))
    if text and rng.random() < 0.8:
        parse, write = (json.loads, json.dumps) if name.endswith('.json') else (
            yaml.safe_load, yaml.safe_dump)  # fmt: skip
        value = parse(content)
        for _ in range(int(rng.integers(1, 3))):
            value = changed(value, rng)
        with contextlib.suppress(UnicodeEncodeError, yaml.YAMLError):
            return write(value).encode()
    if name.endswith('.safetensors') and rng.random() < 0.7:
        begin = 8 + int.from_bytes(content[:8], 'little')
        header = changed(json.loads(content[8:begin]), rng)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, 'little') + text + content[begin:]
    if name.endswith('.onnx') and rng.random() < 0.8:
        return changed_graph(content, rng)
    return mutated_bytes(content, rng)


def changed_graph(content, rng):
    """An ONNX graph with operators, connections, sizes, constants or names of files changed."""
    import onnx  # of the extra `export`

    def some(entries):
        return entries[int(rng.integers(len(entries)))]

    graph = onnx.load_model_from_string(content)
    nodes, constants = list(graph.graph.node), list(graph.graph.initializer)
    external = [entry for tensor in constants for entry in tensor.external_data]
    numbers = [attribute for node in nodes for attribute in node.attribute if attribute.ints]
    for _ in range(int(rng.integers(1, 3))):
        kind = int(rng.integers(7))
        if kind == 0:
            some(nodes).op_type = some(nodes).op_type
        elif kind == 1:
            node = some([one for one in nodes if one.input])
            node.input[int(rng.integers(len(node.input)))] = some(nodes).output[0]
        elif kind == 2 and constants:
            tensor = some([one for one in constants if one.dims] or constants)
            tensor.dims[:1] = [some((0, 1, 2, 7, 1000, 2**31, 2**62))]
        elif kind == 3 and external:
            entry = some(external)
            entry.value = some((f'../../{SECRET}', '/dev/zero', '..', '', '-1', '0', '9' * 30,
                                'vae', 'onnx.json', str(2**40), '64'))  # fmt: skip
        elif kind == 4 and numbers:
            attribute = some(numbers)
            attribute.ints[int(rng.integers(len(attribute.ints)))] = some((-1, 0, 3, 2**40))
        elif kind == 5:
            del graph.graph.node[int(rng.integers(len(graph.graph.node) - 1))]
        else:
            some([*graph.graph.input, *graph.graph.output]).name = some(nodes).output[0]
    return graph.SerializeToString()


def changed(value, rng):
    """A value of JSON with one part replaced, removed, doubled or added."""
    if isinstance(value, list | dict) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        made = dict(value) if isinstance(value, dict) else list(value)
        kind = rng.random()
        if kind < 0.8:
            made[key] = changed(value[key], rng)
        elif kind < 0.9:
            del made[key]
        elif isinstance(made, list):
            made.insert(key, value[key])
        else:
            made[key] = value[keys[int(rng.integers(len(keys)))]]
        return made
    if isinstance(value, int | float) and rng.random() < 0.3:
        return value * float(rng.choice([-1, 10, 0.1, 1e9]))
    return VALUES[int(rng.integers(len(VALUES)))]


def mutated_bytes(content, rng):
    """Bytes with some changed, removed, doubled or inserted."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(made) + 1)) if rng.random() < 0.7 else int(
            rng.integers(min(len(made), 64) + 1))  # fmt: skip
        length = int(2 ** rng.uniform(0, 6))
        kind = int(rng.integers(8))
        if kind == 0 and at < len(made):
            made[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            made[at : at + length] = rng.bytes(len(made[at : at + length]))
        elif kind == 2:
            size, order = ((2, 4, 8)[int(rng.integers(3))], '<>'[int(rng.integers(2))])
            number = NUMBERS[int(rng.integers(len(NUMBERS)))] % 2 ** (8 * size)
            word = struct.pack(f'{order}{ {2: "H", 4: "I", 8: "Q"}[size] }', number)
            made[at : at + size] = word
        elif kind == 3:
            del made[at : at + length]
        elif kind == 4:
            made[at:at] = rng.bytes(length)
        elif kind == 5:
            made[at:at] = made[at : at + length]
        elif kind == 6:
            del made[at:]
        else:
            made[at : at + length] = (CODE + '\n')[:length].encode()
    return bytes(made)
