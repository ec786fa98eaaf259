# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the node's model, with progress in the log, and processes a first image with it."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import TYPE_CHECKING

import numpy as np

from diception_ros.core.frame import Frame
from diception_ros.core.prompt import Point
from diception_ros.messages import Types, make_header
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import Query
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import resources

if TYPE_CHECKING:
    from diception_ros.perception.predictor import Predictor

# Signature of `load`; the last argument logs a line.
Load = Callable[
    [NodeSettings, PerceptionSettings, Types, Callable[[str], None]], tuple['Predictor', Perceiver]
]
# No camera can have this name.
_WARM_UP = 'warm-up '


def load(
    node: NodeSettings, perception: PerceptionSettings, types: Types, log: Callable[[str], None]
) -> tuple[Predictor, Perceiver]:
    """Load the model and process one image, so that the next ones take their usual time.

    Raises:
        FileNotFoundError: no such model folder.
        ValueError: a device that does not exist, or settings that do not suit the model.
    """
    begin = time.monotonic()
    log(f'configuring, 1 of 3: importing what runs the model {node.model!r}')
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    folder.silence_library_logging()
    log(f'configuring, 2 of 3: loading {node.model!r} onto {node.compute.device}')
    with resources.model_loading():
        predictor = Predictor.load(node.model, node.compute, bool(perception.adapters), log)
    log(
        f'the model runs on {predictor.backend.name}, {predictor.threads} threads '
        f'({predictor.backend.reason})'
    )
    perceiver = Perceiver(predictor, types, perception)
    log(f'configuring, 3 of 3: a first prediction ({time.monotonic() - begin:.1f} s so far)')
    warm_up(perceiver, types)
    resources.release_memory()  # this thread's heap; the worker may get another one
    log(f'configured in {time.monotonic() - begin:.1f} s')
    return predictor, perceiver


def warm_up(perceiver: Perceiver, types: Types) -> None:
    """Process a grey image with all tasks; what is slow the first time is slow now."""
    tasks = perceiver.settings.active_tasks
    points = (Point(32, 24),) if any(task.takes_points for task in tasks) else ()
    frame = Frame(np.full((48, 64, 3), 128, np.uint8))
    perceiver.process(Query(_WARM_UP, frame, make_header(types, 0, ''), None, tasks, points))
    perceiver.reset(_WARM_UP)
