# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception adapt`, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time

from adapter_fixtures import write_base
from labelled_files import ids, write_folder
import pytest
import torch

from diception_ros.cli.main import main
from diception_ros.core import adapter_card as cards
from diception_ros.core import images
from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE

QUICK = ['--rank', '2', '--batch-size', '2', '--buffer', '8']


def cup(k):
    return (ids(k) == 1).astype('uint8')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp('base') / 'model', 5)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('data') / 'cups', cup, 10)


def command(base, data, out, *more):
    return ['adapt', '--model', base, '--data', data, '--task', 'cup', '--kind', 'mask', '--out',
            out, *QUICK, *more]  # fmt: skip


def run(*arguments):
    return main([str(one) for one in command(*arguments)])


def test_ten_images_become_a_task_that_predict_asks(base, data, tmp_path, capsys):
    out = tmp_path / 'a'
    assert run(base, data, out, '--max-steps', '3') == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    card = cards.read(out)
    share = f'{100 * card.share:.2f} %'
    assert any(
        line.startswith(f'trains {card.parameters:,} parameters, {share} of the model: rank 2 in')
        and line.endswith('from 8 images, validated on 2 others')
        for line in lines
    )
    assert printed.out.startswith('at step 3, on 2 validation images:\n  image_mae')
    assert 'wrong image' in printed.out
    assert lines[-1] == (
        f'wrote {out}; try it: diception predict IMAGE --model {base} --adapters {out} '
        '--tasks cup --out results'
    )
    assert (card.name, card.prompt) == ('cup', '[[image2segmentation]] cup')
    assert (card.kind, card.base, card.settings['max_steps']) == ('mask', str(base), 3)
    assert (out / 'run' / 'sheets' / '00000003.png').is_file()

    # What it says is what a user types next.
    image = data / 'images' / '000.png'
    words = lines[-1].partition('try it: diception ')[2].replace('IMAGE', str(image)).split()
    words[-1] = str(tmp_path / 'answers')
    assert main(words) == 0
    assert images.read(tmp_path / 'answers' / '000.png' / 'cup.png').shape == (20, 30, 3)
    story = json.loads((tmp_path / 'answers' / '000.png' / 'cup.json').read_text())
    assert story['adapters'] == [str(out)]


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--share', '0.01'], 'rank is 2 and share 0.01; one determines the other'),
        (
            ['--task', 'Cup'],
            "expected small letters, digits and _, the first a letter, got 'Cup'",
        ),
        (['--task', 'depth'], "a new task cannot be called 'depth'"),
        (['--prompt', ''], "prompt of 'cup': expected a text"),
        (['--prompt', 'a ' * 50], 'has 50 words; this model reads at most'),
        (['--max-steps', '-1'], 'max_steps is -1; expected at least 0'),
        (['--kind', 'depth'], 'expected 16-bit whole numbers'),
        (['--device', 'cuda:99'], "device 'cuda:99' is not there"),
        (['--resume'], 'nothing to go on from'),
        (['--model', 'nowhere'], 'nowhere'),
        (['--data', 'nothing'], 'nothing: no such file or folder'),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(more, message, base, data, tmp_path, capsys):
    assert run(base, data, tmp_path / 'a', '--max-steps', '1', *more) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('diception adapt: ')
    assert message in last
    assert not (tmp_path / 'a').exists()


def test_invalid_option_values_are_usage_errors(base, data, tmp_path, capsys):
    for more in (['--kind', 'masks'], ['--max-steps', 'many']):
        with pytest.raises(SystemExit) as end:
            run(base, data, tmp_path / 'a', *more)
        assert end.value.code == 2
        assert more[1] in capsys.readouterr().err


def test_few_images_and_a_full_folder(base, tmp_path, capsys):
    few = write_folder(tmp_path / 'few', cup, 3)
    assert run(base, few, tmp_path / 'a', '--max-steps', '1') == 0
    printed = capsys.readouterr()
    assert f'{few}: 3 labelled images are few' in printed.err
    assert 'from 3 images, none held out, so there will be no metrics' in printed.err
    assert 'no validation images, so its quality is unknown' in printed.out
    assert run(base, few, tmp_path / 'a', '--max-steps', '1') == 1
    assert 'exists and is not empty; choose another folder' in capsys.readouterr().err
    assert run(base, few, tmp_path / 'a', '--max-steps', '1', '--resume') == 1
    assert 'this adapter is finished' in capsys.readouterr().err


def test_a_process_that_was_killed_goes_on_as_if_it_never_was(base, data, tmp_path, capsys):
    more = ['--max-steps', '60', '--validate-every', '10', '--patience', '0', '--ema', '0.9']
    killed = tmp_path / 'killed'
    words = [sys.executable, '-m', 'diception_ros', *command(base, data, killed, *more)]
    with subprocess.Popen(
        [str(one) for one in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, 'OMP_NUM_THREADS': str(torch.get_num_threads())},  # for the same bits
    ) as process:  # fmt: skip
        # The second, so that an old checkpoint may just be on its way out.
        while process.poll() is None and not (killed / 'run/checkpoints/00000020').exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    assert not (killed / CARD_FILE).exists()
    assert run(base, data, killed, *more, '--resume') == 0
    assert run(base, data, tmp_path / 'whole', *more) == 0
    for name in (WEIGHTS_FILE, CARD_FILE, 'run/validation.csv'):
        assert (killed / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes(), name
