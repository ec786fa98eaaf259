# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb doctor: everything is looked at, and the exit code tells."""

import json

import pytest

from diception_ros.cli import main as command
from diception_ros.doctor import checks
from diception_ros.doctor.checks import BROKEN, OK, WARN, Finding


@pytest.mark.parametrize(
    ('statuses', 'code', 'last'),
    [
        ([OK], 0, '0 broken, 0 to look at'),
        ([OK, WARN], 0, '0 broken, 1 to look at'),
        ([BROKEN, OK, WARN], 1, '1 broken, 1 to look at'),
    ],
)
def test_the_exit_code_is_1_when_something_is_broken(monkeypatch, capsys, statuses, code, last):
    found = [Finding('it', status, 'as it is', 'do this') for status in statuses]
    monkeypatch.setattr(checks, 'check_machine', lambda model, device: iter(found))
    assert command.main(['doctor']) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert [line.split()[0] for line in lines[:-1:2]] == statuses
    assert all(line.endswith('-> do this') for line in lines[1:-1:2])


def test_a_real_look_is_about_everything(capsys, tmp_path):
    assert command.main(['doctor', '--model', str(tmp_path), '--device', 'gpu']) == 1
    said = capsys.readouterr().out
    for about in ('python', 'packages', 'device', 'model', 'ros', 'disk', 'memory'):
        assert any(line.split()[1:2] == [about] for line in said.splitlines()), about
    broken = [line.split()[1] for line in said.splitlines() if line.startswith('BROKEN')]
    assert {'model', 'device'} <= set(broken)


def test_json_is_the_only_thing_on_stdout(monkeypatch, capsys):
    found = [Finding('disk', OK, 'as it is'), Finding('ros', BROKEN, 'gone', 'do this')]
    monkeypatch.setattr(checks, 'check_machine', lambda model, device: iter(found))
    assert command.main(['doctor', '--json']) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert {name: document[name] for name in ('kind', 'schema', 'broken', 'warnings')} == {
        'kind': 'doctor', 'schema': 1, 'broken': 1, 'warnings': 0
    }  # fmt: skip
    assert document['findings'] == [
        {'check': 'disk', 'status': 'OK', 'message': 'as it is', 'fix_hint': ''},
        {'check': 'ros', 'status': 'BROKEN', 'message': 'gone', 'fix_hint': 'do this'},
    ]
    assert '1 broken, 0 to look at' in printed.err
