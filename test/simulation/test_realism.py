# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`Realism` changes images and cameras; labels obey the laws of the plain rooms."""

from dataclasses import replace
import zipfile

import numpy as np
import pytest
from simulated import SIZE, edges
from surfaces import normals_from

from diception_ros.core import geometry
from diception_ros.simulation import cameras, renderer, sample_stream, scenes
from diception_ros.simulation.assets import MODELED, STUFF, meshes, textures
from diception_ros.simulation.assets.primitives import (
    Placement,
    Primitives,
    PrimitiveType,
    contains,
    first_hit,
    intersect,
)
from diception_ros.simulation.realism import PLAIN, Realism

ALL = Realism(cameras=1, textures=1, lighting=1, reflections=1)

# A table in the axes of Sweet Home 3D: y up, z to the front, any scale. The top is a box whose
# faces are wound inward, as in many models.
_TOP = [(x, y, z) for x in (-1, 1) for y in (7, 8) for z in (-2, 2)]
_LEGS = [(x, y, 0) for x in (-0.5, 0.5) for y in (0, 7)]
_QUADS = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
_CATALOGUE = """
license=Public domain
id#1=test#table
name#1=Table
category#1=Living room
model#1=/test/table/table.obj
width#1=120.0
depth#1=80.0
height#1=75.0
creator#1=Nobody
name#2=Street lamp
category#2=Lights
model#2=/test/none.obj
width#2=10
depth#2=10
height#2=10
name#3=Woman
category#3=Characters
model#3=/test/none.obj
width#3=10
depth#3=10
height#3=10
"""


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    """A folder with one library of one table, and a cache of its own."""
    folder = tmp_path_factory.mktemp('furniture')
    with zipfile.ZipFile(folder / 'test.sh3f', 'w') as archive:
        archive.writestr('PluginFurnitureCatalog.properties', _CATALOGUE)
        rows = [f'v {x} {y} {z}' for x, y, z in (*_TOP, *_LEGS)]
        rows += ['mtllib table.mtl', 'usemtl wood']
        rows += ['f ' + ' '.join(map(str, quad)) for quad in _QUADS]
        rows += ['usemtl leg', 'f 9 11 12 10']
        archive.writestr('test/table/table.obj', '\n'.join(rows))
        archive.writestr('test/table/table.mtl', 'newmtl wood\nKd 1 0.5 0\nnewmtl leg\nKd 0 0 1')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
        yield str(folder)


@pytest.fixture(scope='module')
def furnished(renderer, library):
    """Two views of each of eight rooms with everything, the table too."""
    realism = replace(ALL, furniture=library)
    return [
        view for n in range(8)
        for view in sample_stream.scene_views(renderer, 3, n, 'test', 2, realism=realism)
    ]  # fmt: skip


# ---- settings ------------------------------------------------------------------------------


def test_settings_are_named_in_text():
    assert Realism.parse('') == PLAIN
    assert Realism.parse('all') == ALL
    assert Realism.parse('cameras, lighting', 'x') == Realism(cameras=1, lighting=1, furniture='x')
    with pytest.raises(ValueError, match=r'expected some of cameras, .* got mirrors'):
        Realism.parse('cameras,mirrors')
    assert Realism.parse('all:0.5,cameras').textures == 0.5
    assert Realism.parse('all:0.5,cameras').cameras == 1
    for wrong in ('cameras:2', 'cameras:often'):
        with pytest.raises(ValueError, match='realism: expected cameras'):
            Realism.parse(wrong)


def test_shares_of_rooms_get_a_setting():
    some = Realism.parse('cameras:0.3,textures,meshes:0.5', 'x')
    drawn = [some.sample(np.random.default_rng(k)) for k in range(400)]
    assert all(one.textures == 1 and one.lighting == 0 for one in drawn)
    assert 0.2 < np.mean([one.cameras for one in drawn]) < 0.4
    assert 0.4 < np.mean([one.furniture == 'x' for one in drawn]) < 0.6
    assert all(one.sample(np.random.default_rng(0)) == one for one in drawn)


def test_settings_change_neither_geometry_nor_each_other():
    plain, light = scenes.make_scene(5, 2), scenes.make_scene(5, 2, realism=Realism(lighting=1))
    dressed = scenes.make_scene(5, 2, realism=ALL)
    for scene in (light, dressed):
        for name in ('kind', 'size', 'position', 'rotation'):
            np.testing.assert_array_equal(
                getattr(plain.primitives, name), getattr(scene.primitives, name)
            )
        assert scene.categories == plain.categories
    assert light.materials == plain.materials
    assert light.lights == dressed.lights != plain.lights
    assert sum(a != b for a, b in zip(plain.materials, dressed.materials, strict=True)) > 20


