# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception replay` does with one bag."""

from __future__ import annotations

import argparse
from dataclasses import replace
import importlib
import json
from pathlib import Path
import sys
from typing import Any

from tqdm import tqdm

from diception_ros.bag_replay import checkpoint
from diception_ros.bag_replay.job import DAMAGED, Job, Result
from diception_ros.bag_replay.run import replay
from diception_ros.bags.cameras import Camera, choose
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import BagTypes
from diception_ros.core import settings
from diception_ros.core.labels import Instances, Keypoints
from diception_ros.core.prompt import read_points
from diception_ros.core.settings import ComputeSettings
from diception_ros.datasets.ground_truth import Source, poses_of
from diception_ros.evaluation import bag_scores
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.reporting import html_report, rerun_view, tables
from diception_ros.reporting.contact_sheets import Sheets
from diception_ros.system import threads


def one(path: Path, args: argparse.Namespace) -> int:
    """Replay one bag."""
    asked = settings.from_arguments(PerceptionSettings, args)
    compute = settings.from_arguments(ComputeSettings, args)
    job = _job(args, asked, compute)
    if args.view or args.view_file:
        rerun_view.check(window=args.view)
    with Bag(path) as bag:
        if bag.damage and not bag.topics:
            print(f'{bag.damage}; nothing could be read', file=sys.stderr)
            return DAMAGED
        # Whatever is wrong with the wishes is said before the model works for hours.
        cameras = choose(bag, job.cameras, job.camera_infos, job.depth_references)
        sources = [Source(bag, text, cameras, asked.asked, asked.registry) for text in args.truth]
        for source in sources:
            source.check(bag, asked.categories)
        _check_scores(asked, sources)
        poses = poses_of(bag, cameras, args.pose)
        # These load torch, which takes seconds.
        from diception_ros.model import folder
        from diception_ros.perception.predictor import Predictor

        folder.silence_library_logging()
        count = threads.limit(compute.threads, compute.device)
        if compute.device == 'cpu':
            # They decide the last bits of the answers.
            job = replace(job, threads=count)
        model = folder.resolve(args.model)
        predictor = Predictor.load(model, compute)
        perceiver = Perceiver(predictor, BagTypes(), asked)
        with _bar(f'{path.name}: answers', job.expected_frames(bag, cameras)) as bar:
            result = replay(bag, perceiver, job, str(args.model), bar.update, _say)
    if result.finished_before:
        print(f'{job.out} is finished; nothing is left to do', file=sys.stderr)
        return result.code
    _tell(path, result, job)
    if sources or args.report is not None:
        _judge(path, args, asked, job, result, cameras, sources, poses, model)
    if args.summary is not None:
        args.summary.write_text(json.dumps(_summary(path, result, job)) + '\n')
    checkpoint.remove_files(job.out)
    if args.view_file:
        rerun_view.show(path, job, cameras, asked, save=args.view_file)
    if args.view:
        rerun_view.show(path, job, cameras, asked)
    return result.code


def _bar(what: str, total: int) -> tqdm[Any]:
    return tqdm(total=total, desc=what, unit='frame', file=sys.stderr)


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _check_scores(asked: PerceptionSettings, sources: list[Source]) -> None:
    for source in sources:
        task = asked.registry.get(source.task)
        if issubclass(task.label, (Instances, Keypoints)) and not task.takes_category:
            importlib.import_module('pycocotools')


def _judge(
    path: Path,
    args: argparse.Namespace,
    asked: PerceptionSettings,
    job: Job,
    result: Result,
    cameras: list[Camera],
    sources: list[Source],
    poses: dict[str, str],
    model: Path,
) -> None:
    """Score the answers, and write what came out."""
    sheets = Sheets(result.frames, registry=asked.registry)
    with _bar(f'{path.name}: scores', result.frames) as bar:
        found = bag_scores.score(
            path, job.out, cameras, job, asked, sources, poses, args.align,
            [sheets] if args.report else [], bar.update,
        )  # fmt: skip
    assert result.journal is not None
    found.rows = html_report.with_journal(found.rows, result.journal)
    content = html_report.metrics(
        path, job, asked, (str(args.model), model), result, found, args.align, args.truth
    )
    if args.report is None:
        numbers, rows = (job.out.with_suffix(end) for end in ('.metrics.json', '.frames.csv'))
    else:
        args.report.mkdir(parents=True, exist_ok=True)
        numbers, rows = args.report / 'metrics.json', args.report / 'frames.csv'
    tables.write_json(numbers, content)
    html_report.write_csv(rows, found.rows)
    if args.report is not None:
        html = html_report.page(html_report.whole(content), found.rows, sheets)
        (args.report / 'index.html').write_text(html, encoding='utf-8')
        print(f'wrote {args.report / "index.html"}', file=sys.stderr)
    for camera, numbers_of in found.numbers.items():
        shown = {
            task: {metric: {'value': value} for metric, value in each.items()}
            for task, each in numbers_of.items()
        }
        if shown:
            print(
                tables.markdown(
                    shown, ['value'], {'value': camera or 'value'}, registry=asked.registry
                )
            )


def _job(args: argparse.Namespace, asked: PerceptionSettings, compute: ComputeSettings) -> Job:
    for name, least in (('every', 1), ('max_frames', 0), ('batch_frames', 0), ('start', 0)):
        if getattr(args, name) < least:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} is {getattr(args, name)}; expected at least {least}')
    if args.end is not None and not args.end > args.start:
        raise ValueError(f'--end is {args.end}; expected more than --start, {args.start}')
    if args.out.suffix != '.mcap':
        raise ValueError(f'--out is {args.out}; expected a name that ends in .mcap')
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f'{args.out.parent}: no such folder for --out')
    points = read_points(args.points) if args.points else ()
    takers = [name for name in asked.asked if asked.registry.get(name).takes_points]
    if takers and not points:
        raise ValueError(f'task {takers[0]} needs --points')
    if points and not takers:
        raise ValueError(f'--points was given, but none of {", ".join(asked.asked)} uses it')
    known = [asked.registry.get(name) for name in asked.asked]
    answers = sum(len(asked.categories) if task.takes_category else 1 for task in known)
    batch = args.batch_frames
    if not batch:
        # One by one is what the node does, and on a CPU a batch is no faster.
        batch = 1 if compute.device == 'cpu' else max(1, asked.predict.batch_size // answers)
    return Job(
        args.out,
        cameras=tuple(args.camera),
        camera_infos=tuple(args.camera_info),
        depth_references=tuple(args.depth_reference),
        start_s=args.start,
        end_s=args.end,
        every=args.every,
        max_frames=args.max_frames,
        views=args.views,
        copy=args.copy,
        points=points,
        prefix=args.prefix.rstrip('/'),
        batch_frames=batch,
        compress=args.compression == 'zstd',
        force=args.force,
        resume=args.resume,
    )


def _tell(path: Path, result: Result, job: Job) -> None:
    if result.seconds:
        told = (
            f'wrote answers to {result.frames} frames to {job.out} ({result.seconds:.1f} s, '
            f'{result.answered / result.seconds:.2f} frames/s)'
        )
    else:
        told = f'answers to {result.frames} frames were whole in {job.out}, left as they are'
    print(told, file=sys.stderr)
    if result.skipped:
        kinds = ', '.join(f'{count} {kind}' for kind, count in result.skipped.items())
        print(f'{path}: frames left out: {kinds}', file=sys.stderr)
    if result.not_copied:
        print(f'{path}: topics not copied: {", ".join(result.not_copied)}', file=sys.stderr)
    if result.damage:
        print(f'{result.damage}; answered up to there', file=sys.stderr)


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
