# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The data sets of the paper: what is read, what the model sees, and which pixels count."""

from dataclasses import replace

import cv2
from layouts import PLACES, write
import numpy as np
import pytest

from diception_ros.core import images
from diception_ros.core.labels import Disparity, MetricDepth, Normals
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import benchmarks
from diception_ros.evaluation import dataset_scores
from diception_ros.evaluation.evaluators import EvalItem

NAMES = benchmarks.names()
DEPTH = [name for name in NAMES if not name.endswith('normals')]
NORMALS = [name for name in NAMES if name.endswith('normals')]


def read(name, root):
    protocol = benchmarks.get(name)
    cases, without = dataset_scores.find_samples(protocol, root)
    assert without == 0
    return protocol, cases


def kept(protocol, truth):
    """What of a written truth should count, as an array."""
    if protocol.window is not None:
        truth = truth[protocol.window(truth.shape[:2])]
    if protocol.counted is not None:
        truth = np.where(protocol.counted(truth.shape), truth, np.nan)
    return truth


@pytest.mark.parametrize('name', NAMES)
def test_every_protocol_finds_its_layout(name, tmp_path):
    truths = write(name, tmp_path)
    protocol, cases = read(name, tmp_path)
    assert protocol.name == name
    assert [case.name for case in cases] == PLACES[name][0]
    for case, truth in zip(cases, truths, strict=True):
        found = dataset_scores.truth_of(protocol, case)
        assert isinstance(found, MetricDepth if protocol.task == 'depth' else Normals)
        array = found.values if protocol.task == 'depth' else found.vectors
        np.testing.assert_allclose(array, kept(protocol, truth), rtol=1e-5)
        frame = dataset_scores.frame_of(protocol, case)
        assert frame.size == found.size
        whole = images.read(tmp_path / case.name)
        if protocol.window is None:
            np.testing.assert_array_equal(frame.image, whole)
        else:
            np.testing.assert_array_equal(frame.image, whole[protocol.window(whole.shape[:2])])


@pytest.mark.parametrize('name', DEPTH)
def test_an_affine_disparity_of_the_truth_is_perfect(name, tmp_path):
    write(name, tmp_path)
    protocol, cases = read(name, tmp_path)

    def prediction(case):
        inverse = 1 / dataset_scores.truth_of(protocol, case).values
        inverse[np.isnan(inverse)] = 1  # whatever it says there does not count
        return Disparity(np.clip(0.7 * inverse + 0.1, 0, 1).astype(np.float32))

    verdict = dataset_scores.evaluate(protocol, cases, {'1': prediction})
    found = verdict.numbers[name]
    assert verdict.frames == 2
    assert found['abs_rel']['1'] == pytest.approx(0, abs=1e-4)
    assert found['delta1']['1'] == 1
    assert found['abs_rel_in_depth']['1'] > 0.05


# Images of DIODE have no ending that sets them apart from normals in an image.
@pytest.mark.parametrize(
    ('name', 'kind'),
    [(name, kind) for name in NORMALS for kind in ('npy', 'png')
     if (name, kind) != ('diode_normals', 'png')],
)  # fmt: skip
def test_normals_are_read_in_our_frame_from_both_kinds_of_file(name, kind, tmp_path):
    truths = write(name, tmp_path, kind)
    protocol, cases = read(name, tmp_path)
    wanted = dict(zip(PLACES[name][0], truths, strict=True))
    verdict = dataset_scores.evaluate(
        protocol, cases, {'1': lambda case: Normals(wanted[case.name].astype(np.float32))}
    )
    found = verdict.numbers[name]
    assert found['mean_deg']['1'] < (0.01 if kind == 'npy' else 0.4)
    assert found['coverage']['1'] == 1
    for axis in 'xyz':
        assert found[f'mean_deg_{axis}']['1'] > 15, axis


def test_a_wall_before_the_camera_faces_it(tmp_path):
    # What DSINE's and Marigold's documents say of such a wall.
    wall = np.zeros((4, 6, 3))
    wall[..., 2] = 1
    images.write(tmp_path / 'a_normal.png', ((wall + 1) / 2 * 255).round().astype(np.uint8))
    np.save(tmp_path / 'a_normal.npy', wall)
    for kind in ('png', 'npy'):
        vectors = benchmarks.benchmark_normals([tmp_path / f'a_normal.{kind}'], (4, 6)).vectors
        np.testing.assert_allclose(vectors, np.broadcast_to([0, 0, -1], (4, 6, 3)), atol=1e-2)


