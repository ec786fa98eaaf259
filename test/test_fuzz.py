# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""3000 mutated files, with a fixed seed: see fuzzing.py for the laws, bench/fuzz.py for more."""

from pathlib import Path
import subprocess
import sys

from fuzz_targets import Target
import fuzzing
import mutations
import numpy as np
import pytest


@pytest.mark.slow
def test_mutated_files_of_every_kind_break_no_law():
    # A process of its own, since it forks, which a process with threads must not.
    script = Path(fuzzing.__file__)
    done = subprocess.run(
        [sys.executable, str(script), '--count', '3000'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert 'mutations, 0 faults' in done.stdout


@pytest.mark.parametrize(('read', 'says'), [
    (lambda place: 1 / 0, 'ZeroDivisionError'),
    (lambda place: (place.parents[1] / mutations.SECRET).read_bytes(), 'reads '),
    (lambda place: (place.parents[1] / 'new').write_text(''), 'writes '),
    (lambda place: subprocess.run(['true'], check=True), 'subprocess.Popen'),
    (lambda place: (place / 'ran').touch(), 'code of the file ran'),
    (lambda place: bytearray(b'1' * (fuzzing.GROWTH + (1 << 24))), 'bytes'),
])  # fmt: skip
def test_the_harness_sees_a_broken_law(tmp_path, read, says):
    def make(place):
        (place / 'a').write_bytes(b'content')

    target = Target('broken', make, lambda place: None if good(place) else read(place))

    def good(place):
        return (place / 'a').read_bytes() == b'content'

    faults = fuzzing.in_child(target, 0, [1, 2])
    assert faults
    assert says in faults[0][1]


def test_a_mutation_is_made_of_seed_target_and_number_alone():
    for name in ('a.json', 'a.yaml', 'a.bin'):
        content = b'{"a": [1, 2.5, "b"], "c": null}'
        made = [
            [mutations.mutated(name, content, np.random.default_rng([0, k])) for k in range(20)]
            for _ in range(2)
        ]
        assert made[0] == made[1]
        assert len(set(made[0])) > 10
