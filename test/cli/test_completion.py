# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The completion scripts, run in the shells that are installed."""

import shutil
import subprocess
import sys

import pytest

from diception_ros.cli.main import main, parser
from diception_ros.cli.tools import SHELLS
from diception_ros.cli.verbs import VERBS


def script(shell, capsys):
    assert main(['completion', shell]) == 0
    return capsys.readouterr().out


def completed(text, *words):
    """What bash offers for the last word."""
    line = ' '.join(words)
    commands = (
        f'COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n'
        '_shtab_diception; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(
        ['bash', '--norc', '-c', f'{text}\n{commands}'], capture_output=True, text=True, check=True
    )
    return result.stdout.split()


@pytest.mark.skipif(shutil.which('bash') is None, reason='bash is not installed')
def test_bash_completes_verbs_options_choices_and_files(capsys, tmp_path, monkeypatch):
    text = script('bash', capsys)
    assert set(VERBS) <= set(completed(text, 'diception', '""'))
    assert completed(text, 'diception', 'pred') == ['predict']
    assert '--tasks' in completed(text, 'diception', 'predict', '--ta')
    assert completed(text, 'diception', 'predict', '--tasks', 'se') == ['segmentation', 'semantic']
    assert completed(text, 'diception', 'predict', '--dtype', 'b') == ['bfloat16']
    assert completed(text, 'diception', 'lifecycle', 'set', 'de') == ['deactivate']
    (tmp_path / 'drive.mcap').touch()
    (tmp_path / 'drives').mkdir()
    monkeypatch.chdir(tmp_path)
    assert {'drive.mcap', 'drives'} <= set(completed(text, 'diception', 'play', 'dri'))


@pytest.mark.parametrize('shell', SHELLS)
def test_every_shell_reads_its_script(shell, capsys, tmp_path):
    text = script(shell, capsys)
    for verb in VERBS:
        assert verb in text
    if shutil.which(shell) is None:
        pytest.skip(f'{shell} is not installed')
    (tmp_path / 'script').write_text(text)
    subprocess.run([shell, '-n', tmp_path / 'script'], check=True)


def test_every_option_of_every_verb_is_in_the_script(capsys):
    text = script('bash', capsys)
    choices = parser()._subparsers._group_actions[0].choices
    for name, each in choices.items():
        for option in each._option_string_actions:
            assert option in text, (name, option)


def test_completion_loads_no_torch():
    program = (
        'import sys\nfrom diception_ros.cli.main import main\n'
        "assert main(['completion', 'bash']) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, '-c', program], check=True, stdout=subprocess.DEVNULL)
