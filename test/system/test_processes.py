# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""No process outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from diception_ros.system import processes
from diception_ros.system.processes import Subprocess, process_group

SLEEPER = 'import time\nprint("sleeping", flush=True)\ntime.sleep(600)'
DEAF = 'import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n' + SLEEPER


def child(folder, program, name='one'):
    return Subprocess(name, [sys.executable, '-u', '-c', program], folder / f'{name}.log')


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def sleeping(one):
    until(lambda: 'sleeping' in one.log.read_text())
    return one


def lives(pid):
    """Whether a process runs; one that ended and whom nobody asked how does not."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_lines_come_whole_and_once(tmp_path):
    program = (
        'import sys, time\nsys.stdout.write("one\\ntw")\nsys.stdout.flush()\ntime.sleep(0.5)\n'
        'sys.stderr.write("o\\nthree\\n")'
    )
    one, seen = child(tmp_path, program), []
    while one.code is None:
        seen += one.lines()
    seen += one.lines()
    assert seen == ['one', 'two', 'three']
    assert not one.lines()


def test_early_exit_is_reported_with_the_last_output_line(tmp_path):
    one = child(tmp_path, 'import sys\nprint("loading")\nsys.exit("the reason")')
    until(lambda: one.code is not None)
    with pytest.raises(ChildProcessError, match=r'one ended with code 1: the reason \(all of it'):
        one.check()


@pytest.mark.parametrize(('program', 'code'), [(SLEEPER, -signal.SIGINT), (DEAF, -signal.SIGKILL)])
def test_a_process_ends_at_a_word_or_by_force(tmp_path, monkeypatch, program, code):
    monkeypatch.setattr(processes, 'GRACE', 300 if program == SLEEPER else 0.3)
    one = sleeping(child(tmp_path, program))
    one.check()
    one.end()
    assert one.code in (code, 1)  # Python turns SIGINT into an error of its own
    one.end()  # again does nothing


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_all_end_with_the_block_however_it_ends(tmp_path, monkeypatch, error):
    monkeypatch.setattr(processes, 'Subprocess', lambda name, *_: child(tmp_path, SLEEPER, name))
    started = []

    def block():
        with process_group(tmp_path, os.environ) as start:
            for name in 'ab':
                started.append(sleeping(start(name, [])))
            raise error

    with pytest.raises(error):
        block()
    assert [one.code is not None for one in started] == [True, True]


def test_a_verb_is_started(tmp_path):
    with process_group(tmp_path, os.environ) as start:
        one = start('version', ['--version'])
        assert one.wait(600) == 0
    assert one.lines()[0].startswith('diception_ros')


def test_a_parent_that_is_killed_takes_them_along(tmp_path):
    child = f'from diception_ros.system import processes\nprocesses.exit_with_parent()\n{SLEEPER}'
    program = (
        'import sys, threading, time\nfrom pathlib import Path\n'
        'from diception_ros.system.processes import Subprocess\n'
        f'command = [sys.executable, "-c", {child!r}]\n'
        'def start():\n'
        f'    one = Subprocess("one", command, Path({str(tmp_path / "one.log")!r}))\n'
        '    print(one.pid, flush=True)\n'
        # The end of the thread that started it does not end it.
        'thread = threading.Thread(target=start)\nthread.start()\nthread.join()\n'
        'time.sleep(600)'
    )
    parent = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    until(lambda: 'sleeping' in (tmp_path / 'one.log').read_text())
    assert lives(pid)
    parent.kill()
    parent.communicate()
    until(lambda: not lives(pid))
