# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model: an image, texts and up to five points in, RGB images out; no task, no ROS.

Importing this package imports neither torch nor diffusers; its names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diception_ros.model.encoder import EfficientNetLite
    from diception_ros.model.pca import PcaAutoencoder
    from diception_ros.model.pipeline import DiceptionOutput, DiceptionPipeline
    from diception_ros.model.points import DiceptionPointEncoder
    from diception_ros.model.text_embeddings import PromptTable, UnknownTextError
    from diception_ros.model.transformer import DiceptionTransformer2DModel

_MODULES = {
    'DiceptionOutput': 'pipeline',
    'DiceptionPipeline': 'pipeline',
    'DiceptionPointEncoder': 'points',
    'DiceptionTransformer2DModel': 'transformer',
    'EfficientNetLite': 'encoder',
    'PcaAutoencoder': 'pca',
    'PromptTable': 'text_embeddings',
    'UnknownTextError': 'text_embeddings',
}
__all__ = [
    'DiceptionOutput',
    'DiceptionPipeline',
    'DiceptionPointEncoder',
    'DiceptionTransformer2DModel',
    'EfficientNetLite',
    'PcaAutoencoder',
    'PromptTable',
    'UnknownTextError',
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
