# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said about torch and devices."""

import pytest

from diception_ros.doctor import checks
from diception_ros.doctor.checks import BROKEN, OK, WARN

CARD = ['A card', 8 << 30]
PLAIN = {'torch': '2.13.0+cpu', 'cuda': None, 'threads': 2, 'devices': []}
BLIND = {**PLAIN, 'torch': '2.13.0', 'cuda': '13.0'}
SEEING = {**BLIND, 'devices': [CARD]}


@pytest.mark.parametrize(
    ('wanted', 'said', 'driver', 'verdict', 'says'),
    [
        ('cpu', PLAIN, False, OK, '2 threads'),
        ('cpu', PLAIN, True, WARN, 'pytorch.org'),  # a card, and a torch that cannot use it
        ('cpu', BLIND, True, WARN, 'nvidia-smi'),
        ('cpu', SEEING, True, WARN, 'set device to cuda'),
        ('cuda', PLAIN, True, BROKEN, 'built without CUDA'),
        ('cuda', BLIND, False, BROKEN, 'no NVIDIA driver'),
        ('cuda', BLIND, True, BROKEN, 'sees no CUDA device'),
        ('cuda', SEEING, True, OK, 'A card (8 GiB)'),
        ('cuda:0', SEEING, True, OK, 'A card'),
        ('cuda:1', SEEING, True, BROKEN, 'not cuda:1'),
        ('gpu', SEEING, True, BROKEN, 'expected cpu, cuda or cuda:N'),
        ('cuda:x', SEEING, True, BROKEN, 'expected cpu'),
    ],
)
def test_a_device_is_there_or_why_not(wanted, said, driver, verdict, says):
    finding = checks.device_finding(wanted, said, driver)
    assert finding.verdict == verdict
    assert says in str(finding)
    assert (finding.cure == '') == (verdict == OK)


def test_a_torch_that_cannot_be_imported_is_broken(tmp_path, monkeypatch):
    (tmp_path / 'torch.py').write_text('raise ImportError("libcudart.so.12: cannot open")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = checks.device('cpu')
    assert finding.verdict == BROKEN
    assert 'libcudart.so.12' in finding.found
    assert 'pip install' in finding.cure
