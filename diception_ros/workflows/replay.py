# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts for the images of recorded bags: `diception replay`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import dataclass, field, replace
import importlib
import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

from diception_ros.core.prompt import Prompt, read_points
from diception_ros.core.settings import (
    REQUIRED,
    ComputeSettings,
    Settings,
    setting,
    to_arguments,
)
from diception_ros.perception.settings import LIVE, PerceptionSettings
from diception_ros.system import engines, files, resources, safe_load
from diception_ros.system.engines import EngineJob, EngineResult
from diception_ros.system.progress import SILENT, Progress
from diception_ros.system.ros_environment import NAME
from diception_ros.workflows.predict import folders_of, points_text

if TYPE_CHECKING:
    from diception_ros.bag_replay.run import Job, Result
    from diception_ros.bags.frames import Camera
    from diception_ros.datasets.ground_truth import GroundTruthSource

# Settings that a job has under the same names.
_OF_JOB = (
    'cameras', 'camera_infos', 'depth_references', 'every', 'max_frames', 'views', 'copy', 'force',
    'resume',
)  # fmt: skip
# Options that the process of a bag does not get.
_LOCAL = ('bags', 'out', 'jobs', 'engine', 'summary', 'report', 'threads', 'view', 'view_file')


@dataclass(frozen=True)
class ReplayConfig(Settings):
    """Which bags are replayed, and how; `perception` holds what the node has as parameters.

    Raises:
        ValueError: a value that its declaration does not allow, or values that exclude each other.
    """

    bags: tuple[str, ...] = setting(
        REQUIRED, 'bags, folders of bags, or patterns such as *.mcap', kind=tuple, metavar='BAG',
        flag='bags',
    )  # fmt: skip
    out: Path = setting(
        REQUIRED, 'bag that is written, ending in .mcap; of several bags the folder for them',
        kind=Path, metavar='PATH',
    )  # fmt: skip
    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')

    # What is read.
    cameras: tuple[str, ...] = setting(
        (), 'topics of images (default: the only one)', flag='--camera', metavar='[NAME=]TOPIC'
    )
    camera_infos: tuple[str, ...] = setting(
        (), 'CameraInfo topic of each camera (default: camera_info beside the images)',
        flag='--camera-info',
        metavar='TOPIC',
    )  # fmt: skip
    depth_references: tuple[str, ...] = setting(
        (), 'topic of depth references of each camera, with --depth-metric aligned',
        flag='--depth-reference',
        metavar='TOPIC',
    )  # fmt: skip
    points: str = setting(
        '', 'pixels on the object, for tasks that take points', metavar='X,Y;X,Y'
    )
    start: float = setting(0.0, 'skip this many seconds at the beginning of the bag', low=0)
    end: float | None = setting(
        None, 'stop this many seconds after the beginning of the bag', kind=float
    )
    every: int = setting(1, 'process every n-th image', low=1, metavar='N')
    max_frames: int = setting(
        0, 'maximum number of images of each camera; 0: all', low=0, metavar='N'
    )

    # What is written.
    force: bool = setting(False, 'overwrite existing output')
    resume: bool = setting(False, 'continue where a replay ended')
    copy: bool = setting(False, 'also copy all messages of the bag')
    views: bool = setting(True, 'render visualization images: color and overlay')
    prefix: str = setting(
        '/perception', 'prefix of the topics: the name of the node', metavar='NAME'
    )
    compression: str = setting('zstd', 'compression of the written bag', choices=('zstd', 'none'))
    truth: tuple[str, ...] = setting(
        (), 'ground truth: TASK=TOPIC or TASK=FOLDER; docs/replay.md has the types',
        metavar='TASK=TOPIC',
    )  # fmt: skip
    align: str = setting(
        'frame', 'scale and shift with which depth is scored: of each frame, or of the bag',
        choices=('frame', 'bag'),
    )  # fmt: skip
    pose: tuple[str, ...] = setting(
        (), 'where each camera is, PoseStamped or transforms (default: pose beside the images, '
        'or /tf)', metavar='TOPIC',
    )  # fmt: skip
    report: Path | None = setting(
        None, 'folder for index.html, metrics.json and frames.csv', kind=Path, metavar='DIR'
    )
    view: bool = setting(False, 'show the result in Rerun (pip install rerun-sdk)')
    view_file: Path | None = setting(
        None, 'what --view would show, as a file (.rrd) for Rerun; needs no screen', kind=Path,
        metavar='FILE',
    )  # fmt: skip

    # How it runs.
    batch_frames: int = setting(
        0, 'images per batch; 0: 1 on the CPU, else what --batch-size allows', low=0, metavar='N'
    )
    jobs: int = setting(1, 'bags at a time', low=1, metavar='N')
    engine: str = setting(
        'local', 'where bags are processed: on this machine, or on a Ray cluster',
        choices=engines.ENGINES,
    )  # fmt: skip
    summary: Path | None = setting(None, 'file for the result as JSON', kind=Path, metavar='FILE')
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    perception: PerceptionSettings = field(default_factory=PerceptionSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'points', points_text(self.points))
        super().__post_init__()
        if self.end is not None and not self.end > self.start:
            raise ValueError(f'end is {self.end}; expected more than start, {self.start}')
        points, perception = read_points(self.points), self.perception
        takers = [
            name for name in perception.task_names if perception.registry.get(name).takes_points
        ]
        if takers and not points:
            raise ValueError(f'task {takers[0]} needs --points')
        if points and not takers:
            names = ', '.join(perception.task_names)
            raise ValueError(f'--points was given, but none of {names} uses it')
        engines.check_device(self.engine, self.compute.device)


