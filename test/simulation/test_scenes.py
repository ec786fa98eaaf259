# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes follow from their seed alone, and what is in them makes sense. Needs no OpenGL."""

import hashlib
from itertools import pairwise
import math
import re

import numpy as np
import pytest
from simulated import SIZE

from diception_ros.core.labels import COCO_JOINTS
from diception_ros.simulation import cameras, scenes
from diception_ros.simulation.assets import CATEGORIES, NUMBERS, STUFF, materials
from diception_ros.simulation.assets.materials import Material, sample_palette
from diception_ros.simulation.assets.people import person
from diception_ros.simulation.assets.primitives import first_hit
from diception_ros.simulation.layout import Footprint

JOINT = {name: k for k, name in enumerate(COCO_JOINTS)}


@pytest.fixture(scope='module')
def rooms():
    return [scenes.make_scene(11, number) for number in range(12)]


# ---- from a seed ---------------------------------------------------------------------------


def test_scene_is_the_same_on_every_machine():
    # Whoever changes what scenes look like renews these; they must never depend on the machine.
    assert scenes.make_scene(0, 0).digest()[:16] == '0ad3a4c254d6f3cb'
    assert scenes.make_scene(7, 3, 'test').digest()[:16] == '7b1753832c160259'


def test_views_of_a_seed_are_the_same_on_every_machine():
    seen = hashlib.sha256()
    for number in range(3):
        scene = scenes.make_scene(7, number)
        camera = cameras.sample_view(scenes.rng_for(7, number, 'train', 1), scene, (48, 64))
        _, depth = first_hit(scene.primitives, camera.position, camera.rays(4))
        # Rounded, since the last bits differ between machines; -0.0 and 0.0 are equal.
        seen.update((camera.position.round(4) + 0.0).tobytes())
        seen.update((depth.round(3) + 0.0).tobytes())
    assert seen.hexdigest()[:16] == 'fb4635b78cfd312e'


def test_same_seed_same_scene():
    assert scenes.make_scene(5, 2).digest() == scenes.make_scene(5, 2).digest()


def test_other_seed_number_or_split_is_another_scene():
    digests = [
        scenes.make_scene(*key).digest()
        for key in ((5, 2, 'train'), (6, 2, 'train'), (5, 3, 'train'), (5, 2, 'test'))
    ]
    assert len(set(digests)) == 4


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(1)
    before, first = np.random.get_state()[1].copy(), scenes.make_scene(5, 2).digest()
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert scenes.make_scene(5, 2).digest() == first


