# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A scene: one furnished room with people and lights, generated from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
import hashlib
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation import layout, rooms
from diception_ros.simulation import realism as realistic
from diception_ros.simulation.assets import NUMBERS, STUFF, meshes
from diception_ros.simulation.assets.materials import Material, sample_palette
from diception_ros.simulation.assets.meshes import FurnitureLibrary, MeshObject, PlacedMesh
from diception_ros.simulation.assets.people import Person
from diception_ros.simulation.assets.primitives import (
    Placement,
    Primitive,
    Primitives,
    PrimitiveType,
    SceneObject,
    about_z,
)
from diception_ros.simulation.layout import FloorPlan, Footprint, Walls
from diception_ros.simulation.realism import PLAIN, Realism
from diception_ros.simulation.rooms import Light

Split = Literal['train', 'validation', 'test']
SPLITS: tuple[Split, ...] = get_args(Split)

# Digits that are kept of metres and of rotations. The last bits of sine and cosine differ between
# machines; rounded values are equal.
_METRES, _TURNS = 6, 9

# Purposes of `generator` for what `Realism` adds, far above those of views.
_TEXTURES, _REFLECTIONS, _LIGHTING, _FURNITURE, _REALISM = range(1 << 20, (1 << 20) + 5)
_MESH_SHARE = 0.65  # of things that have a model of their kind, how many are one


@dataclass(frozen=True, eq=False)
class PersonJoints:
    """The joints of one person in the room.

    Attributes:
        instance: number of the person among the instances, from 1.
        joints: (17, 3) float64, metres, world, in the order of COCO_JOINTS.
        flesh: (17,) float64, metres: largest depth of the skin in front of a joint.
    """

    instance: int
    joints: NDArray[np.float64]
    flesh: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """One furnished room.

    Attributes:
        name: split, seed and number, from which `make_scene` makes it again.
        walls: the room's size.
        primitives: all primitives.
        instance: (N,) int64, the instance that each primitive belongs to, from 1.
        materials: N, what each primitive looks like.
        categories: of each instance, a name of `diception_ros.simulation.assets`;
            instance k is `categories[k - 1]`. The room's own parts are instances too.
        bodies: the people.
        lights: the lamps; the first casts shadows.
        ambient: RGB, light that comes from everywhere.
        obstacles: footprints that a camera keeps away from.
        realism: what was added to the plain room.
        meshes: things that are meshes; their instances have no primitives.
    """

    name: str
    walls: Walls
    primitives: Primitives
    instance: NDArray[np.int64]
    materials: tuple[Material, ...]
    categories: tuple[str, ...]
    bodies: tuple[PersonJoints, ...]
    lights: tuple[Light, ...]
    ambient: tuple[float, float, float]
    obstacles: tuple[Footprint, ...]
    realism: Realism = PLAIN
    meshes: tuple[PlacedMesh, ...] = ()

    @cached_property
    def solids(self) -> tuple[Primitives, NDArray[np.int64]]:
        """All primitives and, for each model, the box around it; and the instance of each.

        For rays that judge views, where the room a thing takes is enough.
        """
        if not self.meshes:
            return self.primitives, self.instance
        sizes = np.array([model.model.entry.size for model in self.meshes])
        places = np.array([model.place[:3] for model in self.meshes])
        boxes = Primitives(
            np.full(len(sizes), int(PrimitiveType.BOX)),
            sizes / 2,
            places + sizes * [0, 0, 0.5],
            np.array([about_z(model.place.yaw) for model in self.meshes]),
        )
        joined = [np.concatenate([getattr(self.primitives, name), getattr(boxes, name)])
                  for name in ('kind', 'size', 'position', 'rotation')]  # fmt: skip
        numbers = np.array([model.instance for model in self.meshes])
        return Primitives(*joined), np.concatenate([self.instance, numbers])

    @property
    def is_thing(self) -> NDArray[np.bool_]:
        """(M + 1,) bool: whether each instance is an object, no part of the room; 0 is none."""
        return np.array([False, *(name not in STUFF for name in self.categories)])

    @property
    def category_numbers(self) -> NDArray[np.int64]:
        """(M + 1,) int64: category number of each instance; that of 'no instance' is 0."""
        return np.array([0, *(NUMBERS[name] for name in self.categories)])

    def digest(self) -> str:
        """SHA-256 of the whole description: equal on every machine for equal seeds."""
        seen = hashlib.sha256()
        shapes = self.primitives
        arrays = (shapes.kind, shapes.size, shapes.position, shapes.rotation, self.instance)
        for array in (*arrays, *(body.joints for body in self.bodies)):
            # -0.0 and 0.0 are the same place, but not the same bytes.
            seen.update((array.astype('<f8') + 0.0).tobytes())
        seen.update(repr((self.materials, self.categories, self.lights, self.ambient)).encode())
        for model in self.meshes:
            seen.update(repr((model.model.entry.key, model.place, model.instance)).encode())
        return seen.hexdigest()


