# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""adapt, replay and the data sets read the same label from the same file."""

import labelled_files as files
import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.core.labels import Disparity, Normals, resize_label
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import benchmarks, ground_truth, labelled
from diception_ros.evaluation import bag_scores, evaluators
from diception_ros.evaluation.evaluators import EvalItem
from diception_ros.tasks.normal import IMAGE_TO_CAMERA_AXES

NAN = float('nan')


def readers(tmp_path, array, kind, task, suffix):
    """The same array in a file, through the three users."""
    place = files.write_folder(tmp_path / 'a', lambda k: array, count=2, end=suffix)
    path = place / f'labels/000{suffix}'
    np.save(tmp_path / 'known.npy', np.ones(files.SIZE, bool))
    if kind == 'normals':
        # The evaluation sets have y up and z to the viewer.
        np.save(tmp_path / 'theirs.npy', array * IMAGE_TO_CAMERA_AXES)
        theirs = lambda: benchmarks.benchmark_normals([tmp_path / 'theirs.npy'], files.SIZE)  # noqa: E731
    elif suffix == '.npy':
        theirs = lambda: benchmarks.npy_depth([path, tmp_path / 'known.npy'], files.SIZE)  # noqa: E731
    else:
        theirs = lambda: benchmarks.png_depth(1000)([path], files.SIZE)  # noqa: E731
    return {
        'adapt': lambda: labelled.read(place, kind, task).samples[0].label,
        'replay': lambda: ground_truth.truth_from_file(tasks.get(task), path, ()),
        'protocol': theirs,
    }


@pytest.mark.parametrize('suffix', ['.npy', '.png'])
def test_depth_of_0_or_nan_is_unknown_for_every_reader(tmp_path, suffix):
    metres = np.random.default_rng(0).integers(500, 4000, files.SIZE).astype(np.uint16)
    metres[2:5] = 0
    wanted = np.where(metres == 0, NAN, metres / 1000)
    if suffix == '.npy':
        metres = (metres / 1000).astype(np.float32)
        metres[6, :4] = NAN, -1, np.inf, -np.inf
        wanted[6, :4] = NAN
    for name, read in readers(tmp_path, metres, 'depth', 'depth', suffix).items():
        np.testing.assert_allclose(read().values, wanted, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_lengths_of_normals_are_normalised_for_every_reader(tmp_path, dtype):
    vectors = np.random.default_rng(0).normal(size=(*files.SIZE, 3))
    vectors[..., 2] = -np.abs(vectors[..., 2]) - 0.1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    wanted = vectors.copy()
    lengths = np.random.default_rng(1).uniform(0.55, 1.45, files.SIZE)
    lengths[3, :4] = 0, 0.4, 1.6, 2
    wanted[3, :4] = NAN
    array = (vectors * lengths[..., None]).astype(dtype)
    array[4, 0] = wanted[4, 0] = NAN
    for name, read in readers(tmp_path, array, 'normals', 'normal', '.npy').items():
        np.testing.assert_allclose(read().vectors, wanted, atol=2e-3, err_msg=name)


@pytest.mark.parametrize(('kind', 'task', 'array', 'match'), [
    ('normals', 'normal', np.full((*files.SIZE, 3), [0, 0, -2], np.float32), 'got lengths 2 to 2'),
    ('depth', 'depth', np.full(files.SIZE, -2, np.float32), 'expected metres > 0.*got -2 to -2'),
])  # fmt: skip
def test_an_array_without_any_valid_value_is_refused_by_every_reader(
    tmp_path, kind, task, array, match
):
    for read in readers(tmp_path, array, kind, task, '.npy').values():
        with pytest.raises(ValueError, match=match):
            read()


def test_normals_in_colors_are_read_the_same_as_a_label_and_as_truth(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(*files.SIZE, 3)) * [1, 1, 0.3] - [0, 0, 2]
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    colors = np.rint((vectors * IMAGE_TO_CAMERA_AXES + 1) * 127.5).astype(np.uint8)
    colors[:2] = 128  # grey: unknown
    users = readers(tmp_path, colors, 'normals', 'normal', '.png')
    for name in ('adapt', 'replay'):
        found = users[name]().vectors
        assert np.isnan(found[:2]).all()
        np.testing.assert_allclose(found[2:], vectors[2:], atol=8e-3)


@pytest.mark.parametrize('size', [(12, 16), (36, 50), (24, 20)])
def test_evaluate_and_replay_score_the_same_pixels_of_a_prediction_of_another_size(size):
    rng = np.random.default_rng(0)
    truth = Normals(unit_vectors(rng, size))
    predicted = Normals(unit_vectors(rng, (24, 32)))
    item = EvalItem('normal', Prompt('normal'), truth)
    evaluator = evaluators.create('normal')
    evaluators._count([item], [predicted], {'normal': {'shuffled': evaluator}}, 'shuffled')

    class Asked:
        categories, registry = (), tasks.BUILTIN

    judge = bag_scores._CameraScorer('', Asked(), {})
    row = judge._score('normal', predicted, truth)
    assert row['mean_deg'] == pytest.approx(evaluator.compute()['mean_deg'], rel=1e-6)
    # Only values that were predicted are scored.
    picked = resize_label(predicted, size).vectors.reshape(-1, 3)
    known = {tuple(vector) for vector in predicted.vectors.reshape(-1, 3).tolist()}
    assert {tuple(vector) for vector in picked.tolist()} <= known


def unit_vectors(rng, size):
    vectors = rng.normal(size=(*size, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_resizing_keeps_the_label_itself_where_the_size_is_right():
    label = Disparity(np.zeros((3, 4), np.float32))
    assert resize_label(label, (3, 4)) is label
    assert resize_label(label, (6, 8)).size == (6, 8)