def test_textures_follow_from_their_seed():
    for pattern in textures.PAINTERS:
        extent = (3.0, 2.5) if pattern in ('real wall', 'real floor', 'real ceiling') else None
        one, two = (
            textures.paint(
                pattern, np.full(3, 0.7), np.full(3, 0.4), np.random.default_rng(3), extent
            )
            for _ in range(2)
        )
        np.testing.assert_array_equal(one, two)
        assert one.shape[0] % 4 == one.shape[1] % 4 == 0
        assert one.std() > 1, pattern


def test_surfaces_have_more_edges_than_plain_ones(renderer):
    # Of pixels away from all edges of the geometry, how many differ much from their neighbours.
    shares = []
    for realism in (PLAIN, Realism(textures=1)):
        strong = []
        for number in range(5):
            for view in sample_stream.scene_views(renderer, 3, number, 'test', 2, realism=realism):
                step = np.abs(np.diff(view.image.astype(int).mean(axis=-1), axis=1))
                strong.append((step > 12)[~edges(view)[:, 1:]].mean())
        shares.append(np.mean(strong))
    assert shares[1] > 2 * shares[0]


# ---- cameras -------------------------------------------------------------------------------


def test_cameras_roll_and_look_down_and_come_close():
    found = []
    for number in range(12):
        scene = scenes.make_scene(7, number, realism=Realism(cameras=1))
        for k in range(6):
            camera = cameras.sample_view(
                scenes.rng_for(7, number, 'train', 1 + 2 * k), scene, SIZE
            )
            if camera is None:
                continue
            x, y, z = camera.position
            assert abs(x) < scene.walls.half_x - 0.1
            assert abs(y) < scene.walls.half_y - 0.1
            assert 0.05 < z < scene.walls.height - 0.1
            assert not contains(scene.primitives, camera.position).any()
            right, ahead = camera.rotation[:, 0], camera.rotation[:, 2]
            found.append((np.degrees(np.arcsin(right[2])), np.degrees(np.arcsin(-ahead[2])), z))
    roll, pitch, height = np.array(found).T
    assert len(found) > 50
    assert np.abs(roll).max() < 45
    assert (np.abs(roll) > 10).mean() > 0.1
    assert pitch.max() > 70
    assert height.min() < 0.4


def test_closeups_show_one_thing_large_from_inside_the_room():
    largest = {}
    for closeups in (0, 1):
        realism, shares = Realism(cameras=1, closeups=closeups), []
        for number in range(4):
            scene = scenes.make_scene(7, number, realism=realism)
            things = np.array([False, *(name not in STUFF for name in scene.categories)])
            for k in range(4):
                rng = scenes.rng_for(7, number, 'train', 1 + 2 * k)
                camera = cameras.sample_view(rng, scene, SIZE, 'robot')
                if camera is None:
                    continue
                assert not contains(scene.primitives, camera.position).any()
                assert cameras.is_clear(scene, camera.position, 0.1)
                index, _ = first_hit(scene.primitives, camera.position, camera.rays(4))
                seen = np.bincount(scene.instance[index], minlength=len(things))
                shares.append(seen[things].max() / len(index))
        largest[closeups] = np.median(shares)
        assert len(shares) > 10
    assert largest[1] > 1.5 * largest[0]
    assert largest[1] > 0.15


def test_points_inside_of_primitives_are_found():
    rng = np.random.default_rng(0)
    shapes = Primitives(np.arange(4), np.tile([0.5, 0.3, 0.2], (4, 1)), np.zeros((4, 3)),
                    np.tile(np.eye(3), (4, 1, 1)))  # fmt: skip
    for point in rng.uniform(-0.8, 0.8, (200, 3)):
        # Inside is where a ray from far away enters before the point and the ray back enters too.
        ahead = np.tile(point / np.linalg.norm(point), (4, 1))
        there, _, missed = intersect(shapes, np.arange(4), point + 5 * ahead[0], -ahead)
        back, _, _ = intersect(shapes, np.arange(4), point - 5 * ahead[0], ahead)
        np.testing.assert_array_equal(contains(shapes, point), ~missed & (there < 5) & (back < 5))