@dataclass(frozen=True)
class BagResult:
    """What became of one bag.

    Attributes:
        bag: the bag that was read.
        out: the bag that was written.
        code: 0 all is well, 1 frames were left out or it failed, 3 the bag is damaged.
        frames: frames with results; None if the process failed before it knew.
        skipped: frames that were left out, by type of fault.
        damage: where the bag could not be read any further; '' if it is whole.
        numbers: scores by camera, task and metric, where there is ground truth.
    """

    bag: Path
    out: Path
    code: int
    frames: int | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    damage: str = ''
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayResult:
    """What became of all bags.

    Attributes:
        bags: one result for each bag, in their order.
        tables: scores of one bag, or the results of several, as Markdown.
    """

    bags: Sequence[BagResult]
    tables: Sequence[str] = ()

    @property
    def code(self) -> int:
        """Exit code: 0, 3 if bags are damaged, 1 if bags or frames are missing."""
        codes = {result.code for result in self.bags}
        return 1 if codes - {0, 3} else max(codes)


def replay(config: ReplayConfig, progress: Progress = SILENT) -> ReplayResult:
    """Write bags with the node's topics for recorded bags; no ROS is needed.

    Several bags run in processes of their own, so that none stops another.

    Raises:
        BlockingIOError: another replay writes the same bag.
        FileExistsError: the bag exists, and neither `force` nor `resume` is given.
        FileNotFoundError: no such bag or model.
        ValueError: a topic that isn't there, ground truth that doesn't fit, or a run to resume
            that began with other options.

    Examples:
        >>> from diception_ros import ReplayConfig, replay
        >>> config = ReplayConfig(bags=['drive.mcap'], out='results.mcap',
        ...                       truth=['depth=truth'], model='model')
        >>> (result,) = replay(config).bags
        >>> result.frames, 0 <= result.numbers['']['depth']['delta1'] <= 1
        (3, True)
    """
    from diception_ros.bag_replay import run as replays

    bags = replays.find_bags(config.bags)
    if len(bags) > 1 or config.engine != engines.LOCAL:
        return _replay_each(bags, config, progress)
    return _replay_one(bags[0], config, progress)


