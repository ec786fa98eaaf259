# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs that are functions of `diception_ros`: options that make a config, and the result."""

from __future__ import annotations

import argparse
import gc
from typing import Any

import diception_ros as api
from diception_ros.cli.verbs import add_json_option, json_document, log, verb
from diception_ros.core import settings
from diception_ros.system import ros_environment
from diception_ros.system.progress import ConsoleProgress


def _adapt_options(parser: argparse.ArgumentParser) -> None:
    titles = {'labels': 'what it learns from', 'learning': 'how it learns'}
    settings.add_arguments(parser, api.AdaptConfig, titles=titles)


@verb(_adapt_options)
def adapt(args: argparse.Namespace) -> int:
    """Teach a model a new task with about 50 labelled images and 1 % of its parameters.

    OUT becomes an adapter: a file (half a megabyte for the built-in model) and a card. `predict`,
    `replay` and `evaluate` take it with --adapters OUT, the node in its parameter `adapters`; the
    model itself stays as it is. Labels: a folder with images/ and labels/, COCO or LabelMe JSON,
    or a bag.
    docs/adaptation.md has details.
    """
    config = settings.from_arguments(api.AdaptConfig, args)
    result = api.adapt(config, ConsoleProgress())
    _print_metrics(result.card)
    log(
        f'wrote {result.adapter}; try it: diception predict IMAGE --model {config.model} '
        f'--adapters {result.adapter} --tasks {result.card.name} --out results'
    )
    return 0


def _print_metrics(card: Any) -> None:
    if not card.metrics:
        print('no validation images, so its quality is unknown')
        return
    count = card.data['validation_images']
    print(f'at step {card.metrics["step"]}, on {count} validation images:')
    for metric, numbers in card.metrics.items():
        if metric not in ('step', 'threshold'):
            print(
                f'  {metric:12} {numbers["true"]:.3f}  (wrong image '
                f'{numbers["shuffled"]:.3f}, mean image {numbers["mean"]:.3f})'
            )
    if 'threshold' in card.metrics:
        print(f'  best threshold for a pixel of the mask: {card.threshold:g}')


@verb(lambda parser: settings.add_arguments(parser, api.ConvertConfig))
def convert(args: argparse.Namespace) -> int:
    """Make a model folder of SD3 medium and the official DICEPTION checkpoint.

    Needs both once, then neither: the folder carries the weights and the embeddings of every text
    that the tasks use. Nothing is downloaded, and a checkpoint that is more than tensors is
    refused.
    """
    api.convert(settings.from_arguments(api.ConvertConfig, args), ConsoleProgress())
    return 0


def _demo_options(parser: argparse.ArgumentParser) -> None:
    settings.add_arguments(parser, api.DemoConfig)
    ros_environment.add_option(parser)


@verb(_demo_options)
def demo(args: argparse.Namespace) -> int:
    """Demonstrate the node: a camera, the node and a recorder as three processes of real ROS 2.

    Without BAG the camera is that of a robot that drives through a simulated room (needs MuJoCo
    and EGL or OSMesa). The node processes what it can in real time. Then the demo prints what was
    received, processed and dropped, whether every result has the header of its image, and how good
    the results are. OUT gets the bags, a contact sheet, and the page of `diception replay` over
    all images. Ctrl-C ends everything.
    """
    result = api.demo(settings.from_arguments(api.DemoConfig, args), ConsoleProgress())
    if result.table:
        print(result.table)
    return int(bool(result.unmatched))  # a result whose header is that of no image


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    config = api.EvaluateConfig

    def add(title: str, *only: str) -> argparse._ArgumentGroup:
        group = parser.add_argument_group(title)
        settings.add_arguments(group, config, only=only, titles={})
        return group

    from diception_ros.core.settings import ComputeSettings, PredictSettings
    from diception_ros.workflows.adapt import LabelSource
    from diception_ros.workflows.evaluate_config import RoomSettings

    settings.add_arguments(parser, config, only=('dataset', 'model', 'out'), titles={})
    add('data sets', 'protocol', 'list', 'predictions', 'jobs', 'engine')
    settings.add_arguments(add('adapters', 'adapters'), LabelSource)
    rooms = parser.add_argument_group('rooms')
    settings.add_arguments(rooms, RoomSettings)
    for action in rooms._group_actions:  # so that `evaluate` sees which were given
        action.default = argparse.SUPPRESS
    group = add('how the model predicts', 'compared_steps')
    settings.add_arguments(group, ComputeSettings)
    settings.add_arguments(group, PredictSettings, ('num_inference_steps',))
    add_json_option(parser)