def test_vectors_that_are_no_directions_are_unknown(tmp_path):
    vectors = np.zeros((1, 5, 3))
    vectors[0, :, 2] = [0, 0.4, 0.6, 1.4, 1.6]
    np.save(tmp_path / 'normal.npy', vectors)
    found = benchmarks.benchmark_normals([tmp_path / 'normal.npy'], (1, 5))
    assert found.valid.tolist() == [[False, False, True, True, False]]


def test_kitti_shows_the_lowest_rows_and_the_middle_columns():
    rows, columns = benchmarks.benchmark_crop((375, 1242))
    assert (rows.start, rows.stop, columns.start, columns.stop) == (23, 375, 13, 1229)
    inside = np.argwhere(benchmarks.kitti_eigen_crop((352, 1216)))
    assert (inside.min(axis=0).tolist(), inside.max(axis=0).tolist()) == ([117, 43], [320, 1171])
    with pytest.raises(ValueError, match=r'at least \(352, 1216\) pixels \(H, W\), got'):
        benchmarks.benchmark_crop((351, 1216))


def test_nyuv2_counts_eigens_crop():
    inside = np.argwhere(benchmarks.nyu_eigen_crop((480, 640)))
    assert (inside.min(axis=0).tolist(), inside.max(axis=0).tolist()) == ([45, 41], [470, 600])
    with pytest.raises(ValueError, match=r'expected images of \(480, 640\)'):
        benchmarks.nyu_eigen_crop((240, 320))


@pytest.mark.parametrize(
    ('size', 'longest'), [((40, 60), 17), ((61, 33), 20), ((4032, 6048), 1024)]
)
def test_the_grid_is_what_shrinking_by_picking_leaves(size, longest):
    import torch

    number = np.arange(size[0] * size[1], dtype=np.float64).reshape(size)
    factor = longest / max(size)
    shrink = torch.nn.Upsample(scale_factor=factor, mode='nearest')
    picked = shrink(torch.from_numpy(number)[None, None]).numpy().ravel()
    chosen = dataset_scores.alignment_grid(size, longest)
    assert abs(int(chosen.sum()) - picked.size) <= max(size) * 0.01 * longest
    expected = np.zeros(number.size, np.bool_)
    expected[picked.astype(int)] = True
    assert (expected != chosen.ravel()).mean() < 1e-3
    assert dataset_scores.alignment_grid(size, 0) is None
    assert dataset_scores.alignment_grid(size, max(size)) is None


def test_scale_and_shift_are_fitted_by_the_grid_alone(tmp_path):
    write('eth3d', tmp_path)
    protocol, cases = read('eth3d', tmp_path)
    protocol = replace(protocol, alignment_side=12)
    truth = dataset_scores.truth_of(protocol, cases[0])
    chosen = dataset_scores.alignment_grid(truth.size, 12)

    def prediction(case):
        inverse = np.nan_to_num(1 / truth.values, nan=0.5)
        inverse[~chosen] = 0.9  # nonsense beside the grid
        return Disparity(inverse.astype(np.float32))

    score = dataset_scores.evaluate(protocol, cases[:1], {'1': prediction}).numbers['eth3d']
    known = truth.valid
    off = known & ~chosen
    expected = np.abs(1 / 0.9 - truth.values[off]) / truth.values[off]
    assert score['abs_rel']['1'] == pytest.approx(expected.sum() / known.sum(), rel=1e-4)
    whole = dataset_scores.evaluate(
        replace(protocol, alignment_side=0), cases[:1], {'1': prediction}
    ).numbers
    assert whole['eth3d']['abs_rel']['1'] != pytest.approx(score['abs_rel']['1'], rel=0.05)


