# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The adapters of one loaded model: which are refused, and what is in."""

from dataclasses import replace
import os
import shutil
import threading

from adapter_fixtures import write_adapter
import pytest
from safetensors.torch import load_file, save_file
import torch

from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE
from diception_ros.model import DiceptionPipeline
from diception_ros.model import adapters as model_adapters
from diception_ros.model.adapters import Adapters
from diception_ros.model.folder import fingerprint


@pytest.fixture
def pipe(tiny_folder):
    return DiceptionPipeline.from_pretrained(tiny_folder, torch.float32)


@pytest.fixture
def adapters(pipe, tiny_folder):
    return Adapters(pipe, tiny_folder)


@pytest.fixture
def floor(tiny_folder, tmp_path):
    return write_adapter(tmp_path / 'floor', tiny_folder)


@pytest.fixture
def shadow(tiny_folder, tmp_path):
    return write_adapter(tmp_path / 'shadow', tiny_folder, 'shadow', seed=1)


def inside(pipe):
    """What is in the network and in its table."""
    return (
        {name: value.clone() for name, value in pipe.transformer.state_dict().items()},
        set(pipe.prompt_table),
    )


def same(one, other):
    return one[1] == other[1] and one[0].keys() == other[0].keys() and all(
        torch.equal(value, other[0][name]) for name, value in one[0].items()
    )  # fmt: skip


def rewrite(folder, change):
    """Change what the file of an adapter holds."""
    content = load_file(folder / WEIGHTS_FILE)
    content.update(change(content))
    save_file(content, folder / WEIGHTS_FILE)


def test_check_returns_the_cards_and_changes_nothing(
    adapters, pipe, floor, shadow, tmp_path, monkeypatch
):
    before = inside(pipe)
    shutil.copytree(floor, tmp_path / 'again')
    with monkeypatch.context() as patch:
        # Nor does it walk through the network, which another thread may be changing.
        patch.setattr(pipe.transformer, 'named_modules', None)
        adapters.check([tmp_path / 'again'])
    checked = adapters.check([shadow, str(floor)])
    assert checked == [cards.read(shadow), cards.read(floor)]
    assert same(inside(pipe), before)
    assert adapters.name_for('floor') == ''
    assert adapters.check([]) == []


def test_set_active_loads_these_and_no_others(adapters, pipe, floor, shadow):
    before = inside(pipe)
    assert [card.name for card in adapters.set_active([floor])] == ['floor']
    named = [adapters.name_for(task) for task in ('floor', 'shadow', 'depth')]
    assert named == ['floor', '', '']
    assert '[[image2segmentation]] floor' in pipe.prompt_table
    adapters.set_active([shadow])
    assert (adapters.name_for('floor'), adapters.name_for('shadow')) == ('', 'shadow')
    assert not model_adapters.parameters(pipe.transformer, 'floor')
    adapters.set_active([floor, shadow])
    assert (adapters.name_for('floor'), adapters.name_for('shadow')) == ('floor', 'shadow')
    for folder, name in ((floor, 'floor'), (shadow, 'shadow')):
        values, _ = model_adapters.read(str(folder / WEIGHTS_FILE))
        mine = model_adapters.parameters(pipe.transformer, name)
        assert all(torch.equal(value, mine[full]) for full, value in values.items())
    adapters.set_active([])
    left = {k.replace('.base_layer', ''): v for k, v in pipe.transformer.state_dict().items()}
    assert left.keys() == before[0].keys()
    assert all(torch.equal(value, before[0][name]) for name, value in left.items())


def test_holding_twice_is_idle_and_a_changed_folder_is_read_again(
    adapters, pipe, floor, tiny_folder, tmp_path, monkeypatch
):
    read = []
    monkeypatch.setattr(
        model_adapters,
        'read',
        lambda path, _was=model_adapters.read: (read.append(path), _was(path))[1],
    )
    adapters.set_active([floor])
    mine = model_adapters.parameters(pipe.transformer, 'floor')
    adapters.check([floor])
    adapters.set_active([floor])
    again = model_adapters.parameters(pipe.transformer, 'floor')
    assert all(again[name] is value for name, value in mine.items())
    assert len(read) == 1

    # As a new one is put in its place, with the size and even the times of the old.
    times = (floor / WEIGHTS_FILE).stat()
    other = write_adapter(tmp_path / 'other', tiny_folder, seed=5)
    os.utime(other / WEIGHTS_FILE, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other / WEIGHTS_FILE, floor / WEIGHTS_FILE)
    adapters.set_active([floor])
    values, _ = model_adapters.read(str(floor / WEIGHTS_FILE))
    mine = model_adapters.parameters(pipe.transformer, 'floor')
    assert all(torch.equal(value, mine[full]) for full, value in values.items())

    replace(cards.read(floor), metrics={'step': 1}).write(floor)
    assert adapters.set_active([floor])[0].metrics == {'step': 1}


