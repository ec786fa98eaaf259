# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Check this machine: what is missing or does not fit, and how to fix it.

OK. WARN: it runs, but something could be better, or an optional part is missing. BROKEN: it cannot
run, and the exit code is 1. Nothing is changed.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from diception_ros.cli import _document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--model',
        default='builtin',
        metavar='DIR',
        help="model folder to check, or 'builtin' (default: %(default)s)",
    )
    parser.add_argument(
        '--device',
        default='cpu',
        metavar='D',
        help='where the model will run: cpu, cuda or cuda:N (default: %(default)s)',
    )
    _document.add_option(parser)


def main(args: argparse.Namespace) -> int:
    """Check; 1 when something is broken."""
    from diception_ros.doctor import check_machine
    from diception_ros.doctor.checks import BROKEN, WARN

    count = {BROKEN: 0, WARN: 0}
    findings = []
    with _document.printed(args) as document:
        for finding in check_machine(args.model, args.device):
            findings.append(asdict(finding))
            print(finding, flush=True)
            if finding.verdict in count:
                count[finding.verdict] += 1
        print(f'{count[BROKEN]} broken, {count[WARN]} to look at')
        document |= {'broken': count[BROKEN], 'warnings': count[WARN], 'findings': findings}
    return 1 if count[BROKEN] else 0
