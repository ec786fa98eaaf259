# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loading the model and trying it once, with progress in the log. Imports torch when it runs."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import TYPE_CHECKING

import numpy as np

from diception_ros import threads
from diception_ros.frame import Frame
from diception_ros.messages import stamps
from diception_ros.messages.types import Types
from diception_ros.perceive.perceiver import Perceiver, Request
from diception_ros.perceive.settings import PerceptionSettings
from diception_ros.prompt import Point
from diception_ros.ros.settings import NodeSettings

if TYPE_CHECKING:
    from diception_ros.predict import Predictor

# What `load` is.
Load = Callable[
    [NodeSettings, PerceptionSettings, Types, Callable[[str], None]], tuple['Predictor', Perceiver]
]
# A camera of no name that can be given, so that nothing of it is kept.
_NOBODY = 'warm-up '


def load(
    node: NodeSettings, perception: PerceptionSettings, types: Types, say: Callable[[str], None]
) -> tuple[Predictor, Perceiver]:
    """The model, ready to answer at its usual speed.

    Args:
        node: which model, and where it runs.
        perception: what is asked, and how.
        types: makes messages.
        say: told how far it is.

    Raises:
        FileNotFoundError: no such model folder.
        ValueError: a device that is not there, or settings that do not suit the model.
    """
    begin = time.monotonic()
    say(f'configuring, 1 of 3: importing torch for the model {node.model!r}')
    from diception_ros.model import quiet
    from diception_ros.predict import Predictor

    quiet.hush()
    count = threads.limit(node.threads, node.device)
    say(f'configuring, 2 of 3: loading {node.model!r} onto {node.device}, {count} threads')
    predictor = Predictor.load(node.model, device=node.device, dtype=node.dtype)
    perceiver = Perceiver(predictor, types, perception)
    say(f'configuring, 3 of 3: a first answer ({time.monotonic() - begin:.1f} s so far)')
    warm_up(perceiver, types)
    say(f'configured in {time.monotonic() - begin:.1f} s')
    return predictor, perceiver


def warm_up(perceiver: Perceiver, types: Types) -> None:
    """Ask all tasks about a grey picture; what is slow the first time is slow now."""
    settings = perceiver.settings
    names = settings.asked
    pointed = any(settings.task(name).takes_points for name in names)
    frame = Frame(np.full((48, 64, 3), 128, np.uint8))
    perceiver.perceive(
        Request(
            _NOBODY,
            frame,
            stamps.header(types, 0, ''),
            None,
            names,
            (Point(32, 24),) if pointed else (),
        )
    )
    perceiver.forget(_NOBODY)