def _replay_one(path: Path, config: ReplayConfig, progress: Progress) -> ReplayResult:
    from diception_ros.bag_replay import checkpoint
    from diception_ros.bag_replay.run import DAMAGED
    from diception_ros.bag_replay.run import replay as run
    from diception_ros.bags.frames import choose
    from diception_ros.bags.mcap_writer import partial_of
    from diception_ros.bags.reader import Bag, files_of
    from diception_ros.bags.typestore import BagTypes
    from diception_ros.datasets.ground_truth import GroundTruthSource, poses_of
    from diception_ros.reporting import rerun_view

    perception, compute, job = config.perception, config.compute, _job(config)
    written = (job.out, partial_of(job.out), config.summary, config.view_file)
    files.check_outputs(written, (path, *files_of(path)))
    files.check_folders([config.report] if config.report else [])
    if config.view or config.view_file:
        rerun_view.check(window=config.view)
    with Bag(path) as bag:
        if bag.damage and not bag.topics:
            progress.log(f'{bag.damage}; nothing could be read')
            return ReplayResult([BagResult(path, job.out, DAMAGED, damage=str(bag.damage))])
        # Options are validated before the long run.
        cameras = choose(bag, job.cameras, job.camera_infos, job.depth_references)
        sources = [
            GroundTruthSource(bag, text, cameras, perception.task_names, perception.registry)
            for text in config.truth
        ]
        for source in sources:
            source.check(bag, perception.categories)
        _check_scores(perception, sources)
        poses = poses_of(bag, cameras, config.pose)
        from diception_ros.model import folder

        folder.check_texts(folder.resolve(config.model), _texts(perception))
        # These load what runs the model, which may take seconds.
        from diception_ros.perception.perceiver import Perceiver
        from diception_ros.perception.predictor import Predictor

        folder.silence_library_logging()
        model = folder.resolve(config.model)
        predictor = Predictor.load(model, compute, bool(perception.adapters), progress.log)
        progress.log(
            f'the model runs on {predictor.backend.name} ({predictor.backend.reason}), '
            f'{predictor.threads} threads'
        )
        job = replace(job, backend=predictor.backend.name)
        if compute.device == 'cpu':
            # Their number decides the last bits of the results.
            job = replace(job, threads=predictor.threads)
        perceiver = Perceiver(predictor, BagTypes(), perception)
        total = job.expected_frames(bag, cameras)
        with progress.bar(total, f'{path.name}: predictions', 'frame') as bar:
            result = run(bag, perceiver, job, config.model, bar.update, progress.log)
    numbers: Mapping[str, Any] = {}
    tables: list[str] = []
    if result.finished_before:
        progress.log(f'{job.out} is finished; nothing is left to do')
    else:
        _log_result(path, result, job, progress)
        if sources or config.report is not None:
            numbers, tables = _score(
                path, config, job, result, cameras, sources, poses, model, progress
            )
        if config.summary is not None:
            files.write_text(config.summary, json.dumps(_summary(path, result, job)) + '\n')
        checkpoint.remove_files(job.out)
        if config.view_file:
            rerun_view.show(path, job, cameras, perception, save=config.view_file)
        if config.view:
            rerun_view.show(path, job, cameras, perception)
    of_bag = BagResult(
        path, job.out, result.code, result.frames, dict(result.skipped), result.damage, numbers
    )
    return ReplayResult([of_bag], tables)


def _check_scores(perception: PerceptionSettings, sources: list[GroundTruthSource]) -> None:
    from diception_ros.core.labels import Instances, Keypoints

    for source in sources:
        task = perception.registry.get(source.task)
        if issubclass(task.label, (Instances, Keypoints)) and not task.takes_category:
            importlib.import_module('pycocotools')


