# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples as tensors: what goes in comes out, and both ways to the model agree."""

import numpy as np
import pytest
from random_labels import OF_TASK, disparity, mask, metric, normals
import torch

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Normals
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets import batch
from diception_ros.datasets.batch import flip
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPointEncoder
from diception_ros.perception.predictor import Predictor

S = 32
SIZE = (24, 40)
BYTE = 0.5 / 255 + 1e-6


def collate(samples, resolution, pack):
    """All samples as one batch."""
    return batch.prepare(samples, resolution, pack).batch(torch.arange(len(samples)))


def packer(order='xy'):
    return DiceptionPointEncoder(1, 1, 1, order).pack


def sample(task, seed=0, frame=None, label=None, size=SIZE):
    rng = np.random.default_rng(seed)
    frame = frame or Frame(rng.integers(0, 256, (*size, 3)).astype(np.uint8))
    points = (Point(0.0, 3.0), Point(39.0, 20.0)) if tasks.get(task).takes_points else ()
    category = 'person' if tasks.get(task).takes_category else None
    if label is None:
        label = OF_TASK[task](size, rng)
    if task == 'semantic':
        label = type(label)(label.ids, ('person',) * 4, label.scores)
    return Sample(frame, Prompt(task, category, points), label, name=f'{task} {seed}')


def test_every_task_becomes_its_image():
    samples = [sample(task) for task in tasks.names()]
    out = collate(samples, S, packer())
    assert out.image.shape == out.target.shape == (len(samples), 3, S, S)
    assert out.valid.shape == (len(samples), 1, S, S)
    assert out.tasks == tuple(tasks.names())
    assert out.names == tuple(one.name for one in samples)
    for row, one in enumerate(samples):
        task = tasks.get(one.prompt.task)
        square, fit = images.resize(one.frame.image, S)
        label = one.label.to_model_size(fit)
        for tensor, image in ((out.image, square / 255), (out.target, task.encode(label))):
            rgb = (tensor[row].permute(1, 2, 0).numpy() + 1) / 2
            np.testing.assert_allclose(rgb, image, atol=BYTE)
        np.testing.assert_array_equal(out.valid[row, 0], label.valid)
        assert out.texts[row] == task.text(one.prompt)
        assert out.point_labels[row].sum() == len(one.prompt.points)


def test_unknown_pixels_are_not_valid():
    values = disparity(SIZE, np.random.default_rng(0)).values.copy()
    values[:, :20] = np.nan
    vectors = normals(SIZE, np.random.default_rng(0)).vectors.copy()
    vectors[:, :20] = np.nan
    out = collate(
        [sample('depth', label=Disparity(values)), sample('normal', label=Normals(vectors))],
        S, packer(),
    )  # fmt: skip
    assert not out.valid[..., : S // 2].any()
    assert out.valid[..., S // 2 :].all()
    assert torch.isfinite(out.target).all()


def test_metric_depth_is_encoded_as_disparity():
    depth = metric(SIZE, np.random.default_rng(1))
    out = collate([sample('depth', label=depth)], S, packer())
    nearest = (
        depth.to_model_size(images.ResizeTransform(SIZE, S)).values
        == depth.to_model_size(images.ResizeTransform(SIZE, S)).values.min()
    )
    assert (out.target[0, :, torch.from_numpy(nearest)] == 1).all()
    assert out.target.min() == -1


def test_a_label_of_another_kind_is_refused():
    wrong = sample('depth', label=mask(SIZE, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r'depth 0: task .depth. encodes Disparity'):
        collate([wrong], S, packer())
    with pytest.raises(ValueError, match='at least one'):
        batch.prepare([], S, packer())


def test_samples_of_one_frame_share_its_image():
    frame = sample('depth').frame
    samples = [sample('depth', frame=frame), sample('normal', frame=frame), sample('depth', 5)]
    out = batch.prepare(samples, S, packer(), mirrored=True)
    assert len(out) == 6
    assert len(out.images) == 4
    assert out.frame.tolist() == [0, 1, 0, 1, 2, 3]
    turned = collate([flip(one) for one in samples], S, packer())
    got = out.batch(torch.tensor([1, 3, 5]))
    assert torch.equal(got.image, turned.image)
    assert torch.equal(got.target, turned.target)
    assert out.rows('depth').tolist() == [0, 1, 4, 5]


def test_joined_lots_are_the_samples_of_both():
    samples = [sample('depth', 1), sample('segmentation', 2), sample('normal', 3)]
    whole = batch.prepare(samples, S, packer())
    joined = batch.join([batch.prepare(part, S, packer()) for part in (samples[:2], samples[2:])])
    rows = torch.tensor([2, 0, 1])
    a, b = whole.batch(rows), joined.batch(rows)
    for name in ('image', 'target', 'valid', 'points', 'point_labels'):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.texts, a.tasks, a.names) == (b.texts, b.tasks, b.names)


@pytest.mark.parametrize('order', ['xy', 'yx'])
def test_points_reach_the_network_as_in_prediction(tiny, monkeypatch, order):
    """Training and predicting hand the network the same numbers for the same pixels."""
    one = sample('segmentation')
    seen = []
    encoder = packer(order)
    monkeypatch.setattr(
        tiny.point_encoder, 'pack', lambda *args: (seen.append(encoder(*args)), seen[-1])[1]
    )
    tiny.embed_prompts(['[[image2segmentation]]'])
    predictor = Predictor(tiny, PredictSettings(num_inference_steps=1, guidance_scale=1.0))
    predictor.predict([one.frame], [one.prompt])
    out = collate([one], S, encoder)
    assert torch.equal(out.points, seen[0][0])
    assert torch.equal(out.point_labels, seen[0][1])
