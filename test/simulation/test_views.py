# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the rendered geometry and labels. The views come from OpenGL, the laws do not."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from simulated import SIZE, edges, world
from surfaces import normals_from

from diception_ros import tasks
from diception_ros.core import geometry
from diception_ros.core.labels import Keypoints, MetricDepth
from diception_ros.simulation import cameras, sample_stream, scenes
from diception_ros.simulation.assets import CATEGORIES, STUFF
from diception_ros.simulation.assets.primitives import first_hit


@pytest.fixture(params=['plain', 'realistic'])
def views(request):
    """The laws hold for views of both kinds."""
    name = f'{request.param}_views'
    return request.getfixturevalue(name)


# ---- geometry ------------------------------------------------------------------------------


def test_every_pixel_is_known(views):
    for view in views:
        assert np.isfinite(view.depth).all()
        assert np.isfinite(view.normals).all()
        assert (view.instance > 0).all()
        np.testing.assert_allclose(np.linalg.norm(view.normals, axis=-1), 1, atol=1e-5)


def test_depth_and_ids_are_what_mujoco_casts(renderer):
    # An independent ray caster: MuJoCo's own collision geometry.
    import mujoco

    from diception_ros.simulation.renderer import mujoco_model

    scene = scenes.make_scene(3, 1, 'test')
    camera = cameras.sample_view(scenes.rng_for(3, 1, 'test', 1), scene, SIZE)
    renderer.load(scene)
    view = renderer.render(camera)
    xml, files, _ = mujoco_model(scene, SIZE, 0, 256)
    model = mujoco.MjModel.from_xml_string(xml, files)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    geom = np.zeros(1, np.int32)
    rays, keep = camera.rays(), ~edges(view).ravel()
    picked = np.flatnonzero(keep)[::7]
    assert len(picked) > 500
    for k in picked:
        length = np.linalg.norm(rays[k])
        distance = mujoco.mj_ray(model, data, camera.position, rays[k] / length, None, 1, -1, geom)
        assert scene.instance[geom[0]] == view.instance.ravel()[k]
        assert distance / length == pytest.approx(view.depth.ravel()[k], rel=2e-4)


def test_ids_are_those_of_the_pixels_own_rays(views):
    # To the edges: an image that is shifted or stretched by half a pixel differs there.
    for view in views[:6]:
        index, _ = first_hit(view.scene.primitives, view.camera.position, view.camera.rays())
        cast = view.scene.instance[index].reshape(SIZE)
        assert (
            cast != view.instance
        ).mean() < 0.006  # measured: below 0.003; shifted: above 0.011


def test_points_of_one_view_lie_on_the_surfaces_of_another(renderer):
    agreed = []
    for number in range(6):
        one, two = list(sample_stream.scene_views(renderer, 8, number, 'test', 2))
        pixels, z = two.camera.project(world(one).reshape(-1, 3))
        column, row = np.rint(np.nan_to_num(pixels, nan=-9)).astype(int).T
        inside = (column >= 0) & (column < SIZE[1]) & (row >= 0) & (row < SIZE[0])
        column, row, z = column[inside], row[inside], z[inside]
        seen = two.depth[row, column]
        # Something may hide a point; but none may float before what the second camera sees.
        flat = ~edges(two)[row, column]
        if not flat.any():
            continue  # they look apart
        assert (z[flat] > seen[flat] * 0.97).mean() > 0.999
        same = flat & (abs(z - seen) < 0.03 * seen)
        agreed.append(same.sum())
        ids = one.instance.ravel()[inside]
        assert (ids[same] == two.instance[row, column][same]).mean() > 0.97
    assert sum(agreed) > 3000


def test_normals_of_the_room_are_exact(views):
    for view in views:
        scene, up = view.scene, view.camera.rotation.T @ [0, 0, 1]
        turned = view.normals @ view.camera.rotation.T
        for number, name in enumerate(scene.categories, 1):
            if name == 'wall':
                across = turned[(view.instance == number) & (abs(turned[..., 2]) < 0.5)]
                assert (np.abs(across).max(axis=-1) > 1 - 1e-6).all()
            if name in ('floor', 'ceiling'):
                seen = view.normals[view.instance == number]
                np.testing.assert_allclose(
                    seen,
                    np.broadcast_to(up * (1 if name == 'floor' else -1), seen.shape),
                    atol=1e-6,
                )


def test_normals_point_to_the_camera(views):
    for view in views:
        rays = geometry.back_project(
            MetricDepth(np.ones(SIZE, np.float32)), view.camera.intrinsics
        )
        assert ((view.normals * rays).sum(axis=-1) <= 1e-6).all()


