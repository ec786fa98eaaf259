# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cards of adapters: what is written is read, and what cannot be is refused."""

from dataclasses import asdict, fields
import json
import subprocess
import sys

import pytest

from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import Card

GOOD = {
    'name': 'floor', 'prompt': '[[image2segmentation]] Fußboden', 'kind': 'mask', 'base': 'm',
    'base_sha256': '0a' * 32, 'rank': 4, 'parameters': 1000, 'share': 0.01,
    'data': {'sha256': '1', 'train_images': 8}, 'settings': {'lr': 1e-3, 'bf16': False},
    'metrics': {'step': 50, 'iou': {'true': 0.5}}, 'versions': {'torch': '2'},
    'threshold': 0.3,
}  # fmt: skip


def change(folder, **changes):
    """Write a card of which some fields are other JSON than they should be."""
    Card(**GOOD).write(folder)
    path = folder / 'card.json'
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v != 'left out'}))
    return path


def test_adapter_card_round_trip(tmp_path):
    Card(**GOOD).write(tmp_path)
    assert asdict(cards.read(tmp_path)) == GOOD
    assert [path.name for path in tmp_path.iterdir()] == ['card.json']


def test_numbers_that_are_none_become_null(tmp_path):
    scores = {'step': 50, 'iou': {'true': float('nan'), 'mean': float('inf')}}
    Card(**{**GOOD, 'metrics': scores}).write(tmp_path)
    assert 'NaN' not in (tmp_path / 'card.json').read_text()
    assert cards.read(tmp_path).metrics == {'step': 50, 'iou': {'true': None, 'mean': None}}


def test_a_whole_number_is_a_number(tmp_path):
    change(tmp_path, share=1)
    assert cards.read(tmp_path).share == 1


def wrong_types():
    kinds = {str: (str,), dict: (dict,), int: (int,), float: (int, float)}
    for one in fields(Card):
        right = kinds[type(GOOD[one.name])]
        yield one.name, 'left out'
        for value in (None, [], True, {'a': 1}, 'three', 1.5, 3):
            if isinstance(value, bool) or not isinstance(value, right):
                yield one.name, value


@pytest.mark.parametrize(('field', 'value'), list(wrong_types()))
def test_wrong_type_error_names_path_and_field(field, value, tmp_path):
    path = change(tmp_path, **{field: value})
    with pytest.raises(ValueError, match=rf'card\.json: {field} is .*; expected ') as error:
        cards.read(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('name', 'Floor', "name of a task: expected small letters, .* got 'Floor'"),
        ('name', '2nd', 'the first a letter'),
        ('name', '../floor', 'small letters'),
        ('name', 'floor\n', 'small letters'),
        ('prompt', ' ', "prompt of 'floor': expected a text"),
        ('kind', 'masks', "kind is 'masks'; expected one of mask, instances"),
        ('base_sha256', 'abc', "base_sha256 is 'abc'; expected 64 digits"),
        ('rank', 0, 'rank is 0; expected at least 1'),
        ('parameters', -1, 'parameters is -1; expected at least 1'),
        ('share', -0.5, 'share is -0.5; expected at least 0'),
        ('share', float('nan'), 'share is nan'),
        ('share', float('inf'), 'share is inf'),
    ],
)
def test_wrong_value_error_names_path_and_field(field, value, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Card(**{**GOOD, field: value})
    path = change(tmp_path, **{field: value})
    with pytest.raises(ValueError, match=message) as error:
        cards.read(tmp_path)
    assert str(path) in str(error.value)


def test_invalid_adapter_card_raises(tmp_path):
    for place, why in (
        (tmp_path / 'none', 'no such folder'),
        (tmp_path, 'no card.json in it'),
        (tmp_path / 'file', 'a file'),
    ):
        if place.name == 'file':
            place.touch()
        with pytest.raises(ValueError, match=f'{place}.*: {why}; give a folder that diception'):
            cards.read(place)
    for text, why in (
        ('{', 'not JSON'), ('\xff', 'not JSON'), ('[]', 'no card of an adapter'),
        ('{"format": "diception_ros adapter 2"}', 'no card of an adapter of this version'),
    ):  # fmt: skip
        (tmp_path / 'card.json').write_bytes(text.encode('latin-1'))
        with pytest.raises(ValueError, match=f'card.json: {why}'):
            cards.read(tmp_path)


def test_reading_a_card_loads_no_torch(tmp_path):
    Card(**GOOD).write(tmp_path)
    code = (
        'import sys; from diception_ros import tasks\n'
        'from diception_ros.core import adapter_card as card\n'
        'print(tasks.adapter_task(card.read(sys.argv[1])).name, "torch" in sys.modules)'
    )
    text = subprocess.run(
        [sys.executable, '-c', code, tmp_path], capture_output=True, text=True, check=True
    )
    assert text.stdout.split() == ['floor', 'False']