@verb(_evaluate_options)
def evaluate(args: argparse.Namespace) -> int:
    """Score a model on simulated rooms that it never saw, or on a data set of the paper.

    Without DATASET: rooms. Every number stands beside two baselines on the same prompts: what the
    model predicts for another room (shuffled), and the mean of the correct output images (mean).
    Needs mujoco and pycocotools.

    With --adapters and --data: the tasks that diception adapt taught, on labels that they were not
    trained on, beside the same two baselines.

    With DATASET and --protocol: a folder in its usual layout, scored as in the paper.
    --predictions scores what `diception predict` wrote earlier, without loading a model.

    A table goes to stdout; OUT gets metrics.json, predictions.csv, first.png and worst.png.
    docs/evaluation.md explains each number.
    """
    from diception_ros.workflows.evaluate_config import RoomSettings

    for option in settings.declared(RoomSettings) if args.dataset is not None else ():
        if option.name in vars(args):  # also where it was given its default
            raise ValueError(f'{option.option} is for rooms, without DATASET')
    config = settings.from_arguments(api.EvaluateConfig, args)
    with json_document(args) as document:
        result = api.evaluate(config, ConsoleProgress())
        document |= {
            'summary': result.summary,
            'frames': result.frames,
            'columns': result.columns,
            'numbers': result.numbers,
            'out': config.out,
        }
    if not args.json:
        print(result.table)
    log(result.summary + (f'; wrote {config.out}' if config.out else ''))
    return 0


@verb(lambda parser: settings.add_arguments(parser, api.ExportConfig))
def export(args: argparse.Namespace) -> int:
    """Write the ONNX graphs of a model folder, so that ONNX Runtime runs it without torch.

    The graphs read the weights out of the folder's own files. Their output images are compared
    with those of torch. fp16 graphs are for GPUs; int8 graphs are faster on CPUs and less accurate
    (docs/builtin_model.md has a table). Needs the packages onnx and onnxscript: pip install
    diception_ros[export].
    """
    result = api.export(settings.from_arguments(api.ExportConfig, args), ConsoleProgress())
    size = sum(result.sizes.values()) / 1e6
    log(f'wrote {", ".join(result.sizes)} ({size:.1f} MB) to {result.model}')
    return 0


def _predict_options(parser: argparse.ArgumentParser) -> None:
    titles = {'compute': 'where it runs', 'predict': 'how it predicts'}
    settings.add_arguments(parser, api.PredictConfig, titles=titles)
    add_json_option(parser)


@verb(_predict_options)
def predict(args: argparse.Namespace) -> int:
    """Predict depth, normals, masks, instances and human poses of images.

    With --tasks every result is written to OUT/IMAGE/ as a preview (.png), as the label itself,
    without loss (.npz, see diception_ros.core.labels.save_npz), and with its metadata (.json);
    sheet.png shows them side by side. With --prompt the network's output image is written to OUT
    as it is.
    """
    config = settings.from_arguments(api.PredictConfig, args)
    with json_document(args) as document:
        result = api.predict(config, ConsoleProgress())
        document |= {
            'out': config.out,
            'images': [
                {'image': image, 'out': place, 'results': result.results.get(image, [])}
                for image, place in result.written.items()
            ],
            'skipped': [
                {'image': image, 'reason': reason} for image, reason in result.skipped.items()
            ],
        }
    count = len(result.written)
    of = f'{count} of {count + len(result.skipped)} images to ' if config.prompt is None else ''
    log(f'wrote {of}{config.out}')
    return int(bool(result.skipped))


_REPLAY_GROUPS = {
    'what is read': ('cameras', 'camera_infos', 'depth_references', 'points', 'start', 'end',
                     'every', 'max_frames'),
    'what is written': ('force', 'resume', 'copy', 'views', 'prefix', 'compression', 'truth',
                        'align', 'pose', 'report', 'view', 'view_file'),
    'how it runs': ('batch_frames', 'jobs', 'engine', 'summary'),
}  # fmt: skip


