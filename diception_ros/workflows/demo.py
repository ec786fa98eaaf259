# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a camera, the node and a recorder over real ROS 2, and checks the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from dataclasses import dataclass, field, replace
import importlib.util
from pathlib import Path
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from diception_ros import tasks
from diception_ros.core.settings import ComputeSettings, Settings, again, setting
from diception_ros.system import files, safe_load
from diception_ros.system.processes import Subprocess
from diception_ros.system.progress import SILENT, Progress
from diception_ros.workflows.simulate import SimulateConfig

if TYPE_CHECKING:
    from diception_ros.live_demo.run import Counts, Drive
    from diception_ros.live_demo.verify import HeaderCheck

# Metrics of the table; the first one of each task matters most.
_SHOWN = {
    'depth': {'abs_rel': -1, 'delta1': 1},
    'normal': {'mean_deg': -1},
    'segmentation_1': {'iou': 1},
    'entity': {'mean_iou': 1},
    'semantic': {'iou': 1},
    'pose': {'pck': 1},
}
# About how many seconds the player takes before it plays, for the progress bar.
_BEFORE = 3.0


@dataclass(frozen=True)
class DemoConfig(Settings):
    """What is played to the node."""

    out: Path = setting(
        Path('demo_output'), 'folder for the results; what is in it is replaced', kind=Path,
        metavar='DIR',
    )  # fmt: skip
    bag: Path | None = setting(
        None, 'a recording with images of a camera (default: a simulated drive)', kind=Path,
        metavar='BAG', flag='bag',
    )  # fmt: skip
    camera: str | None = setting(
        None, 'topic of the images, where BAG has several', kind=str, metavar='TOPIC'
    )
    seconds: float = setting(10.0, 'duration of BAG to use, seconds', low=1e-3)
    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')
    tasks: tuple[str, ...] = setting(
        tuple(tasks.names()), 'tasks to run', choices=tuple(tasks.names()), metavar='TASK'
    )
    gl: str | None = again(SimulateConfig, 'gl')
    compute: ComputeSettings = field(default_factory=ComputeSettings)


@dataclass(frozen=True)
class DemoResult:
    """What the node did.

    Attributes:
        received: images that the node received.
        processed: images with results.
        dropped: images replaced by a newer one before their turn.
        unmatched: results whose header is that of no image; none, or there is a bug.
        equal: results of the node that equal those of a replay to the byte.
        compared: results that were compared with a replay.
        numbers: scores by kind of prompt, metric and column, where there is ground truth.
        table: the most important of them as Markdown; ''.
    """

    received: int
    processed: int
    dropped: int
    unmatched: Sequence[str]
    equal: int
    compared: int
    numbers: Mapping[str, Any]
    table: str


def demo(config: DemoConfig, progress: Progress = SILENT) -> DemoResult:
    """Play images to the node, record its results, and compare them with a replay.

    `out` gets the bags, the logs, a contact sheet, and the report of the replay.

    Raises:
        BlockingIOError: another demo writes into `out`.
        ChildProcessError: the player, the node or the recorder failed.
        ImportError: ROS or MuJoCo is missing.
        TimeoutError: the node took too long to become active.

    Examples:
        >>> from diception_ros import DemoConfig, demo
        >>> result = demo(DemoConfig(out='demo', bag='drive.mcap', tasks=['depth'], model='model'))
        >>> result.equal == result.compared > 0
        True
    """
    if importlib.util.find_spec('rclpy') is None:
        raise ImportError('the demo needs ROS 2, and there is no rclpy', name='rclpy')
    # Options are validated before anything is imported or done.
    if config.bag is not None and not config.bag.exists():
        raise FileNotFoundError(f'{config.bag}: no such bag')
    if config.bag is not None:
        # Those that begin anew.
        written = [config.out / name for name in ('live.mcap', 'live.partial.mcap', 'replay.mcap')]
        files.check_outputs(written, [config.bag])
    from diception_ros.model import folder

    folder.check_folder(folder.resolve(config.model))
    progress.log('importing libraries')
    busy = f'{config.out}: another demo writes it; wait for it to end, or give another --out'
    with files.exclusive_folder(config.out, busy), _signals_interrupt():
        return _demo(config, progress)


