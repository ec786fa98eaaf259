# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One prompt about one frame, and how it is to be answered."""

from __future__ import annotations

from dataclasses import dataclass

from diception_ros.frame import Frame
from diception_ros.prompt import Prompt
from diception_ros.settings import PredictSettings


@dataclass(frozen=True, eq=False)
class Question:
    """What `Predictor.ask` is given.

    Attributes:
        frame: what it is about; the frame of several questions is encoded once if they hold the
            same object.
        prompt: what is asked; points in pixels of the frame.
        settings: how the model answers; `device` and `dtype` are not looked at.
        at_model_size: leave the answer at the size of the model's square, (S, S).
    """

    frame: Frame
    prompt: Prompt
    settings: PredictSettings
    at_model_size: bool = False