def test_of_another_model_is_refused_with_both_names(adapters, tiny_folder, tmp_path):
    odd = write_adapter(tmp_path / 'a', tiny_folder, base='other/model', base_sha256='12' * 32)
    with pytest.raises(ValueError, match='was made for the model') as error:
        adapters.check([odd])
    mine = fingerprint(tiny_folder)[:12]
    for part in (str(odd), "'other/model'", '121212121212...', str(tiny_folder), f'{mine}...'):
        assert part in str(error.value)
    nowhere = Adapters(DiceptionPipeline.from_pretrained(tiny_folder), None)
    with pytest.raises(ValueError, match='this model has no folder to compare it by'):
        nowhere.check([odd])


def test_two_of_one_name_are_refused(adapters, floor, tmp_path):
    shutil.copytree(floor, tmp_path / 'copy')
    with pytest.raises(ValueError, match="two adapters bring a task 'floor'; give one"):
        adapters.check([floor, tmp_path / 'copy'])


def test_folders_that_hold_no_whole_adapter_are_refused(adapters, pipe, floor, shadow):
    before = inside(pipe)
    whole = (floor / WEIGHTS_FILE).read_bytes()
    (floor / WEIGHTS_FILE).write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=rf'{floor}/{WEIGHTS_FILE}: damaged'):
        adapters.set_active([shadow, floor])
    (floor / WEIGHTS_FILE).unlink()
    with pytest.raises(ValueError, match=rf"adapter '{floor}': no {WEIGHTS_FILE} in it"):
        adapters.set_active([shadow, floor])
    (floor / CARD_FILE).unlink()
    with pytest.raises(ValueError, match=rf"adapter '{floor}': no card.json in it"):
        adapters.set_active([shadow, floor])
    shutil.rmtree(floor)
    with pytest.raises(ValueError, match=rf"adapter '{floor}': no such folder"):
        adapters.set_active([shadow, floor])
    assert same(inside(pipe), before)
    assert adapters.name_for('shadow') == ''


def test_matrices_of_another_network_are_refused_with_their_folder(adapters, floor):
    first = next(name for name in load_file(floor / WEIGHTS_FILE) if 'lora_A' in name)
    rewrite(floor, lambda content: {first: content[first][..., :-1].contiguous()})
    with pytest.raises(ValueError, match=rf"adapter '{floor}': adapter 'floor': its matrices"):
        adapters.check([floor])


def test_adapter_whose_text_embedding_differs_is_refused(
    adapters, pipe, floor, tiny_folder, tmp_path
):
    for part in ('prompt.tokens', 'prompt.pooled'):
        rewrite(floor, lambda content, part=part: {part: content[part][..., :-1].contiguous()})
        with pytest.raises(ValueError, match=r"its text '.*floor' was embedded by other text enc"):
            adapters.check([floor])
        write_adapter(floor, tiny_folder)

    text = '[[image2segmentation]]'
    known = pipe.prompt_table[text]
    mine = write_adapter(tmp_path / 'mine', tiny_folder, 'mine', text)
    right = {'prompt.tokens': known.tokens, 'prompt.pooled': known.pooled}
    for part in right:
        rewrite(mine, lambda content, part=part: {**right, part: content[part]})
        with pytest.raises(
            ValueError, match=rf'{mine}.*the model has another embedding of its text'
        ):
            adapters.check([mine])
        write_adapter(mine, tiny_folder, 'mine', text)
    rewrite(mine, lambda content: {k: v.bfloat16() for k, v in right.items()})
    adapters.set_active([mine])
    assert torch.equal(pipe.prompt_table[text].tokens, known.tokens)


def test_check_may_be_called_while_adapters_come_and_go(
    pipe, adapters, floor, shadow, tiny_folder
):
    """The node checks parameters in one thread, while its worker changes and asks the model."""
    ended, wrong = threading.Event(), []

    def check():
        while not ended.is_set():
            try:
                adapters._read.clear()  # so that everything is looked at again
                adapters.check([floor, shadow])
            except Exception as error:
                wrong.append(error)
                return

    thread = threading.Thread(target=check)
    thread.start()
    try:
        for k in range(12):
            adapters.set_active([[floor], [shadow, floor], []][k % 3])
    finally:
        ended.set()
        thread.join()
    assert not wrong