def test_more_pixels_show_the_same_view():
    camera = cameras._camera(
        cameras.Viewpoint(0, 0, 1, 0, 0, 0),
        cameras._sample_intrinsics(np.random.default_rng(0), SIZE),
        SIZE,
    )
    fine = camera.scaled(2)
    # A pixel is the mean of the four that it becomes.
    rays = fine.rays().reshape(SIZE[0], 2, SIZE[1], 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(rays.reshape(-1, 3), camera.rays(), atol=1e-9)


def test_views_hold_a_finer_image(opengl):
    from diception_ros.simulation.renderer import Renderer

    with Renderer((2 * SIZE[0], 2 * SIZE[1])) as large:
        for fine in (1, 2):
            view = next(
                sample_stream.scene_views(
                    large, 3, 1, 'test', 1, realism=ALL, size=SIZE, supersampling=fine
                )
            )
            assert view.image.shape == (*SIZE, 3)
            if fine == 1:
                coarse = view
        assert coarse.supersampled is None
        assert view.supersampled.shape == (2 * SIZE[0], 2 * SIZE[1], 3)
        for name in ('depth', 'normals', 'instance'):
            np.testing.assert_array_equal(getattr(view, name), getattr(coarse, name))
        mean = view.supersampled.reshape(SIZE[0], 2, SIZE[1], 2, 3).mean(axis=(1, 3))
        assert np.abs(mean - view.image).max() <= 1


# ---- models --------------------------------------------------------------------------------


def test_a_catalogue_gives_things_of_rooms(library):
    catalogue = meshes.FurnitureLibrary(library)
    assert [(entry.name, entry.category) for entry in catalogue.entries] == [
        ('Table', 'dining table')
    ]
    assert catalogue.entries[0].size == (0.8, 1.2, 0.75)
    assert list(catalogue.credits()) == ['Nobody (Public domain): Table']


def test_rooms_are_rendered_with_options(library, tmp_path, opengl, capsys):
    from diception_ros.cli import main as command

    small = ['--scenes', '1', '--views', '2', '--size', '64x48', '--out', str(tmp_path / 'out')]
    chosen = ['--realism', 'textures', '--furniture', library]
    assert command.main(['simulate', *small, *chosen]) == 0
    assert len(list((tmp_path / 'out').glob('*/image.png'))) == 2
    capsys.readouterr()
    assert command.main(['simulate', *small, *chosen, '--labels', 'floor', '--force']) == 1
    assert 'labels renders plain rooms' in capsys.readouterr().err


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='sweethome3d-furniture'):
        meshes.FurnitureLibrary(tmp_path)
    (tmp_path / 'broken.sh3f').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'broken\.sh3f'):
        meshes.FurnitureLibrary(tmp_path)


def test_furniture_models_have_the_size_in_the_catalogue(library):
    catalogue = meshes.FurnitureLibrary(library)
    thing = catalogue.thing(np.random.default_rng(0), catalogue.entries[0])
    corners = np.concatenate([piece.vertices for piece in thing.model.pieces])
    np.testing.assert_allclose(np.ptp(corners, axis=0), (0.8, 1.2, 0.75), atol=1e-6)
    np.testing.assert_allclose(corners.min(axis=0), (-0.4, -0.6, 0), atol=1e-6)
    assert thing.surfaces[0].z == 0.75
    assert {piece.color for piece in thing.model.pieces} == {(1.0, 0.5, 0.0), (0.0, 0.0, 1.0)}


def test_models_read_from_the_cache_are_the_same(library):
    entry = meshes.FurnitureLibrary(library).entries[0]
    meshes._read.cache_clear()
    one, two = meshes._parsed(entry), meshes._read(entry)
    assert meshes._cache(entry).exists()
    for a, b in zip(one.pieces, two.pieces, strict=True):
        np.testing.assert_array_equal(a.vertices, b.vertices)
        np.testing.assert_array_equal(a.faces, b.faces)
    meshes._cache(entry).write_bytes(b'cut off')
    meshes._read.cache_clear()
    assert len(meshes._read(entry).pieces) == len(one.pieces)


def test_rooms_hold_models(furnished):
    shown = [k for view in furnished for k in range(len(view.scene.meshes))
             if (view.instance == view.scene.meshes[k].instance).any()]  # fmt: skip
    assert shown
    for view in furnished:
        for placed in view.scene.meshes:
            assert placed.instance not in view.scene.instance
            assert view.scene.categories[placed.instance - 1] == 'dining table'