def _demo(config: DemoConfig, progress: Progress) -> DemoResult:
    from diception_ros.bags.typestore import BagTypes
    from diception_ros.live_demo import run, verify

    begin, out = time.monotonic(), config.out
    bag = config.bag
    if bag is None:
        # On a core of its own, and over before the node runs.
        with _mean_images(config) as rendered:
            bag = _simulated(out / 'drive.mcap', config.gl, progress)
            rendered(progress)
    played = run.read_drive(bag, config.camera)
    if 'segmentation' not in config.tasks:
        played = replace(played, click=None)  # no task takes it
    names = [name for name in config.tasks if name != 'segmentation' or played.click is not None]
    progress.log(
        f'1/4 drive: {played.frames} images of {played.camera.topic} in {bag}'
        + (f', {played.seconds:.0f} s' if played.seconds else '')
    )
    headers = run.headers(played, config.seconds)
    counts = _live(played, config, names, len(headers), progress)
    progress.log('    checking the headers of the results')
    late = verify.without_memory(['segmentation'], BagTypes())
    checked = verify.check(out / 'live.mcap', headers, late)
    _log_counts(counts, checked, len(headers), progress)
    if not checked.frames:
        raise ChildProcessError(
            f'no image was processed; the log of the node is {out / "node.log"}'
        )
    _replay(played, config, names, progress)
    progress.log('    comparing the results of the node with those of the replay')
    topics = verify.without_memory(names, BagTypes())
    equal, count = verify.compare(out / 'live.mcap', out / 'replay.mcap', topics)
    progress.log(
        f'    {equal} of {count} messages of the live node are those of the replay, to the byte'
    )
    progress.log('4/4 scores')
    numbers: Mapping[str, Any] = {}
    table = ''
    if played.truth:
        numbers, table = _score(played, config, names, checked.frames, progress)
    else:
        progress.log('    the recording has no ground truth, so there are no numbers')
    progress.log('    drawing the contact sheet')
    verify.write(out / 'sheet.png', played, out / 'live.mcap', names, checked.frames)
    progress.log(
        f'look at {out}/sheet.png, {out}/report/index.html and, in Foxglove, {out}/live.mcap '
        f'({time.monotonic() - begin:.0f} s)'
    )
    return DemoResult(
        counts.received, counts.processed, counts.dropped, checked.unmatched, equal, count,
        numbers, table,
    )  # fmt: skip


def _simulated(out: Path, backend: str | None, progress: Progress) -> Path:
    """The drive through a room, rendered if it isn't there yet."""
    from diception_ros.live_demo import run

    if not run.is_current(out):
        try:
            with progress.bar(run.ROOM.views, 'simulate', 'image') as bar:
                for written in run.simulate_drive(out, backend):
                    bar.update(written - bar.n)
        except OSError as error:
            raise OSError(f'{error}; or give a recording: diception demo BAG') from error
    return out


_RENDER = """
import sys
from pathlib import Path
from diception_ros.system.processes import exit_with_parent
exit_with_parent()
from diception_ros.live_demo.verify import mean_baseline
side, height, width, cache, backend = sys.argv[1:]
mean_baseline(int(side), (int(height), int(width)), Path(cache), backend or None)
"""


@contextlib.contextmanager
def _mean_images(config: DemoConfig) -> Iterator[Callable[[Progress], None]]:
    """Render what the scores are compared with in another process, unless it is there.

    Yields:
        A function that waits for it. Where it fails, `_score` renders it, and says why it cannot.
    """
    from diception_ros.live_demo import run, verify

    out, side, size = config.out, _side(config), run.ROOM.size
    if verify.mean_file(side, size, out).exists():
        yield lambda progress: None
        return
    command = [sys.executable, '-c', _RENDER, *map(str, (side, *size, out, config.gl or ''))]
    child = Subprocess('mean image', command, out / 'mean_image.log')

    def wait(progress: Progress) -> None:
        if child.code is None:
            progress.log('rendering the mean image, which the scores are compared with')
            child.wait()

    try:
        yield wait
    finally:
        child.end()
        child.log.unlink(missing_ok=True)


