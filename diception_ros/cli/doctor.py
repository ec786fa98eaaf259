# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Look at this machine, and say what is missing or does not fit and what to do.

OK: well. WARN: it runs, but something is worse than it could be, or a part that not everybody
needs is missing. BROKEN: it cannot run, and the exit code is 1. Nothing is changed.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--model',
        default='builtin',
        metavar='DIR',
        help="model folder to look at, or 'builtin' (default: %(default)s)",
    )
    parser.add_argument(
        '--device',
        default='cpu',
        metavar='D',
        help='where the model is to run: cpu, cuda or cuda:N (default: %(default)s)',
    )


def main(args: argparse.Namespace) -> int:
    """Look; 1 when something is broken."""
    from diception_ros.doctor import look
    from diception_ros.doctor.checks import BROKEN, WARN

    count = {BROKEN: 0, WARN: 0}
    for finding in look(args.model, args.device):
        print(finding, flush=True)
        if finding.verdict in count:
            count[finding.verdict] += 1
    print(f'{count[BROKEN]} broken, {count[WARN]} to look at')
    return 1 if count[BROKEN] else 0