def rng_for(seed: int, number: int, split: Split, purpose: int) -> np.random.Generator:
    """The random generator of one scene for one purpose.

    Generators of different splits, seeds, numbers and purposes are independent, whatever was drawn
    from the others.

    Raises:
        ValueError: a seed or number below 0, or no such split.
    """
    if seed < 0 or number < 0 or split not in SPLITS:
        raise ValueError(
            f'scene: expected seed and number >= 0 and a split of {", ".join(SPLITS)}, '
            f'got {seed}, {number}, {split!r}'
        )
    key = (SPLITS.index(split), seed, number, purpose)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def make_scene(seed: int, number: int, split: Split = 'train', realism: Realism = PLAIN) -> Scene:
    """Generate one room with everything in it.

    Returns:
        The same scene, bit for bit, on every machine.

    Raises:
        ValueError: see `rng_for`.
    """
    rng = rng_for(seed, number, split, purpose=0)
    realism = realism.sample(rng_for(seed, number, split, _REALISM))
    colors = sample_palette(rng)
    walls = rooms.sample_walls(rng)
    plan = FloorPlan(walls)
    objects: list[tuple[SceneObject, Placement]] = list(rooms.room_shell(walls, colors))
    swap, library = layout.keep, None
    if realism.furniture:
        library = meshes.load_library(realism.furniture)
        chance = rng_for(seed, number, split, _FURNITURE)
        swap = partial(_swapped, chance, library)
    furniture = layout.place_furniture(rng, colors, plan, swap)
    people = layout.place_people(rng, colors, plan, furniture)
    objects += [*furniture, *rooms.place_on_walls(rng, colors, plan)]
    objects += [*layout.place_on_surfaces(rng, colors, furniture, people, swap)]
    objects += [*layout.place_on_floor(rng, colors, plan, swap)]
    if library is not None:
        objects += [*layout.furniture_models(chance, library, plan)]
    first_person = len(objects) + 1
    objects += [(person.obj, place) for person, place in people]
    bodies = tuple(
        _person_joints(person, place, first_person + k) for k, (person, place) in enumerate(people)
    )
    parts = [(part, k) for k, (obj, place) in enumerate(objects, 1) for part in obj.placed(place)]
    lights, ambient = rooms.sample_lights(rng, walls)
    if not realism.is_plain:
        named = [objects[k - 1][0].category for _, k in parts]
        shown = [part for part, _ in parts]
        dresser = partial(rng_for, seed, number, split)
        if realism.textures:
            shown = realistic.apply_textures(dresser(_TEXTURES), shown, named)
        if realism.reflections:
            shown = realistic.apply_reflections(dresser(_REFLECTIONS), shown, named)
        if realism.lighting:
            lights, ambient = realistic.apply_lighting(dresser(_LIGHTING), walls, lights, ambient)
        parts = [(part, k) for part, (_, k) in zip(shown, parts, strict=True)]
    return Scene(
        f'{split}/{seed}/{number}',
        walls,
        _stack_primitives([part for part, _ in parts]),
        np.array([k for _, k in parts]),
        tuple(part.material for part, _ in parts),
        tuple(obj.category for obj, _ in objects),
        bodies,
        lights,
        ambient,
        tuple(plan.reserved),
        realism,
        tuple(
            PlacedMesh(obj.model, place, k)
            for k, (obj, place) in enumerate(objects, 1)
            if isinstance(obj, MeshObject) and obj.model is not None
        ),
    )


def _swapped(
    chance: np.random.Generator, library: FurnitureLibrary, thing: SceneObject
) -> SceneObject:
    return library.substitute(chance, thing) if chance.uniform() < _MESH_SHARE else thing


def _person_joints(person: Person, place: Placement, instance: int) -> PersonJoints:
    joints = person.joints @ about_z(place.yaw).T + np.array([place.x, place.y, place.z])
    return PersonJoints(instance, joints.round(_METRES), person.flesh.round(_METRES))


def _stack_primitives(parts: list[Primitive]) -> Primitives:
    return Primitives(
        np.array([int(part.kind) for part in parts]),
        np.array([part.size for part in parts]).round(_METRES),
        np.array([part.position for part in parts]).round(_METRES),
        np.array([part.rotation for part in parts]).round(_TURNS),
    )
