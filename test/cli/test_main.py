# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help without torch, errors in one line."""

import subprocess
import sys

import numpy as np
import pytest

from diception_ros.cli import main as command
from diception_ros.cli.verbs import VERBS
from diception_ros.core import images
from diception_ros.system import files


@pytest.mark.parametrize(('line', 'message'), [
    ('predct x', 'did you mean predict?'),
    ('predict x --out y --taks depth', 'unknown option --taks; did you mean --tasks?'),
    ('predict x --out y --task depth', '--task; it is now --tasks'),
    ('predict x --out y --adapter=a', '--adapter; it is now --adapters'),
    ('replay x --out y --category dog', '--category; it is now --categories'),
    ('replay x --out y --steps 3', '--steps; it is now --num-inference-steps'),
    ('replay x --out y --ensemble=2', '--ensemble; it is now --ensemble-size'),
    ('replay x --out y --resolution', '--resolution; it is now --processing-resolution'),
    ('replay x --out y --dtype floot16', 'did you mean float16?'),
    ('doctor what', "unexpected argument 'what'"),
])  # fmt: skip
def test_an_error_about_a_wrong_word_suggests_the_nearest(capsys, line, message):
    with pytest.raises(SystemExit) as end:
        command.main(line.split())
    assert end.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said


@pytest.mark.parametrize('verb', VERBS)
def test_one_word_names_the_same_in_every_verb(verb):
    verbs = command.parser(verb)._subparsers._group_actions[0].choices
    options = set(verbs[verb]._option_string_actions)
    # Each of them has one name; adapt names one new task, and one category among several labelled.
    others = {'--adapter', '--task', '--category', '--semantic-categories', '--steps', '--point'}
    allowed = {'adapt': {'--task', '--category', '--steps'}, 'evaluate': {'--category'}}
    assert not options & others - allowed.get(verb, set())


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, '-m', 'diception_ros', '--version'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith('diception_ros 0.')


@pytest.mark.parametrize('closed', ['2>&-', '<&- >&- 2>&-'])
def test_closed_streams_are_opened_so_that_no_file_takes_their_place(closed):
    program = (
        'import sys\nfrom diception_ros.cli.main import main\n'
        'code = main(["predict", "/no/such.png", "--tasks", "depth", "--out", "/no"])\n'
        'print("a line", file=sys.stderr, flush=True)\n'
        'sys.exit(code == 1 and open(__import__("os").devnull).fileno() > 2 and 42)'
    )
    shell = ['sh', '-c', f'exec "$0" "$@" {closed}']
    assert subprocess.run([*shell, sys.executable, '-c', program], check=False).returncode == 42


@pytest.mark.parametrize(
    ('error', 'code', 'says'),
    [
        (ValueError('what came'), 1, 'diception convert: what came\n'),
        (FileNotFoundError(2, 'No such file', 'a.png'), 1, 'convert: a.png: no such file\n'),
        (OSError(28, 'No space left on device'), 1, 'convert: no space left on device\n'),
        (ModuleNotFoundError("No module named 'torch'"), 1, '-m pip install'),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (MemoryError('Unable to allocate 9 GiB'), 1, 'convert: out of memory. Unable to allocate'),
        (ZeroDivisionError('x'), 1, 'this is a bug'),
    ],
)
@pytest.mark.parametrize('part', ['run', 'add_options'])
def test_errors_become_a_line_and_an_exit_code(monkeypatch, capsys, error, code, says, part):
    def fail(args):
        raise error

    monkeypatch.setitem(VERBS, 'convert', VERBS['convert']._replace(**{part: fail}))
    assert command.main(['convert', '--sd3', 'a', '--checkpoint', 'b', '--out', 'c']) == code
    err = capsys.readouterr().err
    assert says in err
    assert ('Traceback' in err) == isinstance(error, ZeroDivisionError)


ROOM = '--size 64x48 --scenes 1 --seed 1'


@pytest.mark.parametrize('line', [
    'predict a.png --tasks depth', f'evaluate --tasks depth --mean-scenes 1 {ROOM}',
    f'simulate --views 1 {ROOM}', f'simulate --labels floor {ROOM}',
])  # fmt: skip
def test_a_folder_that_another_run_writes_is_refused(tmp_path, monkeypatch, capsys, line, request):
    if not line.startswith('predict'):
        request.getfixturevalue('opengl')
    monkeypatch.chdir(tmp_path)
    images.write('a.png', np.zeros((48, 64, 3), np.uint8))
    with files.exclusive_folder(tmp_path / 'out'):
        assert command.main([*line.split(), '--out', 'out']) == 1
        err = capsys.readouterr().err
        assert 'out: another run writes it; wait for it to end' in err
        assert 'mean images' not in err  # nothing slow was done before
        assert not [*(tmp_path / 'out').iterdir()]


def test_a_model_folder_that_another_run_writes_is_refused(tmp_path, capsys):
    with files.atomic_folder(tmp_path / 'out'):
        assert command.main(['tiny', '--out', str(tmp_path / 'out')]) == 1
        assert 'out: another process writes it; wait for it to end' in capsys.readouterr().err