def _score(
    path: Path,
    config: ReplayConfig,
    job: Job,
    result: Result,
    cameras: list[Camera],
    sources: list[GroundTruthSource],
    poses: dict[str, str],
    model: Path,
    progress: Progress,
) -> tuple[Mapping[str, Any], list[str]]:
    """Score the results, and write metrics.json, frames.csv and the page; numbers and tables."""
    from diception_ros.evaluation import bag_scores
    from diception_ros.reporting import html_report, tables
    from diception_ros.reporting.contact_sheets import ReportImages

    perception, report = config.perception, config.report
    sheets = ReportImages(result.frames, registry=perception.registry)
    with progress.bar(result.frames, f'{path.name}: scores', 'frame') as bar:
        scored = bag_scores.score(
            path, job.out, cameras, job, perception, sources, poses, config.align,
            [sheets] if report else [], bar.update,
        )  # fmt: skip
    assert result.journal is not None
    scored.rows = html_report.with_journal(scored.rows, result.journal)
    content = html_report.metrics(
        path, job, perception, (config.model, model), result, scored, config.align, config.truth
    )
    if report is None:
        numbers, rows = (job.out.with_suffix(end) for end in ('.metrics.json', '.frames.csv'))
    else:
        report.mkdir(parents=True, exist_ok=True)
        numbers, rows = report / 'metrics.json', report / 'frames.csv'
    tables.write_json(numbers, content)
    tables.write_csv(rows, scored.rows)
    if report is not None:
        html = html_report.page(content, scored.rows, sheets)
        files.write_text(report / 'index.html', html)
        progress.log(f'wrote {report / "index.html"}')
    shown = []
    for camera, of_camera in scored.numbers.items():
        values = {
            task: {metric: {'value': value} for metric, value in each.items()}
            for task, each in of_camera.items()
        }
        if values:
            headings = {'value': camera or 'value'}
            table = tables.markdown(
                values, ['value'], registry=perception.registry, headings=headings
            )
            shown.append(table)
    return scored.numbers, shown


def _texts(perception: PerceptionSettings) -> list[str]:
    """What the network is given for the categories."""
    return [
        task.text(Prompt(task.name, category))
        for task in perception.active_tasks
        if task.takes_category
        for category in perception.categories
    ]


