# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the labels for few-shot adaptation: geometry and light that another path confirms."""

from dataclasses import replace

import numpy as np
import pytest
from simulated import SIZE, world

from diception_ros.core.labels import ImageLabel, Mask
from diception_ros.simulation import adaptation, scenes
from diception_ros.simulation.assets import CATEGORIES
from diception_ros.simulation.assets.primitives import extents, first_hit
from diception_ros.simulation.renderer import LightLevels
from diception_ros.simulation.sample_stream import samples as ordinary
from diception_ros.simulation.sample_stream import scene_views

FURNITURE = ('dining table', 'desk', 'table', 'counter', 'cabinet', 'shelf', 'bed')


def only(scene, keep):
    """Some of a scene's primitives."""
    fields = ('kind', 'size', 'position', 'rotation')
    return replace(
        scene.primitives, **{name: getattr(scene.primitives, name)[keep] for name in fields}
    )


def take(target, count, seed=3, **options):
    source = adaptation.samples(target, seed, SIZE, **options)
    return [next(source) for _ in range(count)]


@pytest.fixture(scope='module')
def lit(renderer):
    """Views; their shadows; what MuJoCo draws without the lamp, and with all of its light."""
    out = []
    for number in range(8):
        for view in scene_views(renderer, 3, number, 'train', 1):
            dark = renderer.render_image(view.camera, LightLevels(caster=0), shadows=False)
            full = adaptation.render_unshadowed(renderer, view.camera)
            out.append((view, adaptation.shadow(view, full).values, dark, full))
    return out


# ---- floor ---------------------------------------------------------------------------------


def test_floor_is_all_that_lies_at_height_zero(views):
    rugs = 0
    for view in views:
        height, mask = world(view)[..., 2], adaptation.floor(view).values
        rug = view.category() == CATEGORIES.index('rug')
        np.testing.assert_allclose(height[mask & ~rug], 0, atol=2e-5)
        assert ((height[rug] > -1e-4) & (height[rug] < 0.0121)).all()  # a rug is 12 mm thick
        up = view.normals @ (view.camera.rotation.T @ [0, 0, 1])
        # Nothing else is flat and that low.
        assert not (~mask & (height < 1e-3) & (up > 0.999)).any()
        rugs += int((mask & rug).sum())
    assert rugs > 100


# ---- graspable -----------------------------------------------------------------------------


def test_graspable_things_are_small_and_rest_on_furniture():
    count = 0
    for number in range(12):
        scene = scenes.make_scene(4, number)
        low, high = extents(scene.primitives)
        for k in np.flatnonzero(adaptation.graspable_instances(scene)):
            mine = scene.instance == k + 1
            a, b = low[mine].min(axis=0), high[mine].max(axis=0)
            assert (b - a).max() <= 0.5
            # Another path to what is below: what a ray from the foot down meets. It starts a
            # little higher, because computer mice are ellipsoids that are sunk into the desk.
            foot = mine & (low[:, 2] < a[2] + 1e-3)
            origin = np.array([*scene.primitives.position[foot][0][:2], a[2] + 0.03])
            index, distance = first_hit(only(scene, ~mine), origin, np.array([[0.0, 0, -1]]))
            below = scene.categories[scene.instance[~mine][index[0]] - 1]
            assert below in FURNITURE, (scene.categories[k], below)
            assert distance[0] < 0.035
            count += 1
    assert count > 100


def test_a_thing_that_is_too_long_is_not_graspable():
    scene = scenes.make_scene(4, 0)
    chosen = np.flatnonzero(adaptation.graspable_instances(scene))
    size = scene.primitives.size.copy()
    size[scene.instance == chosen[0] + 1, :2] *= 8
    longer = replace(scene, primitives=replace(scene.primitives, size=size))
    np.testing.assert_array_equal(
        np.flatnonzero(adaptation.graspable_instances(longer)), chosen[1:]
    )


