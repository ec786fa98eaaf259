# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What generates: image, text and up to five points in, an RGB picture out; no task, no ROS."""

from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.pipeline import DiceptionOutput, DiceptionPipeline
from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.text_embeddings import PromptTable, UnknownTextError
from diception_ros.model.transformer import DiceptionTransformer2DModel

# All classes that a model folder may name are imported here: diffusers refuses to load others.
__all__ = [
    'DiceptionOutput',
    'DiceptionPipeline',
    'DiceptionPointEncoder',
    'DiceptionTransformer2DModel',
    'PcaAutoencoder',
    'PromptTable',
    'UnknownTextError',
]
