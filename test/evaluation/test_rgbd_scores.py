# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`--protocol rgbd`: sources that the test writes, and predictions whose numbers are known."""

import json

import labelled_files as files
import numpy as np
import pytest
from recordings import BEGIN, LATE, MAKE, write
from surfaces import normals_from

from diception_ros.cli import main as command
from diception_ros.core import geometry, images
from diception_ros.core.frame import Intrinsics
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.datasets import rgbd
from diception_ros.evaluation import rgbd_scores
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header, stamp_of

SIZE = (60, 80)
PINHOLE = Intrinsics(70.0, 70.0, 39.5, 29.5)
COUNT = 3


def metres(k, size=SIZE):
    """A floor and a wall that stands at an angle, which is another in each frame."""
    v, u = np.mgrid[: size[0], : size[1]] * SIZE[0] / size[0]
    y, x = (v - PINHOLE.cy) / PINHOLE.fy, (u - PINHOLE.cx) / PINHOLE.fx
    floor = np.where(y > 0.02, 1.2 / np.maximum(y, 0.02), np.inf)
    turn = 0.21 * k - 0.5
    wall = 4 / np.maximum(np.sin(turn) * x + np.cos(turn), 0.2)
    return np.minimum(floor, wall).astype(np.float32)


def image(k, size=SIZE):
    return np.random.default_rng(k).integers(0, 256, (*size, 3), np.uint8)


def write_source(place, first=0, count=COUNT, meta=True, suffix='.png'):
    (place / 'rgb').mkdir(parents=True)
    (place / 'depth').mkdir()
    for k in range(first, first + count):
        images.write(place / 'rgb' / f'{k:03d}.png', image(k))
        depth = metres(k)
        depth[:4] = 0  # unknown
        if suffix == '.png':
            files.save(place / 'depth' / f'{k:03d}.png', np.rint(depth * 1000).astype(np.uint16))
        else:
            np.save(place / 'depth' / f'{k:03d}.npy', depth)
    if meta:
        content = {'intrinsics': [PINHOLE.fx, PINHOLE.fy, PINHOLE.cx, PINHOLE.cy]}
        (place / 'meta.json').write_text(json.dumps(content))
    return place


def truths(number):
    depth = MetricDepth(metres(number))
    return {
        'depth': geometry.to_disparity(depth)[0],
        'normal': normals_from(depth, PINHOLE),
    }


KNOWN = {image(k).tobytes(): k for k in range(20)}


def perfect(frame, prompts):
    found = truths(KNOWN[frame.image.tobytes()])
    return [found[prompt.task] for prompt in prompts]


def same(frame, prompts):
    """The same prediction for every image."""
    found = truths(1)
    return [found[prompt.task] for prompt in prompts]


@pytest.mark.parametrize('noise', [0, 0.004])
def test_planes_are_fitted_and_edges_are_unknown(noise):
    depth = metres(0, (240, 320))
    pinhole = Intrinsics(*(4 * value for value in PINHOLE.__dict__.values()))
    truth = normals_from(MetricDepth(depth), pinhole)
    noisy = depth * (1 + np.random.default_rng(0).normal(0, noise, depth.shape))
    noisy[100:110, 50:60] = np.nan
    found = rgbd.plane_normals(MetricDepth(noisy.astype(np.float32)), pinhole)
    cosine = (found.vectors * truth.vectors).sum(axis=-1)
    angles = np.degrees(np.arccos(np.clip(cosine[found.valid], -1, 1)))
    # Where a window spans the edge between floor and wall, some fits still pass.
    assert np.median(angles) < (0.1 if noise == 0 else 12)
    assert not found.valid[100:110, 50:60].any()
    step = np.full((60, 80), 2, np.float32)
    step[:, 40:] = 3
    edge = rgbd.plane_normals(MetricDepth(step), pinhole)
    assert not edge.valid[:, 40].any()
    assert edge.valid[:, 10].any()
    np.testing.assert_allclose(edge.vectors[30, 10], [0, 0, -1], atol=1e-6)