def test_what_lies_on_the_floor_is_not_graspable(views):
    missed = 0
    for view in views:
        scene, mask = view.scene, adaptation.graspable(view).values
        low, _ = extents(scene.primitives)
        for number in np.unique(view.instance):
            seen, name = mask[view.instance == number], scene.categories[number - 1]
            assert seen.all() or not seen.any()
            if seen.any():
                assert name in adaptation.LIFTED
            elif name in adaptation.LIFTED:
                missed += low[scene.instance == number, 2].min() < 0.01
    assert missed > 3  # balls, boxes, bears and plants on the floor


def test_extents_hold_the_surface_and_touch_it(views):
    gaps = []
    for view in views[:6]:
        points = world(view)
        index, _ = first_hit(view.scene.primitives, view.camera.position, view.camera.rays())
        low, high = (part[index].reshape(*SIZE, 3) for part in extents(view.scene.primitives))
        inside = (points > low - 1e-3) & (points < high + 1e-3)
        assert inside.all(-1).mean() > 0.98  # the others are rims
        gaps.append(np.minimum(points - low, high - points).min(axis=-1).ravel())
    assert np.median(np.concatenate(gaps)) < 1e-3


# ---- shadow --------------------------------------------------------------------------------


def test_shadows_lack_the_lamp_and_lit_pixels_have_all_of_it(lit):
    covered = 0
    for view, mask, dark, full in lit:
        image, dark, full = (p.astype(int) for p in (view.image, dark, full))
        free = ~adaptation.is_occluded(view, np.ones(SIZE, bool)).reshape(SIZE)
        # The others are rims, where the pixel's ray does not speak for all of the pixel.
        assert (abs(image - full).max(axis=-1) <= 3)[free].mean() > 0.96
        assert (image[mask].sum(axis=-1) < full[mask].sum(axis=-1)).all()
        if mask.any():
            assert (abs(image - dark).max(axis=-1) <= 3)[mask].mean() > 0.95
        covered += int(mask.sum())
    assert covered > 1900


def test_rays_and_the_shadow_map_agree(lit):
    both = either = 0
    for view, mask, _, full in lit:
        weights = [0.299, 0.587, 0.114]
        darker = (full @ weights - view.image @ weights >= 6) & (
            view.image @ weights <= 0.9 * (full @ weights)
        )
        both += int((mask & darker).sum())
        either += int((mask | adaptation.remove_slits(darker)).sum())
    assert both / either > 0.88


def test_no_lamp_that_casts_no_shadow(renderer, lit):
    for view, _, dark, _ in lit:
        # The lamp is out: nothing stands in the way of no light.
        assert not adaptation.shadow(replace(view, image=dark), dark).values.any()
        # In an empty room there is nothing that could.
        shell = view.scene.instance <= 6
        bare = replace(view.scene, primitives=only(view.scene, shell))
        wall = view.instance <= 6
        stopped = adaptation.is_occluded(replace(view, scene=bare), wall)
        assert stopped.mean() < 0.01  # skirting boards


def test_sides_turned_away_from_the_lamp_are_no_shadow(lit):
    for view, mask, _, _ in lit:
        normals = view.normals @ view.camera.rotation.T
        lamp = np.array(view.scene.lights[0].position)
        assert (((lamp - world(view)) * normals).sum(-1)[mask] > -1e-3).all()


def test_slits_are_left_out_and_shapes_kept():
    mask = np.zeros((96, 256), bool)
    mask[10:30, 10:40] = True
    mask[10, 40:60] = True  # a tail of the same region
    mask[50, :200] = True
    mask[60:62, 5:90] = True
    mask[94:, 100:200] = True
    wanted = mask.copy()
    wanted[50:] = False
    np.testing.assert_array_equal(adaptation.remove_slits(mask), wanted)
    np.testing.assert_array_equal(adaptation.remove_slits(mask[::-1, ::-1]), wanted[::-1, ::-1])