def _side(config: DemoConfig) -> int:
    """Side of the model's output images, pixels."""
    from diception_ros.model import folder

    index = safe_load.json_object(folder.resolve(config.model) / 'model_index.json')
    return int(index['resolution'])


def _live(
    played: Drive, config: DemoConfig, names: list[str], images: int, progress: Progress
) -> Counts:
    from diception_ros.live_demo import run

    progress.log('2/4 live: play, node and record, each in a process of its own')
    options = run.LiveOptions(
        config.model, config.compute.device, tuple(names), config.seconds, images
    )
    seconds = round(min(config.seconds, played.seconds) + _BEFORE)
    with progress.bar(seconds, 'play', 's') as bar:

        def advance(more: float) -> None:
            bar.update(min(more, seconds - bar.n))

        counts = run.run(
            played,
            options,
            config.out / 'live.mcap',
            lambda text: progress.log(f'    {text}'),
            advance,
        )
        bar.update(seconds - bar.n)
    return counts


def _log_counts(counts: Counts, found: HeaderCheck, published: int, progress: Progress) -> None:
    lost = published - counts.received
    parts = [
        f'{published} published',
        *([f'{lost} replaced before the node took them'] if lost > 0 else []),
        f'{counts.received} received',
        f'{counts.processed} processed',
        f'{counts.dropped} dropped (replaced by a newer one)',
        f'{counts.failed} failed',
        *([f'{counts.waiting} still waiting'] if counts.waiting else []),
    ]
    progress.log(f'    {", ".join(parts)}')
    values = counts.values
    if 'model_ms_p50' in values:
        progress.log(
            f'    the model takes {values["model_ms_p50"]} ms per image (median), everything '
            f'else {values.get("overhead_ms_p50", "?")} ms'
        )
    headers = 'each with the header of its image'
    if found.unmatched:
        headers = f'{len(found.unmatched)} WITH A HEADER OF NO IMAGE, first {found.unmatched[0]}'
    progress.log(
        f'    {found.messages} results on {len(found.topics)} topics were recorded, {headers}; '
        f'{found.complete} of {found.frames} images have all of them'
    )


def _replay(played: Drive, config: DemoConfig, names: list[str], progress: Progress) -> None:
    from diception_ros.core.settings import PredictSettings
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.simulation import views
    from diception_ros.workflows.replay import ReplayConfig, replay

    progress.log('3/4 replay: every image, without ROS, into a report')
    # What the bags of `diception simulate` have and a replay can score.
    truths = {
        'depth': views.DEPTH,
        'normal': views.NORMALS,
        'pose': views.JOINTS,
    }
    truth = [f'{name}={truths[name]}' for name in names if name in truths]
    click = played.click
    result = replay(
        ReplayConfig(
            bags=(str(played.path),),
            out=config.out / 'replay.mcap',
            force=True,
            report=config.out / 'report',
            model=config.model,
            cameras=(played.camera.topic,),
            end=config.seconds,
            points=f'{click.x},{click.y}' if click else '',
            truth=tuple(truth) if played.truth else (),
            compute=config.compute,
            perception=PerceptionSettings(
                tasks=tuple(names),
                categories=played.categories,
                predict=PredictSettings(num_inference_steps=1, guidance_scale=1.0),
            ),
        ),
        progress,
    )
    if result.code:
        progress.log(f'    the replay left something out (code {result.code}); see above')


def _score(
    played: Drive, config: DemoConfig, names: list[str], count: int, progress: Progress
) -> tuple[Mapping[str, Any], str]:
    from diception_ros.live_demo import verify
    from diception_ros.reporting import tables
    from diception_ros.simulation import views

    out = config.out
    view = next(views.recorded_views(played.path))
    baseline = verify.mean_baseline(_side(config), view.size, out, config.gl, progress)
    numbers = verify.score(played, out / 'live.mcap', names, baseline, count, progress)
    tables.write_json(out / 'metrics.json', {'kind': 'demo', 'numbers': numbers})
    columns = [verify.MODEL, verify.CONSTANT]
    return numbers, tables.markdown(numbers, columns, _SHOWN)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end this as Ctrl-C does: the processes end first."""

    def interrupt(number: int, stack: Any) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # `nohup` wants it ignored
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
