# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt embeddings: what the encoders say, and the table that remembers it."""

import json
from pathlib import Path

from diffusers import StableDiffusion3Pipeline
import pytest
from safetensors.torch import save_file
import torch

from diception_ros.model.text_embeddings import PromptEmbedding, PromptTable, UnknownTextError

TEXTS = ['', '[[image2depth]]', '[[image2semantic]] hot dog']


def test_encoding_is_that_of_sd3(tiny):
    parts = {name: part for name, part in tiny.components.items() if name != 'point_encoder'}
    sd3 = StableDiffusion3Pipeline(**parts)
    with torch.no_grad():
        tokens, _, pooled, _ = sd3.encode_prompt(
            TEXTS, None, None, do_classifier_free_guidance=False
        )
    for i, (text, embedding) in enumerate(tiny.encode_texts(TEXTS)):
        assert text == TEXTS[i]
        assert embedding.tokens.shape == (77 + 256, 48)
        assert torch.equal(embedding.tokens, tokens[i])
        assert torch.equal(embedding.pooled, pooled[i])


def test_table_round_trip(tmp_path):
    table = PromptTable()
    for i, text in enumerate(TEXTS):
        table.add(
            text, PromptEmbedding(torch.full((3, 4), i, dtype=torch.bfloat16), torch.ones(2) * i)
        )
    table.save(tmp_path / 'table.safetensors')
    loaded = PromptTable.load(tmp_path / 'table.safetensors')
    assert list(loaded) == TEXTS
    assert len(loaded) == 3
    for text in TEXTS:
        assert text in loaded
        assert torch.equal(loaded[text].tokens, table[text].tokens)
        assert torch.equal(loaded[text].pooled, table[text].pooled)
    loaded.add('more', PromptEmbedding(torch.zeros(3, 4), torch.zeros(2)))
    assert list(loaded) == [*TEXTS, 'more']


def test_table_refuses_other_encoders():
    table = PromptTable()
    table.add('a', PromptEmbedding(torch.zeros(3, 4), torch.zeros(2)))
    with pytest.raises(ValueError, match='made by other text encoders'):
        table.add('b', PromptEmbedding(torch.zeros(3, 5), torch.zeros(2)))


def unknown(length, asked):
    table = PromptTable()
    for text in ('[[image2pose]]', '[[find]] cup', '[[find]] hot dog'):
        table.add(text, PromptEmbedding(torch.zeros(length, 4), torch.zeros(2)))
    with pytest.raises(UnknownTextError) as error:
        table[asked]
    return str(error.value)


def test_unknown_text_error_lists_known_texts_and_how_to_add_one():
    message = unknown(77 + 256, '[[image2poses]]')
    for part in (
        "did you mean '[[image2pose]]'?",
        "embeddings of: '[[image2pose]]', '[[find]]' with cup / hot dog.",
        "diception prompts --model DIR --add '[[image2poses]]'",
    ):
        assert part in message


def test_a_table_that_no_text_encoder_made_names_its_texts_and_other_models_but_no_way_to_add():
    message = unknown(3, '[[find]] unicorn')
    assert "'[[image2pose]]', '[[find]]' with cup / hot dog. Use one of them" in message
    assert 'another model (--model DIR)' in message
    assert '--add' not in message


def test_file_that_is_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such prompt table'):
        PromptTable.load(tmp_path / 'none.safetensors')
    (tmp_path / 'text').write_text('no table')
    with pytest.raises(ValueError, match='not a prompt table'):
        PromptTable.load(tmp_path / 'text')
    with pytest.raises(ValueError, match='no embedding to save'):
        PromptTable().save(tmp_path / 'empty')


def test_failed_save_keeps_the_old_table(tmp_path, monkeypatch):
    table = PromptTable()
    table.add('a', PromptEmbedding(torch.zeros(3, 4), torch.zeros(2)))
    path = tmp_path / 'table.safetensors'
    table.save(path)
    before = path.read_bytes()
    # Not os.replace, which pathlib of Python 3.10 looks up once.
    monkeypatch.setattr(Path, 'replace', lambda *paths: (_ for _ in ()).throw(OSError('full')))
    with pytest.raises(OSError, match='full'):
        table.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ['table.safetensors']


@pytest.mark.parametrize(
    ('tensors', 'texts', 'message'),
    [
        ({'tokens': (2, 3, 4)}, ['a', 'b'], 'pooled'),
        ({'tokens': (2, 3, 4), 'pooled': (1, 2)}, ['a', 'b'], r'expected \(2, T, D\)'),
        ({'tokens': (2, 12), 'pooled': (2, 2)}, ['a', 'b'], r'expected \(2, T, D\)'),
        ({'tokens': (2, 3, 4), 'pooled': (2, 2)}, [['a'], ['b']], 'expected a list of texts'),
        ({'tokens': (2, 3, 4), 'pooled': (2, 2)}, 'ab', 'expected a list of texts'),
        ({'tokens': (2, 3, 4), 'pooled': (2, 2)}, ['a', 'a'], 'a text stands in it twice'),
        ({'tokens': (2, 3, 4), 'pooled': (2, 2)}, ['a'], r'expected \(1, T, D\)'),
    ],
)
def test_prompt_tables_of_another_layout_raise_with_file_and_fix_hint(
    tmp_path, tensors, texts, message
):
    path = tmp_path / 'prompt_embeddings.safetensors'
    about = json.dumps({'format': 'diception_ros prompt table 1', 'texts': texts})
    values = {name: torch.zeros(shape) for name, shape in tensors.items()}
    save_file(values, path, metadata={'table': about})
    with pytest.raises(ValueError, match=f'safetensors: .*{message}.*copy the model folder') as e:
        PromptTable.load(path)
    assert len(str(e.value).splitlines()) == 1
    save_file({name: value.long() for name, value in values.items()}, path,
              metadata={'table': '[]'})  # fmt: skip
    with pytest.raises(ValueError, match='not a prompt table'):
        PromptTable.load(path)
