# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Threads of the model: half of what there is, or what somebody said."""

import os
import subprocess
import sys

import pytest

from diception_ros.system import resources


@pytest.mark.parametrize(('device', 'share', 'expected'), [
    ('cpu', 1, 1), ('cpu', 2, 1), ('cpu', 4, 2), ('cpu', 16, 8), ('cuda', 2, 1), ('cuda:1', 16, 4),
])  # fmt: skip
def test_half_of_the_processors(monkeypatch, device, share, expected):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert resources.automatic_threads(device, share) == expected


@pytest.mark.parametrize(('share', 'expected'), [(1, 1), (2, 2), (3, 2), (4, 2), (16, 8)])
def test_two_threads_at_least_for_onnx_where_there_are_two_processors(
    monkeypatch, share, expected
):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert resources.automatic_threads('cpu', share, least=2) == expected


@pytest.mark.parametrize(('said', 'expected'), [
    ('3', 3), ('5,2', 5), ('', 8), ('0', 8), ('many', 8),
])  # fmt: skip
def test_omp_num_threads_sets_the_threads(monkeypatch, said, expected):
    monkeypatch.setenv('OMP_NUM_THREADS', said)
    assert resources.automatic_threads('cpu', 16) == expected


@pytest.mark.parametrize(('quota', 'expected'), [
    ('max 100000', 64), ('150000 100000', 2), ('10000 100000', 1), ('9900000 100000', 64),
    ('', 64), (None, 64),
])  # fmt: skip
def test_processors_respect_the_container_limit(monkeypatch, tmp_path, quota, expected):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(64), raising=False)
    monkeypatch.setattr(resources, 'QUOTA', tmp_path / 'cpu.max')
    if quota is not None:
        resources.QUOTA.write_text(quota + '\n')
    assert resources.processors() == expected


def test_it_holds_in_threads_that_begin_later():
    program = (
        'import threading\n'
        'from diception_ros.system import resources\n'
        'assert resources.limit_threads(3, "cpu") == 3\n'
        'import torch\n'
        'found = []\n'
        'def work():\n'
        '    torch.ones(300, 300) @ torch.ones(300, 300)\n'
        '    found.append(torch.get_num_threads())\n'
        'thread = threading.Thread(target=work)\n'
        'thread.start()\n'
        'thread.join()\n'
        'assert found == [3], found\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)