# ---- highlight -----------------------------------------------------------------------------


def test_highlight_goes_from_one_fifth_of_the_light_to_the_ordinary_image():
    found = take('highlight', 6)
    source = ordinary(3, SIZE, ['depth'], views=1)
    for sample in found:
        full = next(source).frame.image.astype(int)
        assert isinstance(sample.label, ImageLabel)
        np.testing.assert_array_equal(sample.label.values, full.astype(np.float32) / 255)
        dim = sample.frame.image.astype(float)
        assert (dim <= full + 1).all()
        # Light adds up: a fifth of it, but where the full image clips, or glows by itself.
        plain = (full.max(-1) < 200) & (dim.max(-1) < 0.3 * full.max(-1) + 2)
        assert plain.mean() > 0.2
        assert np.median(np.abs(dim - full / 5)[plain]) <= 1


def test_emissive_materials_are_not_dimmed(renderer):
    windows = 0
    for number in range(20):
        for view in scene_views(renderer, 3, number, 'train', 1):
            dim = renderer.render_image(view.camera, adaptation.DIM).astype(float).mean(-1)
            full = view.image.astype(float).mean(-1)
            for name, low, high in (('window', 0.6, 1.0), ('wall', 0.1, 0.35)):
                seen = (view.category() == CATEGORIES.index(name)) & (full > 120)
                if seen.sum() > 100:
                    assert low < np.median(dim[seen] / full[seen]) <= high, name
                    windows += name == 'window'
    assert windows > 2


# ---- all -----------------------------------------------------------------------------------


def test_other_light_leaves_no_trace(renderer, lit):
    view = next(scene_views(renderer, 3, 2, 'train', 1))
    adaptation.render_unshadowed(renderer, view.camera)
    np.testing.assert_array_equal(renderer.render(view.camera).image, view.image)


def test_two_streams_draw_in_turn(renderer):
    one = adaptation.samples('floor', 3, SIZE, views=2)
    two = adaptation.samples('floor', 4, SIZE, views=2)
    mixed = [next(source) for _ in range(2) for source in (one, two)]
    one.close()
    mixed += [next(two), next(two)]
    alone = [*take('floor', 2, views=2), *take('floor', 4, seed=4, views=2)]
    for a, b in zip([mixed[k] for k in (0, 2, 1, 3, 4, 5)], alone, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.frame.image, b.frame.image)


@pytest.mark.parametrize('target', adaptation.TARGETS)
def test_the_same_seed_gives_the_same_and_masks_are_large_enough(target, renderer):
    one, two = take(target, 4), take(target, 4)
    for a, b in zip(one, two, strict=True):
        assert (a.name, a.prompt.task) == (b.name, target)
        assert a.name.startswith('train/3/')
        np.testing.assert_array_equal(a.frame.image, b.frame.image)
        np.testing.assert_array_equal(a.label.values, b.label.values)
        if isinstance(a.label, Mask):
            assert 0.01 <= a.label.values.mean() < 1
    assert take(target, 1, split='test')[0].name.startswith('test/3/')


def test_workers_share_the_rooms(renderer):
    names = [s.name for s in take('floor', 6)]
    shares = [[s.name for s in take('floor', 3, worker=w, workers=2)] for w in (0, 1)]
    assert not set(shares[0]) & set(shares[1])
    assert set(names[:3]) <= set(shares[0]) | set(shares[1])


@pytest.mark.parametrize(('wrong', 'says'), [
    ({'target': 'shadows'}, 'shadow'), ({'split': 'dev'}, 'dev'), ({'worker': 1}, '0 to 0'),
])  # fmt: skip
def test_invalid_options_raise(renderer, wrong, says):
    with pytest.raises(ValueError, match=says):
        next(adaptation.samples(**{'target': 'floor', 'seed': 0, 'size': SIZE, **wrong}))