def test_the_row_is_taken_out_of_the_correlation():
    rng = np.random.default_rng(0)
    truth = rng.random((30, 40))
    rows = np.repeat(np.linspace(0, 1, 30)[:, None], 40, axis=1)
    assert rgbd_scores.row_free_correlation(truth, truth) == pytest.approx(1)
    assert rgbd_scores.row_free_correlation(truth + 50 * rows, truth) == pytest.approx(1)
    assert rgbd_scores.row_free_correlation(1 - truth, truth) == pytest.approx(-1)
    assert rgbd_scores.row_free_correlation(rows, truth) == 0
    unknown = np.full_like(rows, np.nan)
    assert rgbd_scores.row_free_correlation(unknown, truth) == 0
    assert np.isnan(rgbd_scores.row_free_correlation(truth, unknown))


def test_a_perfect_model_beats_all_controls_and_a_blind_one_only_some(tmp_path):
    for number, name in enumerate(('one', 'two')):
        write_source(tmp_path / name, 3 * number)
    sources = rgbd.find_sources(tmp_path)
    assert [(s.name, s.count, s.intrinsics_known) for s in sources] == [
        ('one', 3, True), ('two', 3, True),
    ]  # fmt: skip
    found = rgbd_scores.evaluate(sources, {'1': perfect, '2': same})
    assert found.columns == ('1', '2', 'constant', 'ramp', 'mean', 'other')
    assert found.frames == {'one': 3, 'two': 3}
    depth, normal = found.numbers['depth'], found.numbers['normal']
    assert depth['abs_rel']['1'] < 1e-3
    assert depth['delta1']['1'] == 1
    assert depth['row_free_corr']['1'] == pytest.approx(1, abs=0.01)
    assert depth['row_free_corr']['ramp'] == 0
    assert normal['median_deg']['1'] < 0.5
    for column in rgbd_scores.BASELINES:
        assert depth['win_rate'][column] == 1
        assert depth['abs_rel'][column] > depth['abs_rel']['1']
        assert normal['mean_deg'][column] > normal['mean_deg']['1']
    assert np.isnan(depth['win_rate']['1'])
    # Means of sources.
    for task, numbers in found.numbers.items():
        for metric, columns in numbers.items():
            if metric not in ('images', 'skipped', 'win_rate'):
                each = [found.sources[name][task][metric]['2'] for name in ('one', 'two')]
                assert columns['2'] == pytest.approx(np.mean(each)), (task, metric)


def test_the_controls_of_a_model_that_ignores_the_image_equal_its_predictions(tmp_path):
    sources = rgbd.find_sources(write_source(tmp_path / 'one'))
    found = rgbd_scores.evaluate(sources, {'1': same}).numbers
    for column in ('mean', 'other'):
        # But for the grid on which they are kept.
        assert found['depth']['abs_rel'][column] == pytest.approx(
            found['depth']['abs_rel']['1'], abs=0.01
        )


def test_another_image_is_of_another_source_where_there_is_one():
    owners = ['a', 'b', 'a', 'b', 'a']
    for k in range(5):
        assert owners[rgbd_scores._other(k, owners)] != owners[k]
    assert [rgbd_scores._other(k, ['a'] * 4) for k in range(4)] == [2, 3, 0, 1]
    assert rgbd_scores._other(0, ['a']) == 0


@pytest.mark.parametrize('suffix', ['.png', '.npy'])
def test_a_folder_is_read_as_written(tmp_path, suffix):
    (source,) = rgbd.find_sources(write_source(tmp_path / 'a', suffix=suffix, meta=False))
    assert not source.intrinsics_known
    taken = list(source.read())
    assert [frame.name for frame in taken] == ['000', '001', '002']
    assert taken[0].frame.intrinsics == rgbd.default_intrinsics(SIZE)
    np.testing.assert_array_equal(taken[1].frame.image, image(1))
    assert not taken[1].depth.valid[:4].any()
    np.testing.assert_allclose(taken[1].depth.values[4:], metres(1)[4:], atol=6e-4)


def broken_meta(place):
    (place / 'meta.json').write_text('{"intrinsics": [70, 70]}')


def turned(place):
    files.save(place / 'depth/001.png', np.ones(SIZE[::-1], np.uint16))


@pytest.mark.parametrize(('change', 'match'), [
    (lambda p: (p / 'depth/001.png').unlink(), r'rgb/001\.png: there is no .*depth/001\.png'),
    (broken_meta, r'meta\.json: expected "intrinsics": \[fx, fy, cx, cy\].*got \[70, 70\]'),
    (turned, r'depth/001\.png: expected the size of .*rgb/001\.png, 80 x 60 pixels, got 60 x 80'),
    (lambda p: [f.unlink() for f in (p / 'rgb').iterdir()], 'rgb: no image in it; expected rgb/'),
    (lambda p: (p / 'rgb').rename(p / 'images'), 'no RGB-D frames in it; expected rgb/NAME'),
])  # fmt: skip
def test_invalid_rgbd_folder_raises(tmp_path, change, match):
    place = write_source(tmp_path / 'a')
    change(place)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        [list(source.read()) for source in rgbd.find_sources(place)]