def test_depth_and_ids_of_models_are_what_mujoco_casts(furnished):
    import mujoco

    geom, checked = np.zeros(1, np.int32), 0
    for view in furnished:
        scene = view.scene
        numbers = [placed.instance for placed in scene.meshes]
        mine = np.flatnonzero((np.isin(view.instance, numbers) & ~edges(view)).ravel())[::11]
        if not mine.size:
            continue
        xml, files, _ = renderer.mujoco_model(scene, SIZE, 0, 256)
        model = mujoco.MjModel.from_xml_string(xml, files)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        rays, origin = view.camera.rays(), view.camera.position
        for k in mine:
            length = np.linalg.norm(rays[k])
            far = mujoco.mj_ray(model, data, origin, rays[k] / length, None, 1, -1, geom)
            assert geom[0] >= len(scene.instance)
            assert far / length == pytest.approx(view.depth.ravel()[k], rel=1e-5)
            checked += 1
    assert checked > 50


def test_pixels_of_rooms_with_models_are_known(furnished):
    angles = []
    for view in furnished:
        assert np.isfinite(view.depth).all()
        assert (view.instance > 0).all()
        np.testing.assert_allclose(np.linalg.norm(view.normals, axis=-1), 1, atol=1e-5)
        rays = geometry.back_project(view.metric_depth(), view.camera.intrinsics)
        assert ((view.normals * rays).sum(axis=-1) <= 1e-6).all()
        rough = normals_from(view.metric_depth(), view.camera.intrinsics)
        numbers = [placed.instance for placed in view.scene.meshes]
        mine = np.isin(view.instance, numbers) & ~edges(view)
        cosine = (rough.vectors * view.normals).sum(axis=-1)[mine]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    angles = np.concatenate(angles)
    assert len(angles) > 500
    assert np.median(angles) < 0.1
    assert np.percentile(angles, 95) < 5


def test_a_box_is_the_same_as_mesh_and_as_primitive(renderer, library):
    # The top of the table against the box that it is, by the equation of the box.
    catalogue = meshes.FurnitureLibrary(library)
    thing = catalogue.thing(np.random.default_rng(0), catalogue.entries[0])
    scene = replace(
        scenes.make_scene(4, 1), realism=PLAIN,
        meshes=(meshes.PlacedMesh(thing.model, Placement(0.3, -0.2, 0.4, 0.7), 1),),
    )  # fmt: skip
    box = Primitives(
        np.array([int(PrimitiveType.BOX)]), np.array([[0.4, 0.6, 0.75 / 16]]),
        np.array([[0.3, -0.2, 0.4 + 0.75 * 15 / 16]]), scenes.about_z(0.7)[None],
    )  # fmt: skip
    renderer.load(scene)
    viewpoint = cameras.Viewpoint(-0.6, 0.5, 2.2, -0.7, 0.9, 0.3)
    camera = cameras._camera(
        viewpoint, cameras._sample_intrinsics(np.random.default_rng(2), SIZE), SIZE
    )
    view = renderer.render(camera)
    rays = camera.rays()
    t, normal, missed = intersect(box, np.zeros(len(rays), int), camera.position, rays)
    same = ~missed & (np.abs(view.depth.ravel() - t) < 1e-4)
    assert same.sum() > 500
    np.testing.assert_allclose(view.depth.ravel()[same], t[same], atol=2e-6)
    turned = view.normals.reshape(-1, 3)[same] @ camera.rotation.T
    np.testing.assert_allclose(turned, normal[same], atol=2e-5)


def test_people_without_joints_give_no_pose_sample(renderer):
    view = next(sample_stream.scene_views(renderer, 3, 0, 'test', 1))
    assert not view.has_people_without_joints
    shown = np.unique(view.instance)
    names = list(view.scene.categories)
    number = next(k for k in shown if names[k - 1] not in ('person', 'floor', 'wall', 'ceiling'))
    names[number - 1] = 'person'
    other = replace(view, scene=replace(view.scene, categories=tuple(names)))
    assert other.has_people_without_joints
    rng = np.random.default_rng(0)
    assert sample_stream.make_samples(other, ['pose'], rng, 'x', absent=1.0) == []


def test_plain_rooms_are_not_asked_for_what_only_models_show(renderer):
    for number in range(3):
        view = next(sample_stream.scene_views(renderer, 3, number, 'test', 1))
        for k in range(20):
            asked = sample_stream.make_samples(
                view, ['semantic'], np.random.default_rng(k), 'x', absent=0.5
            )
            assert asked[0].prompt.category not in MODELED
