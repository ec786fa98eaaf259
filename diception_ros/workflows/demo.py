# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception demo` does, step by step."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from dataclasses import replace
import importlib.util
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any, NoReturn

from tqdm import tqdm

from diception_ros.bags.typestore import BagTypes
from diception_ros.cli import main as command
from diception_ros.evaluation.evaluators import ONE_POINT
from diception_ros.live_demo import recording, run, verify
from diception_ros.live_demo.recording import Drive
from diception_ros.model import folder
from diception_ros.reporting import tables
from diception_ros.simulation import bag_reader
from diception_ros.system import files

# What is printed; the first number of each is the one that matters.
_SHOWN = {
    'depth': {'abs_rel': -1, 'delta1': 1},
    'normal': {'mean_deg': -1},
    ONE_POINT: {'iou': 1},
    'entity': {'mean_iou': 1},
    'semantic': {'iou': 1},
    'pose': {'pck': 1},
}
# Seconds of the player's before it plays, about; for the progress bar.
_BEFORE = 3.0
# Truths in the bags of `diception simulate` that a replay can read.
_TRUTHS = {
    'depth': bag_reader.DEPTH,
    'normal': bag_reader.NORMALS,
    'pose': bag_reader.JOINTS,
}


def show(args: argparse.Namespace) -> int:
    """Drive, answer, replay, judge."""
    if importlib.util.find_spec('rclpy') is None:
        raise ImportError('the demo needs ROS 2, and there is no rclpy', name='rclpy')
    # Whatever is wrong with the wishes is said before anything is done.
    folder.check_folder(folder.resolve(args.model))
    if not args.seconds > 0:
        raise ValueError(f'--seconds is {args.seconds}; expected more than 0')
    args.out.mkdir(parents=True, exist_ok=True)
    with _alone(args.out), _ended_alike():
        return _show(args)