@pytest.mark.parametrize('name', DEPTH)
def test_what_is_out_of_range_does_not_count(name, tmp_path):
    protocol = benchmarks.get(name)
    near, far = protocol.metres
    values = np.array([[near * 0.9, near * 1.1, 5.0, min(far * 1.1, 1e6)]], np.float32)
    tally = dataset_scores._evaluator(protocol)
    question = EvalItem('depth', Prompt('depth'), MetricDepth(values))
    score = tally.update(question, Disparity(np.array([[np.nan, 0.9, 0.3, np.nan]], np.float32)))
    counted = 2 if np.isfinite(far) else 3
    assert score['coverage'] == pytest.approx(2 / counted)


# ---- wrong folders --------------------------------------------------------------------------


@pytest.mark.parametrize('name', NAMES)
def test_unknown_layout_error_names_the_expected_one(name, tmp_path):
    protocol = benchmarks.get(name)
    (tmp_path / 'readme.txt').write_text('nothing here')
    with pytest.raises(ValueError, match='nothing in it matches') as error:
        dataset_scores.find_samples(protocol, tmp_path)
    for part in (str(tmp_path), protocol.pattern, protocol.layout):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match='no such folder; protocol'):
        dataset_scores.find_samples(protocol, tmp_path / 'none')


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'kitti'])
def test_missing_ground_truth_error_names_the_file(name, tmp_path):
    write(name, tmp_path)
    protocol, cases = read(name, tmp_path)
    gone = cases[1].truth[-1]
    gone.unlink()
    with pytest.raises(FileNotFoundError, match='is missing; protocol') as error:
        dataset_scores.find_samples(protocol, tmp_path)
    assert str(gone) in str(error.value)
    assert str(cases[1].image) in str(error.value)


def test_kitti_leaves_out_images_without_truth(tmp_path):
    write('kitti', tmp_path)
    protocol, cases = read('kitti', tmp_path)
    cases[0].truth[0].unlink()
    found, without = dataset_scores.find_samples(protocol, tmp_path)
    assert ([case.name for case in found], without) == ([cases[1].name], 1)
    cases[1].truth[0].unlink()
    with pytest.raises(ValueError, match='none of 2 images has a truth'):
        dataset_scores.find_samples(protocol, tmp_path)


def test_list_file_selects_and_orders_images(tmp_path):
    write('kitti', tmp_path)
    protocol, cases = read('kitti', tmp_path)
    names = [case.name for case in cases]
    file = tmp_path / 'files.txt'
    file.write_text(f'{names[1]} some/truth.png 721.5\n\n{names[0]} None 721.5\n')
    assert [case.name for case in dataset_scores.find_samples(protocol, tmp_path, file)[0]] == [
        names[1]
    ]
    file.write_text(f'{names[1]}\n{names[0]}\n')
    assert [
        case.name for case in dataset_scores.find_samples(protocol, tmp_path, file)[0]
    ] == names[::-1]
    cases[0].truth[0].unlink()  # a list means what it says
    with pytest.raises(FileNotFoundError, match='is missing'):
        dataset_scores.find_samples(protocol, tmp_path, file)
    file.write_text('2011_09_26/x/image_02/data/1.png\n')
    with pytest.raises(FileNotFoundError, match=r'1\.png: no such image'):
        dataset_scores.find_samples(protocol, tmp_path, file)
    file.write_text('\n')
    with pytest.raises(ValueError, match='a line for each image, got none'):
        dataset_scores.find_samples(protocol, tmp_path, file)


def test_damaged_and_unknown_file_errors_name_the_file(tmp_path):
    size = (48, 64)
    path = tmp_path / 'x.png'
    cv2.imwrite(str(path), np.zeros(size, np.uint8))
    with pytest.raises(
        ValueError, match=r'x\.png: expected depth as a grey 16-bit PNG, got uint8'
    ):
        benchmarks.png_depth(1000)([path], size)
    cv2.imwrite(str(path), np.zeros((48, 63), np.uint16))
    with pytest.raises(ValueError, match=r"its image's size \(48, 64\) \(H, W\), got \(48, 63\)"):
        benchmarks.png_depth(1000)([path], size)
    path.write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'x\.png: not an image that can be read.*\(8 bytes'):
        benchmarks.png_depth(1000)([path], size)
    with pytest.raises(ValueError, match='expected 3072 32-bit floats'):
        benchmarks.raw_depth([path], size)
    broken = tmp_path / 'x.npy'
    broken.write_bytes(b'no array')
    with pytest.raises(ValueError, match=r'x\.npy: not an array'):
        benchmarks.benchmark_normals([broken], size)
    np.save(broken, np.zeros(size))
    with pytest.raises(ValueError, match=r'expected normals of shape \(H, W, 3\)'):
        benchmarks.benchmark_normals([broken], size)
    np.save(broken, np.zeros((10, 10, 3)))
    with pytest.raises(ValueError, match="its image's size"):
        benchmarks.benchmark_normals([broken], size)
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint16))
    with pytest.raises(ValueError, match='expected 8 bits a colour, got 16'):
        benchmarks.benchmark_normals([path], size)