def _job(config: ReplayConfig) -> Job:
    from diception_ros.bag_replay.run import Job

    if config.out.suffix != '.mcap':
        raise ValueError(f'out is {config.out}; expected a name that ends in .mcap')
    if not config.out.parent.is_dir():
        raise FileNotFoundError(f'{config.out.parent}: no such folder for --out')
    prefix = config.prefix.strip('/')
    parts = prefix.split('/') if prefix else []
    if not all(NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f'prefix is {config.prefix!r}; expected a name in ROS, such as /perception: letters, '
            'digits and _ between /'
        )
    perception = config.perception
    known = [perception.registry.get(name) for name in perception.task_names]
    results = sum(len(perception.categories) if task.takes_category else 1 for task in known)
    batch = config.batch_frames
    if not batch:
        # The node takes one image at a time, and on a CPU a batch is no faster.
        on_cpu = config.compute.device == 'cpu'
        batch = 1 if on_cpu else max(1, perception.predict.batch_size // results)
    return Job(
        config.out,
        start_s=config.start,
        end_s=config.end,
        points=read_points(config.points),
        prefix=f'/{prefix}' if prefix else '',
        batch_frames=batch,
        compress=config.compression == 'zstd',
        **{name: getattr(config, name) for name in _OF_JOB},
    )


def _log_result(path: Path, result: Result, job: Job, progress: Progress) -> None:
    if result.seconds:
        progress.log(
            f'wrote predictions for {result.frames} frames to {job.out} ({result.seconds:.1f} s, '
            f'{result.processed / result.seconds:.2f} frames/s)'
        )
        if not result.frames and (job.start_s or job.end_s is not None):
            end = 'its end' if job.end_s is None else f'--end {job.end_s:g}'
            progress.log(f'{path} has no frame between --start {job.start_s:g} and {end}')
    else:
        progress.log(
            f'predictions for {result.frames} frames were complete in {job.out}, left as they are'
        )
    if result.skipped:
        kinds = ', '.join(f'{count} {kind}' for kind, count in result.skipped.items())
        progress.log(f'{path}: frames left out: {kinds}')
    if result.not_copied:
        progress.log(f'{path}: topics not copied: {", ".join(result.not_copied)}')
    if result.damage:
        progress.log(f'{result.damage}; processed up to there')


def _summary(path: Path, result: Result, job: Job) -> dict[str, Any]:
    return {
        'bag': str(path),
        'out': str(job.out),
        'frames': result.frames,
        'skipped': dict(result.skipped),
        'not_copied': result.not_copied,
        'damage': result.damage,
        'notes': result.notes,
        'seconds': round(result.seconds, 3),
        'model_s': round(result.model_s, 3),
    }


def _replay_each(bags: Sequence[Path], config: ReplayConfig, progress: Progress) -> ReplayResult:
    """Replay each bag in a process of its own."""
    from diception_ros.bag_replay import run as replays
    from diception_ros.bag_replay.run import DAMAGED

    if config.out.suffix == '.mcap':
        raise ValueError(f'out is {config.out}; of {len(bags)} bags expected a folder')
    if config.view or config.view_file:
        raise ValueError('--view shows one bag; give it the one that you want to see')
    config.out.mkdir(parents=True, exist_ok=True)
    engine_jobs = _engine_jobs(bags, config)
    done = [_before(job) for job in engine_jobs if config.resume and _finished(job, config)]
    finished = {result.job.source for result in done}
    todo = [job for job in engine_jobs if job.source not in finished]
    running: list[str] = []
    with progress.bar(len(engine_jobs), 'bags', 'it') as bar:

        def started(job: EngineJob) -> None:
            running.append(job.out.stem)
            bar.set_postfix_str(', '.join(running))

        bar.update(len(done))
        for job in todo:
            replays.summary_path(job.out).unlink(missing_ok=True)
        gpu = config.compute.device.startswith('cuda')
        results = engines.run(config.engine, todo, config.jobs, gpu, started)
        with contextlib.closing(results):
            for result in results:
                running[:] = [name for name in running if name != result.job.out.stem]
                bar.set_postfix_str(', '.join(running), refresh=False)
                bar.update()
                done.append(result)
                if result.code not in (0, DAMAGED):
                    progress.log(f'{result.job.source}: {result.last_line}')
    done.sort(key=lambda result: bags.index(result.job.source))
    return ReplayResult([_bag_result(result) for result in done], [replays.results_table(done)])


def _bag_result(done: EngineResult) -> BagResult:
    from diception_ros.bag_replay import run as replays

    file = replays.summary_path(done.job.out)
    if not file.exists():
        return BagResult(done.job.source, done.job.out, done.code)
    content = safe_load.json_object(file)
    source, out = done.job.source, done.job.out
    return BagResult(
        source, out, done.code, content['frames'], content['skipped'], content['damage']
    )


def _engine_jobs(bags: Sequence[Path], config: ReplayConfig) -> list[EngineJob]:
    from diception_ros.bag_replay import run as replays

    # Those that run at a time divide the processors among them.
    share = config.jobs if config.engine == engines.RAY else resources.processors() // config.jobs
    count = config.compute.threads or resources.automatic_threads(config.compute.device, share)
    options = to_arguments(config, (*_LOCAL, *LIVE))
    engine_jobs = []
    for bag, name in zip(bags, replays.output_names(bags), strict=True):
        out = (config.out / f'{name}.mcap').absolute()
        more = [f'--report={config.report / name}'] if config.report else []
        more += [f'--summary={replays.summary_path(out)}', f'--threads={count}']
        command = [sys.executable, '-m', 'diception_ros', 'replay', str(bag.absolute()),
                   f'--out={out}', *more, *options]  # fmt: skip
        needs = (bag.absolute(), *folders_of(config.model, config.perception.adapters))
        engine_jobs.append(engines.EngineJob(bag, out, command, Path.cwd(), needs, ('--resume',)))
    return engine_jobs


def _finished(job: EngineJob, config: ReplayConfig) -> bool:
    """Whether nothing is left to do: the summary is written, and then all cleaned up."""
    from diception_ros.bag_replay import checkpoint
    from diception_ros.bag_replay import run as replays

    written = job.out.exists() and replays.summary_path(job.out).exists()
    return written and not config.force and not checkpoint.state_path(job.out).exists()


def _before(job: EngineJob) -> EngineResult:
    """Result of an earlier run."""
    from diception_ros.bag_replay import run as replays
    from diception_ros.bag_replay.run import exit_code

    summary = safe_load.json_object(replays.summary_path(job.out))
    code = exit_code(
        summary['damage'],
        summary['skipped'],
        summary['frames'],
        len(summary.get('not_copied', ())),
    )
    return engines.EngineResult(job, code, 'done before')
