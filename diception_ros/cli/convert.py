# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make a model folder of SD3 medium and the official DICEPTION checkpoint.

Needs both once, then neither: the folder carries the weights and the embeddings of every text that
the tasks use. Nothing is downloaded, and a checkpoint that is more than tensors is refused.
"""

from __future__ import annotations

import argparse

from diception_ros.core import settings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.convert import ConvertConfig, convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    settings.add_arguments(parser, ConvertConfig)


def main(args: argparse.Namespace) -> int:
    """Convert."""
    convert(settings.from_arguments(ConvertConfig, args), ConsoleProgress())
    return 0