def _show(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    bag = args.bag or _simulated(args.out / 'drive.mcap', args.gl)
    played = recording.read(bag, args.camera)
    if 'segmentation' not in args.tasks:
        played = replace(played, click=None)  # nobody would ask about it
    names = [name for name in args.tasks if name != 'segmentation' or played.click is not None]
    _say(
        f'1/4 drive: {played.frames} pictures of {played.camera.topic} in {bag}'
        + (f', {played.seconds:.0f} s' if played.seconds else '')
    )
    counts = _live(played, args, names)
    headers = recording.headers(played, args.seconds)
    late = verify.without_memory(['segmentation'], BagTypes())
    found = verify.check(args.out / 'live.mcap', headers, late)
    _tell(counts, found, len(headers))
    if not found.frames:
        raise ChildProcessError(
            f'no picture was answered; what the node says is in {args.out / "node.log"}'
        )
    _replay(played, args, names)
    topics = verify.without_memory(names, BagTypes())
    equal, count = verify.compare(args.out / 'live.mcap', args.out / 'replay.mcap', topics)
    _say(f'    {equal} of {count} messages of the live node are those of the replay, to the byte')
    _say('4/4 verdict')
    if played.truth:
        _judge(played, args, names)
    else:
        _say('    the recording has no true answers, so there are no numbers')
    verify.write(args.out / 'sheet.png', played, args.out / 'live.mcap', names, found.frames)
    _say(
        f'look at {args.out}/sheet.png, {args.out}/report/index.html and, in Foxglove, '
        f'{args.out}/live.mcap ({time.monotonic() - begin:.0f} s)'
    )
    return 1 if found.strangers else 0


def _simulated(out: Path, backend: str | None) -> Path:
    """The drive through a room, rendered where it is not there yet."""
    if not out.exists():
        total = recording.ROOM.views
        try:
            with tqdm(total=total, unit='picture', desc='simulate', file=sys.stderr) as bar:
                for written in recording.simulate(out, backend):
                    bar.update(written - bar.n)
        except OSError as error:
            raise OSError(f'{error}; or give a recording: diception demo BAG') from error
    return out


def _live(played: Drive, args: argparse.Namespace, names: list[str]) -> run.Counts:
    _say('2/4 live: play, node and record, each in a process of its own')
    wishes = run.Wishes(args.model, args.device, tuple(names), args.seconds)
    seconds = min(args.seconds, played.seconds) + _BEFORE
    style = '{desc}: {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s'
    # On a terminal alone: elsewhere the lines of the node tell enough.
    with tqdm(total=seconds, desc='play', file=sys.stderr, bar_format=style, disable=None) as bar:
        counts = run.run(
            played, wishes, args.out / 'live.mcap',
            lambda text: tqdm.write(f'    {text}', file=sys.stderr),
            lambda more: void(bar.update(min(more, seconds - bar.n))),
        )  # fmt: skip
        bar.update(seconds - bar.n)
    return counts


def _tell(counts: run.Counts, found: verify.Checked, published: int) -> None:
    lost = published - counts.received
    parts = [
        f'{published} published',
        *([f'{lost} overtaken before the node took them'] if lost > 0 else []),
        f'{counts.received} received',
        f'{counts.processed} processed',
        f'{counts.dropped} dropped (a newer one came)',
        f'{counts.failed} failed',
        *([f'{counts.waiting} not answered yet'] if counts.waiting else []),
    ]
    _say(f'    {", ".join(parts)}')
    values = counts.values
    if 'model_ms_p50' in values:
        _say(
            f'    a picture takes the model {values["model_ms_p50"]} ms (median) and all the rest '
            f'{values.get("overhead_ms_p50", "?")} ms'
        )
    headers = 'each with the header of its picture'
    if found.strangers:
        headers = f'{len(found.strangers)} WITH A HEADER OF NO PICTURE, first {found.strangers[0]}'
    _say(
        f'    {found.messages} answers on {len(found.topics)} topics were recorded, {headers}; '
        f'{found.complete} of {found.frames} pictures have all of them'
    )


def _replay(played: Drive, args: argparse.Namespace, names: list[str]) -> None:
    _say('3/4 replay: every picture, without ROS, into a report')
    truths = [f'{name}={_TRUTHS[name]}' for name in names if name in _TRUTHS]
    options = [
        'replay', str(played.path), '--out', str(args.out / 'replay.mcap'), '--force',
        '--report', str(args.out / 'report'), '--model', args.model, '--device', args.device,
        '--camera', played.camera.topic, '--end', str(args.seconds), '--tasks', *names,
        '--semantic-categories', *played.categories, '--num-inference-steps', '1',
        '--guidance-scale', '1',
        *(['--points', f'{played.click.x},{played.click.y}'] if played.click else []),
        *(['--truth', *truths] if played.truth and truths else []),
    ]  # fmt: skip
    wishes = command.parser().parse_args(options)
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        # Its table is about all pictures; ours is about those that were answered live.
        code = wishes.run(wishes)
    if code:
        _say(f'    the replay left something out (code {code}); see above')


def _judge(played: Drive, args: argparse.Namespace, names: list[str]) -> None:
    view = next(bag_reader.views(played.path))
    index = json.loads((folder.resolve(args.model) / 'model_index.json').read_text())
    control = verify.constant(int(index['resolution']), view.size, args.out, args.gl)
    numbers = verify.judge(played, args.out / 'live.mcap', names, control)
    tables.write_json(args.out / 'metrics.json', {'kind': 'demo', 'numbers': numbers})
    columns = [verify.MODEL, verify.CONSTANT]
    print(tables.markdown(numbers, columns, {}, _SHOWN), flush=True)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other demos out of the folder: each would judge what the other recorded."""
    place = os.open(out, os.O_RDONLY)
    try:
        files.lock(
            place, f'{out}: another demo writes it; wait for its end, or give another --out'
        )
        yield
    finally:
        os.close(place)


@contextlib.contextmanager
def _ended_alike() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end this as Ctrl-C does: the processes end first."""

    def interrupt(number: int, stack: Any) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # `nohup` asks to ignore it
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def void(_: object) -> None:
    """Nothing."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
