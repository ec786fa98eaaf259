# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The interpreter, its packages, and trials in other processes."""

import sys

import pytest

from diception_ros.doctor import checks, missing_packages
from diception_ros.doctor.checks import BROKEN, OK, WARN
from diception_ros.system import processes


@pytest.mark.parametrize(
    ('version', 'verdict'),
    [((3, 8, 10), BROKEN), ((3, 9, 18), BROKEN), ((3, 10, 12), OK), ((3, 13, 0), OK),
     ((3, 14, 0), WARN)],
)  # fmt: skip
def test_python_must_not_be_too_old(version, verdict):
    finding = checks.interpreter(version, {})
    assert finding.verdict == verdict
    assert '.'.join(map(str, version)) in finding.found
    assert (finding.cure == '') == (verdict == OK)


def test_a_ros_of_another_python_breaks_it():
    path = {'PYTHONPATH': '/w/install/x/lib/python3.12/site-packages', 'ROS_DISTRO': 'jazzy'}
    assert checks.interpreter((3, 11, 2), path).verdict == BROKEN


@pytest.mark.parametrize(('told', 'verdict'), [('true', OK), ('false', WARN)])
def test_an_environment_must_see_the_packages_of_ros(tmp_path, monkeypatch, told, verdict):
    (tmp_path / 'pyvenv.cfg').write_text(
        f'home = /usr/bin\ninclude-system-site-packages = {told}\n'
    )
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    path = {'PYTHONPATH': '/opt/ros/jazzy/lib/python3.12/site-packages'}
    assert checks.interpreter((3, 12, 3), path).verdict == verdict
    assert checks.interpreter((3, 12, 3), {}).verdict == OK  # nobody needs them then


@pytest.mark.parametrize(
    ('wanted', 'verdict', 'says'),
    [
        (['numpy>=1'], OK, 'all 1'),
        (['numpy>=1', 'no-such-thing<3,>=2'], BROKEN, 'not installed: no-such-thing'),
        (['numpy<1'], WARN, 'numpy<1'),
        ([], WARN, 'not installed for this Python'),
    ],
)
def test_packages_are_missing_or_of_another_version(monkeypatch, wanted, verdict, says):
    monkeypatch.setattr(missing_packages, 'requirements', lambda extra='': [] if extra else wanted)
    (finding,) = checks.packages({})
    assert finding.verdict == verdict
    assert says in finding.found


def test_an_opencv_that_cannot_be_loaded_is_broken(monkeypatch):
    assert list(checks.opencv()) == []
    text = 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory'
    result = processes.IsolatedResult(None, text)
    monkeypatch.setattr(processes, 'run_isolated', lambda program: result)
    (finding,) = checks.opencv()
    assert finding.verdict == BROKEN
    assert 'apt-get install libgl1' in finding.cure


def test_an_extra_that_is_missing_is_no_fault(monkeypatch):
    wanted = {'': ['numpy>=1'], 'sim': ['no-such-thing']}
    monkeypatch.setattr(missing_packages, 'requirements', lambda extra='': wanted.get(extra, []))
    whole, extra = checks.packages({})
    assert (whole.verdict, extra.verdict) == (OK, WARN)
    assert 'simulate' in extra.found


def test_what_is_installed_here_fits():
    assert {finding.verdict for finding in checks.packages({})} <= {OK, WARN}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('program', 'says'),
    [
        ('import no_such_module', "No module named 'no_such_module'"),
        ('import os; os.kill(os.getpid(), 11)', 'signal 11'),
        ('import time; time.sleep(60)', 'no result within'),
        ('pass', 'no error message'),
    ],
)
def test_a_trial_that_fails_tells_how(program, says):
    answer = processes.run_isolated(program, 2)
    assert answer.value is None
    assert says in answer.error


def test_a_trial_sees_the_modules_that_we_see(tmp_path, monkeypatch):
    (tmp_path / 'only_here.py').write_text('VALUE = {"a": [1, None]}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    result = processes.run_isolated('import only_here\nreport(only_here.VALUE)')
    assert result == ({'a': [1, None]}, '')


def test_a_trial_that_cannot_begin_is_told(monkeypatch):
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    answer = processes.run_isolated('report(1)')
    assert answer.value is None
    assert '/no/such/python' in answer.error


def test_what_libraries_print_is_no_answer():
    program = 'import atexit\natexit.register(print, "bye")\nprint("hello")\nreport([1])\nprint(2)'
    assert processes.run_isolated(program) == ([1], '')
    assert processes.run_isolated('print(2)').value is None
