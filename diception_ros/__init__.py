# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DICEPTION, one diffusion model for six perception tasks, as a ROS 2 package.

A verb that runs a model or makes data is a function of a config that returns a result. `Predictor`
keeps a model loaded, for programs that predict again and again. Names are imported on first use,
so that `import diception_ros` loads neither torch nor rclpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'

if TYPE_CHECKING:
    from diception_ros.core import images
    from diception_ros.core.frame import Frame
    from diception_ros.core.prompt import Point, Prompt
    from diception_ros.perception.predictor import Predictor
    from diception_ros.workflows.adapt import AdaptConfig, adapt
    from diception_ros.workflows.convert import ConvertConfig, convert
    from diception_ros.workflows.demo import DemoConfig, demo
    from diception_ros.workflows.evaluate import evaluate
    from diception_ros.workflows.evaluate_config import EvaluateConfig
    from diception_ros.workflows.export import ExportConfig, export
    from diception_ros.workflows.predict import PredictConfig, predict
    from diception_ros.workflows.replay import ReplayConfig, replay
    from diception_ros.workflows.simulate import SimulateConfig, simulate
    from diception_ros.workflows.train import TrainConfig, train
    from diception_ros.workflows.view import ViewConfig, view

__all__ = [
    'AdaptConfig',
    'ConvertConfig',
    'DemoConfig',
    'EvaluateConfig',
    'ExportConfig',
    'Frame',
    'Point',
    'PredictConfig',
    'Predictor',
    'Prompt',
    'ReplayConfig',
    'SimulateConfig',
    'TrainConfig',
    'ViewConfig',
    'adapt',
    'convert',
    'demo',
    'evaluate',
    'export',
    'images',
    'predict',
    'replay',
    'simulate',
    'train',
    'view',
]
_VERBS = (
    'adapt', 'convert', 'demo', 'evaluate', 'export', 'predict', 'replay', 'simulate', 'train',
    'view',
)  # fmt: skip
_PLACES = {
    'Frame': 'core.frame',
    'Point': 'core.prompt',
    'Predictor': 'perception.predictor',
    'Prompt': 'core.prompt',
    **{verb: f'workflows.{verb}' for verb in _VERBS},
    **{f'{verb.capitalize()}Config': f'workflows.{verb}' for verb in _VERBS},
}


def __getattr__(name: str) -> Any:
    if name == 'images':
        return import_module('diception_ros.core.images')
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'diception_ros.{_PLACES[name]}'), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
