# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which of somebody's own labels are meant: options of the verbs that read them. Loads nothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diception_ros.datasets.labelled import Labelled


def add_choices(group: argparse._ArgumentGroup) -> None:
    """Declare what chooses among the labels of a place."""
    group.add_argument(
        '--category', default='', metavar='NAME', help='of several that are labelled, the one'
    )
    group.add_argument('--image-topic', default='', metavar='TOPIC', help='of a bag')
    group.add_argument('--label-topic', default='', metavar='TOPIC', help='of a bag')


def read(args: argparse.Namespace, kind: str, task: str) -> Labelled:
    """The labels at `args.data`, for a task; raises what `data.labelled.read` does."""
    from diception_ros.datasets import labelled

    return labelled.read(
        args.data,
        kind,
        task,
        category=args.category,
        image_topic=args.image_topic,
        label_topic=args.label_topic,
    )
