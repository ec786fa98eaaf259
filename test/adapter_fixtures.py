# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters of random numbers, and a network that is trained just enough to be adapted."""

import csv

from disc_samples import tiny
import numpy as np
from safetensors.torch import save_file
import torch

from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE, Card
from diception_ros.core.frame import Frame
from diception_ros.core.labels import ImageLabel, Instances, Mask, MetricDepth, Normals
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.labelled import Labelled
from diception_ros.datasets.sample import Sample
from diception_ros.model import adapters
from diception_ros.model.folder import fingerprint
from diception_ros.model.text_embeddings import PromptEmbedding
from diception_ros.training.adapt import fit_adapter, prepare_adaptation
from diception_ros.training.checkpoints import load_pipeline
from diception_ros.training.settings import AdaptSettings
from diception_ros.training.sources import InMemoryDataset
from diception_ros.training.trainer import Trainer

QUICK = {
    'rank': 4, 'max_steps': 6, 'batch_size': 4, 'validate_every': 2, 'buffer': 8, 'lr': 3e-3,
    'ema': 0.5, 'patience': 0,
}  # fmt: skip


def chosen(**changes):
    """Settings of an adaptation of a second."""
    return AdaptSettings(**{**QUICK, **changes})


def random_matrices(layers, rank=2, seed=0):
    """Matrices that change every answer, for layers as `adapters.layer_shapes` tells them."""
    dice = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in layers.items():
        first, second = adapters.matrix_shapes(shape, rank)
        found[f'{name}.lora_A.weight'] = torch.randn(first, generator=dice)
        found[f'{name}.lora_B.weight'] = torch.randn(second, generator=dice) / 4
    return found


def write_adapter(folder, model, name='floor', prompt=None, kind='mask', seed=0, **changes):
    """An adapter of a model folder that nobody taught; returns its folder."""
    pipe = load_pipeline(model)
    matrices = random_matrices(adapters.layer_shapes(pipe.transformer), seed=seed)
    prompt = prompt or f'[[image2segmentation]] {name}'
    known = pipe.prompt_table[next(iter(pipe.prompt_table))]
    dice = torch.Generator().manual_seed(sum(prompt.encode()))  # one text, one embedding
    tokens, pooled = (torch.randn(part.shape, generator=dice) for part in
                      (known.tokens, known.pooled))  # fmt: skip
    count = sum(value.numel() for value in matrices.values())
    fields = {
        'name': name, 'prompt': prompt, 'kind': kind,
        'base': str(model), 'base_sha256': fingerprint(model), 'rank': 2, 'parameters': count,
        'share': 0.01, **changes,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapters.pack(matrices, PromptEmbedding(tokens, pooled)), folder / WEIGHTS_FILE)
    Card(**fields).write(folder)
    return folder


def _label(kind, inside, image):
    """The disc as a label of a kind; each follows from the image, mirrored or not."""
    if kind == 'mask':
        return Mask(inside)
    if kind == 'instances':
        return Instances(inside.astype(np.int32), ('',), np.ones(1, np.float32))
    if kind == 'depth':
        return MetricDepth(np.where(inside, 1.0, 4.0).astype(np.float32))
    if kind == 'normals':
        vectors = np.where(inside[..., None], (0, 0.8, -0.6), (0, -0.8, -0.6))
        return Normals(vectors.astype(np.float32))
    return ImageLabel(np.where(inside[..., None], (0.9, 0.1, 0.1), image / 255).astype(np.float32))


def _discs(count, seed, size):
    """Bright discs on dark noise: where they are, and the image."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for _ in range(count):
        x, y = rng.integers(8, size[1] - 8), rng.integers(8, size[0] - 8)
        inside = np.hypot(rows - y, columns - x) < rng.uniform(6, 10)
        grey = np.where(inside, 0.8, 0.2) + rng.normal(0, 0.03, size)
        image = np.repeat((grey.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)
        yield inside, image


def labels(kind='mask', count=10, task='floor', seed=0, size=(32, 40)):
    """Discs as somebody's own labels."""
    out = [
        Sample(Frame(image), Prompt(task), _label(kind, inside, image), name=f'{k:03d}.png')
        for k, (inside, image) in enumerate(_discs(count, seed, size))
    ]
    return Labelled(out, f'{seed:02d}' * 32, ())


def write_base(folder, steps):
    """A network that was trained on the discs' background: what is not a disc, and how it lies."""
    samples = []
    for inside, image in _discs(16, 50, (32, 32)):
        for task, kind in (('depth', 'depth'), ('normal', 'normals'), ('entity', 'instances')):
            samples.append(Sample(Frame(image), Prompt(task), _label(kind, inside, image)))
    runner = Trainer(tiny(task_weights='depth=1 normal=1 entity=1'), InMemoryDataset(samples))
    for _ in range(steps):
        runner.train_step()
    with runner.average_parameters():
        runner.pipe.save_pretrained(folder)
    return folder


TEXT = '[[image2segmentation]] floor'


def plan(base, known=None, kind='mask', text=TEXT, **changes):
    """A plan of a quick adaptation, and its settings."""
    settings = chosen(**changes)
    return prepare_adaptation(
        str(base), 'floor', text, kind, known or labels(kind), settings
    ), settings


def go(base, out, resume=False, **changes):
    """Adapt; returns the card."""
    what, settings = plan(base, **changes)
    return fit_adapter(what, settings, out, resume, progress=False)


def adaptation_files(out):
    """All that an adaptation leaves, but for how fast it was."""
    found = {name: (out / name).read_bytes() for name in (WEIGHTS_FILE, CARD_FILE, 'labels.json')}
    for name in ('log.csv', 'validation.csv'):
        with (out / 'run' / name).open() as file:
            found[name] = [
                {k: v for k, v in line.items() if k != 'samples_per_second'}
                for line in csv.DictReader(file)
            ]
    return found
