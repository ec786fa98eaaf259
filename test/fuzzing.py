# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Mutates files of every kind that the package reads, and checks what reading them does.

Laws: a reader returns, or raises ValueError or OSError (which commands print as one line) whose
message names the file; it takes less than SECONDS and GROWTH; it opens no file outside of the
folder that was named, starts nothing, connects to nothing and runs no code of the file; and a file
that was changed in a harmless way is read as before.

`python test/fuzzing.py --count 3000` is what CI runs, bench/fuzz.py runs more of it. A mutation
is made of seed, target and number alone, so `--target coco --first 17 --count 1` repeats one.
"""

import argparse
import contextlib
import functools
import io
import json
import os
from pathlib import Path
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import cv2
from fuzz_targets import TARGETS, array
from mutations import SECRET, mutated
import numpy as np
from PIL import Image

SECONDS = 20  # of processor time, of one mutation
DEADLINE = 900  # of a batch: no machine is so slow, it hangs
GROWTH = 1 << 30  # bytes, of one process that reads a batch of mutations
BATCH = 100  # mutations that one process reads


class _Watch:
    """Notes where a reader opens what was not named, or starts or connects to anything.

    Attributes:
        place: the folder that was named; '' while nothing is watched.
        found: what was seen.
    """

    FORBIDDEN = ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork',
                 'socket.connect')  # fmt: skip

    def __init__(self):
        self.place, self.found = '', []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if not self.place:
            return
        if event == 'open' and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            # Python's own files, such as modules; and temporary folders of this process.
            above, root = (str(folder) for folder in Path(self.place).parents[:2])
            outside = path.startswith(f'{root}/') and not path.startswith(f'{above}/')
            temporary = path.startswith(f'{tempfile.gettempdir()}/')
            if outside or (writes and not temporary and path != os.devnull):
                self.found.append(f'{"writes" if writes else "reads"} {path}')
        elif event in self.FORBIDDEN:
            self.found.append(f'{event} {str(arguments)[:200]}')


class _Hang(BaseException):
    pass


def _alarm(*_):
    raise _Hang


def _trace():
    return traceback.format_exc()[-1500:]


def read_one(target, place, watch):
    """What a reader returned, and what it broke: '' if nothing."""
    began, result = time.process_time(), None
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    watch.place, watch.found = str(place), []
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            result = target.read(place)
    except (ValueError, OSError) as error:
        result = error
        if str(place) not in str(error):
            return None, f'the error names no file: {_trace()}'
    except _Hang:
        return None, f'hangs for {time.process_time() - began:.1f} s: {_trace()}'
    except BaseException:
        return None, _trace()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch.place = ''
    if watch.found:
        return result, watch.found[0]
    return result, 'code of the file ran' if (place / 'ran').exists() else ''


def batch(target, seed, numbers):
    """Faults of some mutations, as (number, words); runs in a process of its own."""
    signal.signal(signal.SIGPROF, _alarm)
    watch, faults = _Watch(), []
    with tempfile.TemporaryDirectory(prefix='diception_fuzz_') as root:
        place = Path(root).resolve() / 'above' / 'named'
        place.mkdir(parents=True)
        Image.fromarray(array()).save(place.parents[1] / SECRET)
        try:
            target.make(place)
        except Exception:
            return [(-1, f'no good input: {_trace()}')]
        os.chdir(place)
        good = {path: path.read_bytes() for path in sorted(place.rglob('*')) if path.is_file()}
        chosen = [path for path in good if path.match(target.files)]
        result, words = read_one(target, place, watch)
        if words or isinstance(result, Exception):
            return [(-1, f'the good input: {words or result}')]
        if target.harmless is not None:
            target.harmless(place)
            again, words = read_one(target, place, watch)
            if words or repr(again) != repr(result):
                faults.append((-1, f'after a harmless change: {words or again!r:.500}'))
            restore(place, good)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in numbers:
            key = [seed, *target.name.encode(), number]
            rng = np.random.default_rng(key)
            path = chosen[int(rng.integers(len(chosen)))]
            path.write_bytes(mutated(path.name, good[path], rng))
            _, words = read_one(target, place, watch)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if not words and grown > GROWTH:
                words, before = f'takes {grown} bytes', before + grown // 1024
            if words:
                faults.append((number, words))
            restore(place, good)
    return faults


def restore(place, good):
    """Make the folder that of the good input."""
    for path in [*place.rglob('*')]:
        if path.is_file() and path not in good:
            path.unlink()
    for path, content in good.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def in_child(target, seed, numbers):
    """`batch` in a child process: a crash or a hang of a library is a fault, too."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(write, 'w') as out:
                json.dump(batch(target, seed, numbers), out)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    os.close(write)
    with os.fdopen(read) as got:
        # Python handles the alarm of a mutation only between two of its own instructions.
        ready, _, _ = select.select([got], [], [], DEADLINE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        text = got.read() if ready else ''
    _, status = os.waitpid(child, 0)
    if status == 0 and text:
        return [tuple(one) for one in json.loads(text)]
    if len(numbers) == 1:
        return [(numbers[0], f'the process ended with status {status}, or hung')]
    middle = len(numbers) // 2  # which of them?
    return in_child(target, seed, numbers[:middle]) + in_child(target, seed, numbers[middle:])


def counts(total):
    """Mutations of each target, by their shares."""
    whole = sum(target.share for target in TARGETS)
    return {target.name: max(1, round(total * target.share / whole)) for target in TARGETS}


def fuzz(seed=0, count=3000, names=(), first=0, report=lambda line: None):
    """Run mutations; returns their number and the faults as (target, number, words)."""
    done, faults = 0, []
    for target in TARGETS:
        if names and target.name not in names:
            continue
        many = count if names else counts(count)[target.name]
        began, found = time.monotonic(), []
        for at in range(first, first + many, BATCH):
            found += in_child(target, seed, list(range(at, min(at + BATCH, first + many))))
        done += many
        faults += [(target.name, number, words) for number, words in found]
        report(f'{target.name}: {many} in {time.monotonic() - began:.1f} s, {len(found)} faults')
    return done, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--count', type=int, default=3000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--target', action='append', default=[])
    args = parser.parse_args()
    cv2.setNumThreads(0)
    report = functools.partial(print, flush=True)
    done, faults = fuzz(args.seed, args.count, args.target, args.first, report)
    for name, number, words in faults:
        print(f'\n{name}, seed {args.seed}, number {number}:\n{words}')
    print(f'{done} mutations, {len(faults)} faults')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