def test_unreadable_image_error_names_the_file(tmp_path):
    write('scannet', tmp_path)
    path = tmp_path / PLACES['scannet'][0][1]
    path.write_bytes(b'')
    with pytest.raises(ValueError, match=r'000300\.jpg: not an image'):
        dataset_scores.find_samples(benchmarks.get('scannet'), tmp_path)


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(
        ValueError, match=r"no protocol 'nyu'; did you mean 'nyuv2'\? known: diode"
    ):
        benchmarks.get('nyu')


def test_predictions_of_another_size_are_refused(tmp_path):
    write('scannet', tmp_path)
    protocol, cases = read('scannet', tmp_path)
    with pytest.raises(ValueError, match=r'expected a prediction of \(48, 64\)'):
        dataset_scores.evaluate(
            protocol, cases, {'1': lambda case: Disparity(np.zeros((4, 4), np.float32))}
        )


def test_nyuv2_is_read_from_arrays_as_from_files(tmp_path):
    rng = np.random.default_rng(0)
    protocol = benchmarks.get('nyuv2')
    rgb = rng.integers(0, 256, (2, 480, 640, 3)).astype(np.uint8)
    metres = (rng.integers(500, 9000, (2, 480, 640)) / 1000).astype(np.float32)
    metres[:, 100:120] = 0  # unknown
    arrays, single = tmp_path / 'arrays/nyu_test', tmp_path / 'files'
    arrays.mkdir(parents=True)
    np.save(arrays / 'eigen_test_rgb.npy', rgb.astype(np.float32))
    np.save(arrays / 'eigen_test_depth.npy', metres)
    for k in range(2):
        images.write(single_file(single, k, 'rgb'), rgb[k])
        cv2.imwrite(str(single_file(single, k, 'depth')), np.rint(metres[k] * 1000).astype('u2'))
    found = [dataset_scores.find_samples(protocol, root)[0] for root in (arrays.parent, single)]
    assert [len(samples) for samples in found] == [2, 2]
    for first, second in zip(*found, strict=True):
        frames = [dataset_scores.frame_of(protocol, one).image for one in (first, second)]
        np.testing.assert_array_equal(*frames)
        truths = [dataset_scores.truth_of(protocol, one).values for one in (first, second)]
        np.testing.assert_allclose(*truths, atol=1e-6)
        assert np.isnan(truths[0][100:120]).all()
        assert np.isfinite(truths[0][130:400, 60:500]).all()


def single_file(root, k, kind):
    path = root / f'test/room_{k}/{kind}_0000.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(('rgb', 'depth'), [
    (np.zeros((2, 4, 5, 3), np.uint8), np.ones((2, 5, 4), np.float32)),
    (np.zeros((2, 4, 5, 4), np.uint8), np.ones((2, 4, 5), np.float32)),
    (np.zeros((2, 4, 5, 3), np.uint8), np.ones((4, 5), np.float32)),
    (np.zeros((2, 4, 5, 3), np.complex64), np.ones((2, 4, 5), np.float32)),
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(tmp_path, rgb, depth):
    np.save(tmp_path / 'eigen_test_rgb.npy', rgb)
    np.save(tmp_path / 'eigen_test_depth.npy', depth)
    with pytest.raises(ValueError, match=r'eigen_test_\w+\.npy: expected'):
        dataset_scores.find_samples(benchmarks.get('nyuv2'), tmp_path)