def write_bag(path, depths=('depth',)):
    messages = []
    for k in range(COUNT):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'cam')
        messages.append(('/cam/image_raw', image_messages.image(MAKE, image(k), 'rgb8', header)))
        for name in depths:
            depth = image_messages.image(MAKE, metres(k), '32FC1', header)
            messages.append((f'/cam/{name}/image', depth))
    return write(path, [(topic, m, stamp_of(m.header) + LATE) for topic, m in messages])


def test_a_bag_with_depth_is_a_source(tmp_path):
    bag = write_bag(tmp_path / 'bag')
    (source,) = rgbd.find_sources(bag)
    assert (source.count, source.intrinsics_known) == (COUNT, False)
    taken = list(source.read())
    assert [frame.name for frame in taken] == [str(BEGIN + k * 100_000_000) for k in range(COUNT)]
    for k, frame in enumerate(taken):
        np.testing.assert_array_equal(frame.frame.image, image(k))
        np.testing.assert_array_equal(frame.depth.values, metres(k))
    found = rgbd_scores.evaluate([source], {'1': perfect})
    assert found.numbers['depth']['abs_rel']['1'] < 1e-3


def test_of_several_depths_in_a_bag_one_is_named(tmp_path):
    bag = write_bag(tmp_path / 'bag', ('near', 'far'))
    with pytest.raises(ValueError, match=r'got /cam/near/image, /cam/far/image.*--label-topic'):
        rgbd.find_sources(bag)
    (source,) = rgbd.find_sources(bag, '/cam/image_raw', '/cam/far/image')
    assert len(list(source.read())) == COUNT


def test_constant_depth_is_aligned_to_one_distance():
    label = rgbd_scores._constant('depth')
    assert isinstance(label, Disparity)
    item = rgbd_scores._items(
        rgbd.RgbdFrame('', rgbd.Frame(image(0), intrinsics=PINHOLE), MetricDepth(metres(0)))
    )[0]
    score = rgbd_scores._evaluator('depth').update(item, rgbd_scores.resize_label(label, SIZE))
    expected = np.abs(1 / np.mean(1 / metres(0).astype(float)) - metres(0)) / metres(0)
    assert score['abs_rel'] == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.slow
def test_evaluate_prints_means_of_sources_and_each_source(tiny_folder, tmp_path, capsys):
    for number, name in enumerate(('one', 'two')):
        write_source(tmp_path / 'data' / name, 3 * number, meta=number == 0)
    arguments = ['evaluate', tmp_path / 'data', '--protocol', 'rgbd', '--model', tiny_folder]
    assert command.main([*map(str, arguments), '--out', str(tmp_path / 'out')]) == 0
    printed = capsys.readouterr()
    assert 'two: intrinsics are not known' in printed.err
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in printed.out.splitlines()]
    assert rows[0] == ['', 'metric', '1 step', 'constant', 'ramp', 'mean', 'other']
    assert [row[0] for row in rows[2:] if row[0]] == [
        'depth', 'normal', 'one depth', 'one normal', 'two depth', 'two normal',
    ]  # fmt: skip
    found = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert found['dataset']['frames'] == {'one': 3, 'two': 3}
    assert found['sources'].keys() == {'one', 'two'}
    assert (tmp_path / 'out/first.png').is_file()
    assert command.main([*map(str, arguments[:4]), '--predictions', 'x']) == 1
    assert '--predictions does not go with rgbd' in capsys.readouterr().err


@pytest.mark.slow
def test_a_recording_whose_depth_is_unknown_everywhere_is_an_error(tiny_folder, tmp_path, capsys):
    place = write_source(tmp_path / 'data')
    for path in (place / 'depth').iterdir():
        files.save(path, np.zeros(SIZE, np.uint16))
    arguments = ['evaluate', str(place), '--protocol', 'rgbd', '--model', str(tiny_folder)]
    assert command.main(arguments) == 1
    assert f'nothing could be scored in {COUNT} images' in capsys.readouterr().err
