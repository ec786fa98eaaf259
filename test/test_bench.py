# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The benches say at once how they are run: their help comes before torch does."""

from pathlib import Path
import subprocess
import sys

import pytest

BENCH = Path(__file__).resolve().parents[1] / 'bench'
# These load the training loop or the model first.
SLOW = {'adapt', 'adapt_full_size', 'adapt_recipe', 'fuzz', 'replay'}
SCRIPTS = [
    path for path in sorted(BENCH.glob('*.py'))
    if '__main__' in path.read_text() and path.stem not in SLOW
]  # fmt: skip
# Runs the script of argv[1] and says afterwards what it loaded.
RUN = """
import atexit, runpy, sys
atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition('/')[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.slow
@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.stem)
def test_help_comes_without_torch(path):
    done = subprocess.run(
        [sys.executable, '-c', RUN, str(path), '--help'], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage: ')
    assert done.stderr.splitlines()[-1] == 'False'
