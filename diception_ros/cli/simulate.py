# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Render simulated rooms, with exact labels, into a folder of samples or a bag.

A folder (`--out FOLDER`) holds single views with a prompt and its ground truth for every task; a
bag (`--out FILE.mcap`) holds what a robot would record on a smooth path through each room. With
`--labels` the folder holds images with one label each, to try few-shot adaptation with. Needs
MuJoCo (pip install mujoco) and EGL or OSMesa. docs/simulation.md lists what is in the files. The
same seed gives the same rooms on every machine.
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.core import settings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.simulate import SimulateConfig, simulate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    settings.add_arguments(parser, SimulateConfig)


def main(args: argparse.Namespace) -> int:
    """Render; 1 when some rooms had no good view."""
    result = simulate(settings.from_arguments(SimulateConfig, args), ConsoleProgress())
    print(f'wrote {result.frames} frames to {result.out}', file=sys.stderr)
    missing = result.expected - result.frames
    if missing:
        print(f'{missing} frames are missing: their rooms had no good view', file=sys.stderr)
    return int(missing > 0)
