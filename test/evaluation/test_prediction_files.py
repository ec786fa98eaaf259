# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers in files are found by the ends of the images' paths, and read as what they are."""

from layouts import write
import numpy as np
import pytest

from diception_ros.core.labels import Disparity, Normals, save_npz
from diception_ros.datasets import benchmarks
from diception_ros.evaluation import dataset_scores
from diception_ros.evaluation.dataset_scores import PredictionFiles


def data(name, root):
    write(name, root / 'data')
    protocol = benchmarks.get(name)
    cases, _ = dataset_scores.find_samples(protocol, root / 'data')
    return protocol, cases


def prediction(size, value):
    return Disparity(np.full(size, value, np.float32))


def put(folder, name, label, task='depth'):
    (folder / name).mkdir(parents=True, exist_ok=True)
    save_npz(label, folder / name / f'{task}.npz')


@pytest.mark.parametrize('drop', [0, 1])
def test_a_prediction_lies_under_an_end_of_the_image_s_path(drop, tmp_path):
    protocol, cases = data('nyuv2', tmp_path)
    out = tmp_path / 'out'
    for k, case in enumerate(cases):
        put(out, '/'.join(case.name.split('/')[drop:]), prediction(case.size, 0.1 + k / 2))
    found = PredictionFiles(out, protocol, cases)
    values = [float(found(case).values[0, 0]) for case in cases]
    assert values == pytest.approx([0.1, 0.6])
    assert found.cropped == 0


def test_two_images_never_share_a_prediction(tmp_path):
    protocol, cases = data('nyuv2', tmp_path)
    assert cases[0].image.name == cases[1].image.name
    out = tmp_path / 'out'
    put(out, cases[0].image.name, prediction(cases[0].size, 0.5))
    with pytest.raises(
        ValueError, match=r'would count for test/kitchen_0004.* and for test/study'
    ):
        PredictionFiles(out, protocol, cases)
    assert PredictionFiles(out, protocol, cases[:1])(cases[0]).size == cases[0].size


def test_an_image_without_prediction_is_named_with_the_command(tmp_path):
    protocol, cases = data('scannet', tmp_path)
    out = tmp_path / 'out'
    put(out, cases[0].name, prediction(cases[0].size, 0.5))
    with pytest.raises(FileNotFoundError) as error:
        PredictionFiles(out, protocol, cases)
    for part in (str(cases[1].image), f'{cases[1].name}/depth.npz', '1 of 2 images',
                 f'diception predict --tasks depth --out {out}'):  # fmt: skip
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match='none: no such folder of predictions'):
        PredictionFiles(tmp_path / 'none', protocol, cases)


def test_predictions_of_the_whole_image_are_cropped_as_the_model_s_view(tmp_path):
    protocol, cases = data('kitti', tmp_path)
    out, ramp = tmp_path / 'out', np.linspace(0, 1, 375 * 1242, dtype=np.float32)
    ramp = ramp.reshape(375, 1242)
    put(out, cases[0].name, Disparity(ramp))
    put(out, cases[1].name, prediction((352, 1216), 0.5))
    found = PredictionFiles(out, protocol, cases)
    np.testing.assert_array_equal(found(cases[0]).values, ramp[23:375, 13:1229])
    assert found(cases[1]).size == (352, 1216)
    assert found.cropped == 1


def test_wrong_predictions_are_reported(tmp_path):
    protocol, cases = data('scannet', tmp_path)
    out = tmp_path / 'out'
    for case in cases:
        put(out, case.name, prediction((24, 32), 0.5))
    found = PredictionFiles(out, protocol, cases)
    with pytest.raises(
        ValueError, match=r'depth\.npz: expected the size of .*000300\.jpg, \(48, 64\) '
    ):
        found(cases[0])
    vectors = np.zeros((48, 64, 3), np.float32)
    vectors[..., 2] = -1
    put(out, cases[0].name, Normals(vectors))
    with pytest.raises(ValueError, match='expected Disparity for protocol scannet, got Normals'):
        found(cases[0])
    (out / cases[0].name / 'depth.npz').write_bytes(b'broken')
    with pytest.raises(ValueError, match=r'not a \.npz file'):
        found(cases[0])


def test_normals_are_looked_for_under_their_own_name(tmp_path):
    protocol, cases = data('scannet_normals', tmp_path)
    truths = [dataset_scores.truth_of(protocol, case) for case in cases]
    for case, truth in zip(cases, truths, strict=True):
        put(tmp_path / 'out', case.name, truth, 'normal')
    found = PredictionFiles(tmp_path / 'out', protocol, cases)
    verdict = dataset_scores.evaluate(protocol, cases, {'predictions': found})
    assert verdict.numbers['scannet_normals']['mean_deg']['predictions'] < 1e-3