@pytest.mark.parametrize(('key', 'says'), [
    ((-1, 0, 'train'), '-1'), ((0, -2, 'train'), '-2'), ((0, 0, 'dev'), "'dev'"),
])  # fmt: skip
def test_impossible_scenes_are_refused(key, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        scenes.make_scene(*key)


def test_patterns_follow_from_their_seed_and_tile():
    for pattern in materials._SHARES:
        material = Material(pattern, (0.9, 0.8, 0.7), (0.1, 0.2, 0.3), seed=4)
        texture = material.texture()
        np.testing.assert_array_equal(texture, material.texture())
        assert texture.std() > 1, pattern


# ---- what is in a scene --------------------------------------------------------------------


def test_every_instance_has_a_category_and_a_shape(rooms):
    for room in rooms:
        assert set(room.instance) == set(range(1, len(room.categories) + 1))
        assert set(room.categories) <= set(CATEGORIES)
        assert {name for name in room.categories if name in STUFF} == set(STUFF)
        assert room.category_numbers[0] == 0
        assert [CATEGORIES[k] for k in room.category_numbers[1:]] == list(room.categories)
        assert all(room.categories[body.instance - 1] == 'person' for body in room.bodies)
        assert len(room.bodies) == room.categories.count('person')


def test_categories_keep_their_numbers():
    # Bags that exist hold these numbers.
    assert [NUMBERS[name] for name in ('floor', 'wall', 'ceiling', 'person', 'chair')] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip


def test_rooms_differ_in_what_they_hold(rooms):
    seen = {name for room in rooms for name in room.categories}
    assert len(seen) >= 25
    assert len({len(room.bodies) for room in rooms}) >= 3


def test_everything_is_inside_the_walls(rooms):
    for room in rooms:
        walls = room.walls
        things = np.array([room.categories[k - 1] not in STUFF for k in room.instance])
        x, y, z = room.primitives.position[things].T
        assert (abs(x) < walls.half_x + 0.01).all()
        assert (abs(y) < walls.half_y + 0.01).all()
        assert ((z > -0.01) & (z < walls.height)).all()


def test_furniture_does_not_stand_in_furniture(rooms):
    for room in rooms:
        for k, one in enumerate(room.obstacles):
            assert not any(one.overlaps(other, -0.005) for other in room.obstacles[:k])


@pytest.mark.parametrize('posture', ['stand', 'walk', 'sit', 'reach', 'bend'])
def test_bodies_have_human_proportions(posture):
    colors = sample_palette(np.random.default_rng(0))
    for seed in range(20):
        somebody = person(np.random.default_rng(seed), colors, posture)
        at = {name: somebody.joints[k] for name, k in JOINT.items()}
        for side in ('left', 'right'):
            arm = math.dist(at[f'{side}_shoulder'], at[f'{side}_elbow'])
            shin = math.dist(at[f'{side}_knee'], at[f'{side}_ankle'])
            assert 0.24 < arm < 0.34
            assert 0.35 < shin < 0.49
            assert at[f'{side}_ankle'][2] > 0.04  # above the floor
            assert at[f'{side}_hip'][2] > at[f'{side}_ankle'][2]
        # The person faces x, so their left is at +y.
        assert at['left_hip'][1] > at['right_hip'][1]
        assert at['left_shoulder'][1] > at['right_shoulder'][1]
        middle = (at['left_ear'] + at['right_ear']) / 2
        nose, eyes = at['nose'] - middle, at['left_eye'] - at['right_eye']
        assert abs(nose @ eyes) < 1e-3
        if posture in ('stand', 'walk'):
            assert min(at['left_ankle'][2], at['right_ankle'][2]) < 0.1  # stands on the floor


def test_a_face_is_on_the_head(rooms):
    # Nose and eyes lie on the skin: a ray from before the face meets the person right there.
    for room in rooms:
        for body in room.bodies:
            ears = body.joints[[3, 4]].mean(axis=0)
            ahead = body.joints[0] - ears
            start = body.joints[0] + 0.05 * ahead / np.linalg.norm(ahead)
            index, distance = first_hit(room.primitives, start, (body.joints[0] - start)[None])
            assert room.instance[index[0]] == body.instance
            assert abs(distance[0] - 1) * 0.05 < 0.02


@pytest.mark.parametrize(('yaw', 'other', 'meet'), [
    (0, (1.9, 0), True), (0, (2.1, 0), False), (math.pi / 4, (2.3, 0), True),
    (math.pi / 4, (2.5, 0), False), (0, (0, 1.9), True),
])  # fmt: skip
def test_footprints_overlap_when_they_touch(yaw, other, meet):
    one = Footprint(0, 0, 1, 1, 0, 0, 1)
    two = Footprint(*other, 1, 1, yaw, 0, 1)
    assert one.overlaps(two) is meet
    assert two.overlaps(one) is meet


# ---- cameras -------------------------------------------------------------------------------


@pytest.mark.parametrize('rig', ['robot', 'hand'])
def test_views_are_worth_rendering(rooms, rig):
    for number, room in enumerate(rooms[:6]):
        camera = cameras.sample_view(scenes.rng_for(0, number, 'train', 1), room, SIZE, rig)
        x, y, z = camera.position
        assert abs(x) < room.walls.half_x - 0.19
        assert abs(y) < room.walls.half_y - 0.19
        low, high = (0.3, 1.2) if rig == 'robot' else (1.1, 1.75)
        assert low <= z <= high
        field = 2 * math.degrees(math.atan(SIZE[1] / 2 / camera.intrinsics.fx))
        assert 45 <= field <= 100
        index, depth = first_hit(room.primitives, camera.position, camera.rays(4))
        assert (index >= 0).all()
        assert depth.min() > 0.25
        things = {k for k in room.instance[index] if room.categories[k - 1] not in STUFF}
        assert len(things) >= 3


def test_only_good_views_are_taken(rooms):
    for number, room in enumerate(rooms):
        for k in range(4):
            camera = cameras.sample_view(scenes.rng_for(1, number, 'train', k), room, SIZE)
            assert cameras.is_clear(room, camera.position)
            assert cameras.is_good_view(room, camera)


def test_a_view_of_a_bare_wall_is_not_good(rooms):
    room = rooms[0]
    lens = cameras._sample_intrinsics(np.random.default_rng(0), SIZE)
    close = cameras.Viewpoint(room.walls.half_x - 0.2, 0, 2.2, 0, 0, 0)
    assert not cameras.is_good_view(room, cameras._camera(close, lens, SIZE))


def test_cameras_do_not_stand_in_furniture(rooms):
    for room in rooms:
        for obstacle in room.obstacles:
            inside = np.array([obstacle.x, obstacle.y, obstacle.low + 0.05])
            assert not cameras.is_clear(room, inside)


def test_rays_and_projection_are_inverse(rooms):
    camera = cameras.sample_view(np.random.default_rng(0), rooms[1], SIZE)
    points = camera.position + 2.5 * camera.rays()
    pixels, z = camera.project(points)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    np.testing.assert_allclose(pixels[:, 0], columns.ravel(), atol=1e-5)
    np.testing.assert_allclose(pixels[:, 1], rows.ravel(), atol=1e-5)
    np.testing.assert_allclose(z, 2.5, atol=1e-6)
    assert np.isnan(camera.project(camera.position - camera.rays()[:1])[0]).all()


@pytest.mark.parametrize('rig', ['robot', 'hand'])
def test_paths_are_smooth_and_free(rooms, rig):
    rate, made = 10.0, 0
    for number, room in enumerate(rooms[:6]):
        way = cameras.sample_path(np.random.default_rng(number), room, SIZE, rig, 50, rate)
        if way is None:
            continue
        made += 1
        assert len(way) == 50
        places = np.array([camera.position for camera in way])
        speed = np.linalg.norm(np.diff(places, axis=0), axis=1) * rate
        assert speed.max() < (0.41 if rig == 'robot' else 0.71)
        assert np.abs(np.diff(speed)).max() * rate < 3.5  # m/s^2
        for one, two in pairwise(way):
            turn = one.rotation.T @ two.rotation
            assert math.acos(min(1, (np.trace(turn) - 1) / 2)) * rate < 1.3
        assert all(cameras.is_clear(room, place, 0.1) for place in places)
        if rig == 'robot':
            np.testing.assert_allclose(places[:, 2], places[0, 2], atol=1e-6)
    assert made >= 4