def test_normals_agree_with_those_of_the_depth(views):
    angles = []
    for view in views:
        rough = normals_from(view.metric_depth(), view.camera.intrinsics)
        cosine = (rough.vectors * view.normals).sum(axis=-1)[~edges(view)]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    angles = np.concatenate(angles)
    assert np.median(angles) < 0.1
    assert np.percentile(angles, 95) < 5


def test_planes_lie_where_the_room_ends(views):
    for view in views:
        points = world(view)
        for name, height in (('floor', 0), ('ceiling', view.scene.walls.height)):
            number = view.scene.categories.index(name) + 1
            np.testing.assert_allclose(points[view.instance == number][:, 2], height, atol=2e-5)


# ---- labels --------------------------------------------------------------------------------


def test_instances_and_categories_agree(views):
    for view in views:
        numbers = view.category()
        for with_stuff in (False, True):
            label = view.instances(with_stuff)
            assert (label.areas > 0).all()
            assert ((label.ids > 0) == (with_stuff | ~np.isin(numbers, (1, 2, 3)))).all()
            for k, name in enumerate(label.categories, 1):
                assert with_stuff or name not in STUFF
                assert {CATEGORIES[n] for n in numbers[label.ids == k]} == {name}
                assert len(np.unique(view.instance[label.ids == k])) == 1
        for name in set(view.instances().categories):
            chosen = view.of_category(name)
            np.testing.assert_array_equal(chosen.ids > 0, numbers == CATEGORIES.index(name))
            assert set(chosen.categories) == {name}


def test_visible_joints_lie_on_their_person(views):
    counts = np.zeros(3, int)
    for view in views:
        people, bodies = view.keypoints(), view.bodies()
        assert len(people.joints) == len(bodies)
        for joints, visibility, body in zip(people.joints, people.visibility, bodies, strict=True):
            pixels, z = view.camera.project(body.joints)
            inside = (z > 0) & (np.rint(pixels) >= 0).all(-1)
            inside &= (np.rint(pixels) < [SIZE[1], SIZE[0]]).all(-1)
            np.testing.assert_array_equal(visibility > 0, inside)
            np.testing.assert_allclose(joints[inside], pixels[inside], atol=1e-3)
            column, row = np.rint(joints[visibility == 2]).astype(int).T
            assert (view.instance[row, column] == body.instance).all()
            # Its skin is before the joint, by no more than the flesh around it.
            before = z[visibility == 2] - view.depth[row, column]
            assert (before < body.flesh[visibility == 2] + 1e-6).all()
            counts += np.bincount(visibility, minlength=3)
    assert (counts > 15).all()  # all three kinds were tested


def test_faces_are_visible_from_before_and_ears_hidden_from_the_other_side(renderer):
    # A camera at two metres before somebody's face, and one behind them.
    seen = {1: [], -1: []}
    for number in range(14):
        scene = scenes.make_scene(21, number)
        for body in scene.bodies:
            ahead = body.joints[0] - body.joints[[3, 4]].mean(axis=0)
            ahead[2] = 0
            ahead /= np.linalg.norm(ahead)
            for side in (1, -1):
                position = body.joints[0] + side * 0.8 * ahead
                if not cameras.is_clear(scene, position, 0.1):
                    continue
                yaw = np.arctan2(-side * ahead[1], -side * ahead[0])
                lens = cameras._sample_intrinsics(np.random.default_rng(0), SIZE)
                viewpoint = cameras.Viewpoint(*position, yaw, 0, 0)
                renderer.load(scene)
                view = renderer.render(cameras._camera(viewpoint, lens, SIZE))
                if body in view.bodies():
                    k = view.bodies().index(body)
                    seen[side].append(view.keypoints().visibility[k, :3] == 2)
    assert len(seen[1]) > 5
    assert len(seen[-1]) > 5
    assert np.mean(seen[1]) > 0.9
    assert np.mean(seen[-1]) < 0.1


def test_same_seed_same_image(renderer):
    one, two = (next(sample_stream.scene_views(renderer, 4, 1, 'train', 1)) for _ in range(2))
    for name in ('image', 'depth', 'normals', 'instance'):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_images_have_light_and_detail(views):
    for view in views:
        assert 25 < view.image.mean() < 230
        assert view.image.std() > 12


def test_renderer_error_names_what_cannot_be_drawn(renderer):
    scene = scenes.make_scene(4, 1)
    big = cameras.sample_view(np.random.default_rng(0), scene, (SIZE[0] + 1, SIZE[1]))
    renderer.load(scene)
    with pytest.raises(ValueError, match='larger than the renderer'):
        renderer.render(big)


# ---- the stream of samples -----------------------------------------------------------------


@pytest.fixture(scope='module')
def first(renderer):
    source = sample_stream.samples(9, (64, 64), views=2)
    return [next(source) for _ in range(60)]


