# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predict depth, normals, masks, instances and human poses of images.

With --tasks every result is written to OUT/IMAGE/ as a preview (.png), as the label itself,
without loss (.npz, see diception_ros.core.labels.io), and with its metadata (.json); sheet.png
shows them side by side. With --prompt the network's output image is written to OUT as it is.
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.cli import _document
from diception_ros.core import settings
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.predict import PredictConfig, predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    others = {item.name for kind in (ComputeSettings, PredictSettings)
              for item in settings.declared(kind)}  # fmt: skip
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='images, folders of images, or patterns'
    )
    settings.add_arguments(parser, PredictConfig, {'images', *others})
    settings.add_arguments(parser.add_argument_group('where it runs'), ComputeSettings)
    settings.add_arguments(parser.add_argument_group('how it predicts'), PredictSettings)
    _document.add_option(parser)


def main(args: argparse.Namespace) -> int:
    """Predict; 1 when an image could not be read."""
    config = settings.from_arguments(PredictConfig, args)
    with _document.printed(args) as document:
        result = predict(config, ConsoleProgress())
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
    print(f'wrote {of}{config.out}', file=sys.stderr)
    return int(bool(result.skipped))
