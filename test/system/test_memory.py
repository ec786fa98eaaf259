# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What glibc's heaps keep is returned."""

import subprocess
import sys

import pytest

from diception_ros.system import resources

# Blocks at the end of a thread's own heap, which malloc_trim leaves as it is.
PROGRAM = """
import ctypes, os, threading
from diception_ros.system import resources

library = resources._library()
freed, released = threading.Event(), threading.Event()

def pages():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGESIZE') / 1e6

def work():
    before = pages()
    blocks = [library.malloc(1 << 20) for _ in range(24)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    for block in reversed(blocks):
        library.free(block)
    kept = pages()
    if {own}:
        resources.release_memory()
    freed.set()
    released.wait()
    print(kept - before, pages() - before)

resources.limit_heaps(2)
with resources.model_loading():
    pass
thread = threading.Thread(target=work)
thread.start()
freed.wait()
if not {own}:
    resources.release_memory()
released.set()
thread.join()
"""


@pytest.mark.skipif(resources._library() is None, reason='the C library is not glibc')
@pytest.mark.parametrize('own', [True, False])
def test_the_end_of_the_heap_of_a_thread_is_returned(own):
    program = PROGRAM.format(own=own)
    lines = subprocess.run(
        [sys.executable, '-c', program], check=True, capture_output=True, text=True, timeout=600
    ).stdout
    kept, left = map(float, lines.split())
    assert kept > 20  # of 25
    assert left < 2