def _replay_options(parser: argparse.ArgumentParser) -> None:
    from diception_ros.core.settings import ComputeSettings
    from diception_ros.perception.settings import LIVE, PerceptionSettings

    settings.add_arguments(parser, api.ReplayConfig, only=('bags', 'out', 'model'), titles={})
    for title, names in _REPLAY_GROUPS.items():
        group = parser.add_argument_group(title)
        settings.add_arguments(group, api.ReplayConfig, only=names, titles={})
    settings.add_arguments(group, ComputeSettings)
    group = parser.add_argument_group('what is predicted, as parameters of the node')
    settings.add_arguments(group, PerceptionSettings, LIVE)


@verb(_replay_options)
def replay(args: argparse.Namespace) -> int:
    """Predict for every image of recorded bags, and write bags with the topics of the node.

    No ROS is needed. Reads rosbag2 (mcap, sqlite3, compressed, split) and bags of ROS 1; writes
    mcap. Two runs write the same bytes; one that was killed continues with --resume. With --truth
    the results are scored, with --report DIR a page shows them. docs/replay.md has details.
    """
    result = api.replay(settings.from_arguments(api.ReplayConfig, args), ConsoleProgress())
    for table in result.tables:
        print(table)
    return result.code


@verb(lambda parser: settings.add_arguments(parser, api.SimulateConfig))
def simulate(args: argparse.Namespace) -> int:
    """Render simulated rooms, with exact labels, into a folder of samples or a bag.

    A folder (`--out FOLDER`) holds single views with a prompt and its ground truth for every task;
    a bag (`--out FILE.mcap`) holds what a robot would record on a smooth path through each room.
    With `--labels` the folder holds images with one label each, to try few-shot adaptation with.
    Needs MuJoCo (pip install mujoco) and EGL or OSMesa. docs/simulation.md lists what is in the
    files. The same seed gives the same rooms on every machine.
    """
    result = api.simulate(settings.from_arguments(api.SimulateConfig, args), ConsoleProgress())
    log(f'wrote {result.frames} frames to {result.out}')
    missing = result.expected - result.frames
    if missing:
        log(f'{missing} frames are missing: their rooms had no good view')
    return int(missing > 0)


def _train_options(parser: argparse.ArgumentParser) -> None:
    from diception_ros.training.settings import table

    settings.add_arguments(parser, api.TrainConfig)
    # argparse reads a percent sign as the beginning of a name.
    parser.epilog = f'settings:\n{table()}'.replace('%', '%%')


@verb(_train_options)
def train(args: argparse.Namespace) -> int:
    """Train a model: a new small one, or a model folder that continues to learn.

    OUT gets the settings, log.csv, validation.csv (metrics beside those of a model that sees the
    wrong image and of the mean image), contact sheets, checkpoints, and at the end OUT/model,
    which `diception predict --model` takes. Several GPUs: `accelerate launch -m diception_ros
    train ...`. docs/training.md has details.
    """
    result = api.train(settings.from_arguments(api.TrainConfig, args), ConsoleProgress())
    if result.first:
        log(f'wrote {result.model}')
    return 0


def _view_options(parser: argparse.ArgumentParser) -> None:
    from diception_ros.perception.settings import LIVE, MESSAGES, PerceptionSettings

    every_n = [item.name for item in settings.declared(PerceptionSettings) if item.key]
    settings.add_arguments(
        parser, api.ViewConfig, {*LIVE, *MESSAGES, *every_n},
        titles={
            'compute': 'where it runs',
            'perception': 'what is predicted, as parameters of the node',
        },
    )  # fmt: skip
    ros_environment.add_option(parser)


@verb(_view_options)
def view(args: argparse.Namespace) -> int:
    """Show images and predictions in a browser: files, a bag, a camera, or a running node.

    diception view kitchen.jpg room/     image files
    diception view drive.mcap            a bag
    diception view --camera 0            a camera of this machine
    diception view                       a running node and what it publishes

    A click on an object is a point. Ctrl-C ends it. docs/viewing.md has details.
    """
    api.view(settings.from_arguments(api.ViewConfig, args), ConsoleProgress())
    # At its end the interpreter searches all objects for garbage, several times: most of the time
    # between Ctrl-C and the prompt.
    gc.freeze()
    return 0