def contents(sample):
    yield sample.frame.image
    yield np.frombuffer(repr(sample.prompt).encode(), np.uint8)
    for name in sample.label.__dataclass_fields__:
        value = getattr(sample.label, name)
        if isinstance(value, np.ndarray):
            yield value


def test_samples_suit_their_tasks(first):
    assert {sample.prompt.task for sample in first} == set(tasks.names())
    for sample in first:
        task = tasks.get(sample.prompt.task)
        assert isinstance(sample.label, task.label)
        task.text(sample.prompt)  # has the category or the points that the task needs
        assert sample.frame.intrinsics is not None
        assert sample.name.endswith(sample.prompt.task)
        painted = task.encode(sample.label)
        assert painted.shape == (64, 64, 3)


def test_points_lie_on_the_mask_that_they_ask_for(first):
    asked = [sample for sample in first if sample.prompt.task == 'segmentation']
    for sample in asked:
        for x, y in sample.prompt.points:
            assert sample.label.values[int(y), int(x)]
    assert len({len(sample.prompt.points) for sample in asked}) >= 3


def test_the_stream_is_the_same_every_time(first):
    again = sample_stream.samples(9, (64, 64), views=2)
    for sample in first[:24]:
        other = next(again)
        assert other.name == sample.name
        for a, b in zip(contents(sample), contents(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_seed_is_another_stream(first):
    other = next(sample_stream.samples(10, (64, 64), views=2))
    assert not np.array_equal(other.frame.image, first[0].frame.image)


@pytest.mark.parametrize('start', [0, 1, 7])
def test_workers_take_the_same_scenes_wherever_they_go_on(start):
    for worker in range(3):
        whole = list(islice(sample_stream.scene_numbers(worker, 3), 10))
        rest = list(islice(sample_stream.scene_numbers(worker, 3, start), 5))
        assert rest == [number for number in whole if number >= start][:5]
    shares = [islice(sample_stream.scene_numbers(worker, 3, start), 4) for worker in range(3)]
    assert sorted(number for share in shares for number in share) == [*range(start, start + 12)]


def test_workers_share_the_scenes(first):
    names = {sample.name for sample in first}
    shares = []
    for worker in (0, 1):
        source = sample_stream.samples(9, (64, 64), views=2, worker=worker, workers=2)
        shares.append([next(source) for _ in range(20)])
    one, two = ({sample.name for sample in share} for share in shares)
    assert not one & two
    # Each of the first scenes is in one of the shares.
    assert {name.split('/')[2] for name in one} == {'0', '2'}
    assert {name.split('/')[2] for name in two} == {'1', '3'}
    assert names & one
    assert names & two
    by_name = {sample.name: sample for sample in first}
    for sample in shares[1]:
        if sample.name in by_name:
            np.testing.assert_array_equal(sample.frame.image, by_name[sample.name].frame.image)


def test_a_category_may_be_absent(renderer):
    source = sample_stream.samples(9, (64, 64), ['semantic'], views=2, absent=1.0)
    for _ in range(4):
        sample = next(source)
        assert not sample.label.ids.any()
        assert sample.label.categories == ()


def test_depth_is_in_metres_on_demand(renderer):
    sample = next(sample_stream.samples(9, (64, 64), ['depth'], metric=True))
    assert isinstance(sample.label, MetricDepth)


def test_without_absent_ones_poses_are_asked_where_there_are_people(renderer):
    source = sample_stream.samples(9, (64, 64), ['pose'], absent=0.0)
    for _ in range(4):
        sample = next(source)
        assert isinstance(sample.label, Keypoints)
        assert len(sample.label.joints)


@pytest.mark.parametrize(('wrong', 'says'), [
    ({'tasks': ['dept']}, 'depth'), ({'split': 'dev'}, 'dev'), ({'worker': 2, 'workers': 2}, '2'),
])  # fmt: skip
def test_impossible_streams_are_refused(renderer, wrong, says):
    with pytest.raises(ValueError, match=says):
        next(sample_stream.samples(0, (64, 64), **wrong))


def test_a_size_at_which_no_room_has_a_view_ends(renderer, monkeypatch):
    monkeypatch.setattr(sample_stream, '_MOST_EMPTY', 2)
    with pytest.raises(ValueError, match='2 rooms in a row have no good view as 1x1 pixels'):
        next(sample_stream.samples(0, (1, 1)))


def test_wrong_ground_truth_error_names_view_and_task():
    def broken():
        raise ValueError('expected unit vectors')

    truth, rng = SimpleNamespace(surface_normals=broken), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r'^train/5/7/0/normal: expected unit vectors'):
        sample_stream.samples_of_image(truth, None, None, ['normal'], rng, 'train/5/7/0')
