# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Layout of a room: furniture by its use, objects on it, people; and the floor plan they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np

from diception_ros.simulation.assets import furniture as make
from diception_ros.simulation.assets import small_objects as things
from diception_ros.simulation.assets.materials import Palette, pick, seed
from diception_ros.simulation.assets.meshes import FurnitureLibrary, MeshObject
from diception_ros.simulation.assets.people import Person, Posture, person
from diception_ros.simulation.assets.primitives import Placement, SceneObject, Surface, about_z


class Footprint(NamedTuple):
    """A rectangle on the floor that an object occupies, metres, world.

    Attributes:
        x: of its middle.
        y: of its middle.
        half_x: half length along its own x.
        half_y: half length along its own y.
        yaw: of its x, radians.
        low: height of its lower end; people and cameras fit below a high one.
        high: height of its upper end.
    """

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float
    low: float
    high: float

    def distance(self, x: float, y: float) -> float:
        """Distance of a point to the rectangle, metres; 0 inside."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        outside_x = abs(c * dx + s * dy) - self.half_x
        outside_y = abs(c * dy - s * dx) - self.half_y
        return math.hypot(max(outside_x, 0.0), max(outside_y, 0.0))

    def overlaps(self, other: Footprint, gap: float = 0.0) -> bool:
        """Whether two rectangles are closer than a gap (separating axis test)."""
        for item in (self, other):
            for turn in (0.0, math.pi / 2):
                c, s = math.cos(item.yaw + turn), math.sin(item.yaw + turn)
                apart = abs(c * (other.x - self.x) + s * (other.y - self.y))
                if apart > self.extent(c, s) + other.extent(c, s) + gap:
                    return False
        return True

    def extent(self, c: float, s: float) -> float:
        """Half its length along the direction (c, s)."""
        a, b = math.cos(self.yaw), math.sin(self.yaw)
        return self.half_x * abs(a * c + b * s) + self.half_y * abs(a * s - b * c)


@dataclass(frozen=True)
class Walls:
    """A rectangular room about the origin, metres.

    Attributes:
        half_x: half its length along x.
        half_y: half its length along y.
        height: of the ceiling.
    """

    half_x: float
    half_y: float
    height: float

    def holds(self, footprint: Footprint, margin: float = 0.0) -> bool:
        """Whether a footprint lies inside, this far from the walls."""
        return (
            abs(footprint.x) + footprint.extent(1, 0) + margin <= self.half_x + 1e-9
            and abs(footprint.y) + footprint.extent(0, 1) + margin <= self.half_y + 1e-9
        )

    def against(self, wall: int, along: float, depth: float) -> Placement:
        """Placement of an object with its back to a wall.

        Args:
            wall: 0 to 3: the walls at -x, +x, -y, +y.
            along: metres along the wall, 0 in its middle.
            depth: metres from the wall to the middle of the object.
        """
        x, y = self.half_x - depth, self.half_y - depth
        return (
            Placement(-x, along, 0, 0),
            Placement(x, along, 0, math.pi),
            Placement(along, -y, 0, math.pi / 2),
            Placement(along, y, 0, -math.pi / 2),
        )[wall]

    def length(self, wall: int) -> float:
        """Half the length of a wall, metres."""
        return self.half_y if wall < 2 else self.half_x


class FloorPlan:
    """The free floor of a room while it is furnished."""

    def __init__(self, walls: Walls) -> None:
        self.walls = walls
        self.reserved: list[Footprint] = []

    def reserve(
        self, place: Placement, half: tuple[float, float], height: float, gap: float = 0.05
    ) -> bool:
        """Reserve a placement if it is free; False if it is not."""
        wanted = Footprint(place.x, place.y, *half, place.yaw, place.z, place.z + height)
        if not self.walls.holds(wanted) or any(wanted.overlaps(t, gap) for t in self.reserved):
            return False
        self.reserved.append(wanted)
        return True

    def beside_wall(
        self, rng: np.random.Generator, half: tuple[float, float], height: float, tries: int = 12
    ) -> Placement | None:
        """Find and reserve a placement against a wall; None if there is none."""
        for _ in range(tries):
            wall = int(rng.integers(4))
            reach = self.walls.length(wall) - half[1] - 0.02
            along = rng.uniform(-1, 1)
            if reach < 0:
                continue
            place = self.walls.against(wall, along * reach, half[0] + 0.015)
            if self.reserve(place, half, height):
                return place
        return None

    def anywhere(
        self, rng: np.random.Generator, half: tuple[float, float], height: float,
        margin: float = 0.1, tries: int = 12,
    ) -> Placement | None:  # fmt: skip
        """Find and reserve a placement at any heading; None if there is none."""
        for _ in range(tries):
            x = rng.uniform(-1, 1) * (self.walls.half_x - margin)
            y = rng.uniform(-1, 1) * (self.walls.half_y - margin)
            place = Placement(x, y, 0, rng.uniform(-math.pi, math.pi))
            if self.reserve(place, half, height, margin):
                return place
        return None


# Draws an object with its sizes and materials.
Builder = Callable[[np.random.Generator, Palette], SceneObject]
_Placed = tuple[SceneObject, Placement]
# Is given a thing of primitives and returns what takes its place.
Swap = Callable[[SceneObject], SceneObject]


def keep(thing: SceneObject) -> SceneObject:
    """Return the thing itself."""
    return thing


# Postures of people who do not sit.
_POSTURES: tuple[Posture, ...] = ('stand', 'stand', 'walk', 'walk', 'reach', 'bend')

# Furniture of each kind of room: along its walls, and free-standing.
_USES: tuple[tuple[tuple[Builder, ...], tuple[Builder, ...]], ...] = (
    (
        (make.couch, make.shelf, make.cabinet, make.lamp, make.plant, make.couch),
        (make.low_table, make.couch),
    ),
    ((make.bed, make.cabinet, make.cabinet, make.desk, make.lamp, make.plant), (make.couch,)),
    (
        (make.counter, make.refrigerator, things.oven, make.cabinet, make.plant),
        (make.dining_table,),
    ),
    (
        (make.desk, make.shelf, make.cabinet, make.desk, make.plant, make.shelf),
        (make.desk, make.low_table),
    ),
    (
        (make.cabinet, make.shelf, make.plant, make.lamp, make.couch),
        (make.dining_table, make.dining_table),
    ),
    (
        (make.bench, make.shelf, make.cabinet, make.plant, make.bench, make.couch),
        (make.low_table, make.chair),
    ),
)

# Objects that stand on each kind of furniture.
_ON: dict[str, tuple[Builder, ...]] = {
    'dining table': (
        things.bowl, things.cup, things.cup, things.bottle, things.wine_glass, things.fruit,
        things.fruit, things.vase, things.book, things.laptop,
    ),
    'desk': (
        things.laptop, things.monitor, things.keyboard, things.mouse, things.cup, things.book,
        things.book, things.phone, things.table_lamp, things.small_plant,
    ),
    'table': (
        things.cup, things.book, things.phone, things.bowl, things.fruit, things.vase,
        things.small_plant, things.laptop,
    ),
    'counter': (
        things.bottle, things.bottle, things.bowl, things.cup, things.cup, things.fruit,
        things.vase, things.microwave,
    ),
    'cabinet': (
        things.vase, things.small_plant, things.table_lamp, things.book, things.teddy,
        things.bottle, things.monitor, things.box,
    ),
    'shelf': (
        things.vase, things.small_plant, things.teddy, things.bowl, things.box, things.ball,
        things.bottle,
    ),
    'bed': (things.teddy, things.book, things.laptop, things.backpack, things.phone),
}  # fmt: skip

_ON_FLOORS: tuple[Builder, ...] = (
    things.box, things.box, things.ball, things.ball, things.backpack, things.suitcase,
    things.teddy,
)  # fmt: skip


def place_furniture(
    rng: np.random.Generator, palette: Palette, plan: FloorPlan, swap: Swap = keep
) -> list[_Placed]:
    """Draw the use of the room and furnish it; takes what it stands on from the plan.

    `swap` is given every object that was made and returns what takes its place.
    """
    at_walls, inside = _USES[int(rng.integers(len(_USES)))]
    placed: list[_Placed] = []
    wanted = 2 + int(rng.integers(2, 6))
    for k in range(wanted):
        # The first two define the use of the room.
        builder = at_walls[k if k < 2 else int(rng.integers(len(at_walls)))]
        obj = swap(builder(rng, palette))
        place = plan.beside_wall(rng, obj.half, obj.height)
        if place is not None:
            placed.append((obj, place))
            if obj.category == 'desk':
                placed += _chairs(rng, palette, plan, obj, place, 1, swap)
    for _ in range(int(rng.integers(1, 3))):
        obj = swap(inside[int(rng.integers(len(inside)))](rng, palette))
        place = plan.anywhere(rng, obj.half, obj.height, margin=0.35)
        if place is not None:
            placed.append((obj, place))
            if obj.category in ('dining table', 'desk'):
                count = int(rng.integers(1, 5))
                placed += _chairs(rng, palette, plan, obj, place, count, swap)
    if rng.uniform() < 0.4:
        placed.append(_rug(rng, palette, plan))
    return placed


def place_people(
    rng: np.random.Generator, palette: Palette, plan: FloorPlan, furnished: list[_Placed]
) -> list[tuple[Person, Placement]]:
    """Place none to four people; some sit on seats of the furniture."""
    seats = [(obj, place, seat) for obj, place in furnished for seat in obj.seats]
    out: list[tuple[Person, Placement]] = []
    for _ in range((0, 1, 1, 1, 2, 2, 2, 3, 4)[int(rng.integers(9))]):
        if seats and rng.uniform() < 0.4:
            obj, place, seat = seats.pop(int(rng.integers(len(seats))))
            yaw = place.yaw + (math.pi / 2 if obj.category == 'bed' else rng.uniform(-0.2, 0.2))
            shift = about_z(place.yaw) @ [seat.x, seat.y, 0]
            at = Placement(place.x + float(shift[0]), place.y + float(shift[1]), 0, yaw)
            sitting = person(rng, palette, 'sit', seat.z)
            # Feet and knees need space: a table right in front of the seat would cut them off.
            ahead = about_z(yaw) @ [0.45, 0, 0]
            if all(
                other.distance(at.x + float(ahead[0]), at.y + float(ahead[1])) > 0.12
                for other in plan.reserved
                if other.distance(at.x, at.y) > 0 and other.low < 0.4
            ):
                out.append((sitting, at))
            continue
        posture = _POSTURES[int(rng.integers(len(_POSTURES)))]
        somebody = person(rng, palette, posture)
        # Arms that reach out need space in front of walls and shelves.
        room = 0.3 if posture == 'stand' else 0.5
        spot = plan.anywhere(rng, (0.24, 0.26), somebody.obj.height, margin=room)
        if spot is not None:
            out.append((somebody, spot))
    return out


def place_on_surfaces(
    rng: np.random.Generator, palette: Palette, furnished: list[_Placed],
    crowd: list[tuple[Person, Placement]], swap: Swap = keep,
) -> Iterator[_Placed]:  # fmt: skip
    """Place objects on tables, boards, counters and beds."""
    for obj, place in furnished:
        if obj.category == 'bed' and any(
            math.hypot(at.x - place.x, at.y - place.y) < 1.2 for _, at in crowd
        ):
            continue
        for surface in obj.surfaces:
            if obj.category == 'shelf' and rng.uniform() < 0.6:
                yield from _row_of_books(rng, palette, surface, place)
                continue
            if obj.category == 'counter':
                first: tuple[Builder, ...] = (things.sink,)
                count = int(rng.integers(2, 6))
            else:
                first, count = (), int(rng.integers(0, 3 if obj.category == 'shelf' else 6))
            yield from _scatter(rng, palette, surface, place, first, _ON[obj.category], count,
                                swap)  # fmt: skip


def place_on_floor(
    rng: np.random.Generator, palette: Palette, plan: FloorPlan, swap: Swap = keep
) -> Iterator[_Placed]:
    """Place boxes, balls and bags on the free floor."""
    for _ in range(int(rng.integers(1, 6))):
        obj = swap(_ON_FLOORS[int(rng.integers(len(_ON_FLOORS)))](rng, palette))
        place = plan.anywhere(rng, obj.half, obj.height, margin=0.08, tries=6)
        if place is not None:
            yield obj, place


def _chairs(
    rng: np.random.Generator, palette: Palette, plan: FloorPlan, table: SceneObject,
    at: Placement, count: int, swap: Swap,
) -> list[_Placed]:  # fmt: skip
    # Chairs of one kind, each at one side of the table, facing it.
    kind = seed(rng)
    out: list[_Placed] = []
    chair: SceneObject | None = None
    for k in range(count):
        if not isinstance(chair, MeshObject):
            chair = swap(make.chair(np.random.Generator(np.random.PCG64(kind)), palette))
        side = 0 if count == 1 else k % 4
        angle = at.yaw + side * math.pi / 2 + rng.uniform(-0.15, 0.15)
        gap = table.half[side % 2] + chair.half[0] + rng.uniform(0.0, 0.25)
        x, y = at.x + gap * math.cos(angle), at.y + gap * math.sin(angle)
        place = Placement(x, y, 0, angle + math.pi + rng.uniform(-0.3, 0.3))
        if plan.reserve(place, chair.half, chair.height, gap=0.0):
            out.append((chair, place))
    return out


def _rug(rng: np.random.Generator, palette: Palette, plan: FloorPlan) -> _Placed:
    x, y = rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.2)
    walls = plan.walls
    most = 0.7 * min(walls.half_x, walls.half_y)
    half = (min(x, most), min(y, most))
    rug = SceneObject('rug', half, 0.012)
    rug.box(pick(rng, palette.fabric), (0, 0, 0.006), (*half, 0.006))
    quarter = int(rng.integers(2)) * math.pi / 2
    x, y = rng.uniform(-0.2, 0.2) * walls.half_x, rng.uniform(-0.2, 0.2) * walls.half_y
    return rug, Placement(x, y, 0, quarter)


def _row_of_books(
    rng: np.random.Generator, palette: Palette, surface: Surface, at: Placement
) -> Iterator[_Placed]:
    y, end = -surface.half_y, surface.half_y - rng.uniform(0, 1.2) * surface.half_y
    while True:
        volume = things.standing_book(rng, palette)
        y += volume.half[1]
        if y + volume.half[1] > end:
            return
        if volume.height < surface.room:
            yield volume, _on(at, surface, rng.uniform(-0.01, 0.01), y, 0)
        y += volume.half[1] + (0.0 if rng.uniform() < 0.85 else 0.06)


def _scatter(
    rng: np.random.Generator, palette: Palette, surface: Surface, at: Placement,
    first: tuple[Builder, ...], builders: tuple[Builder, ...], count: int, swap: Swap,
) -> Iterator[_Placed]:  # fmt: skip
    circles: list[tuple[float, float, float]] = []
    for k in range(count):
        builder = first[k] if k < len(first) else builders[int(rng.integers(len(builders)))]
        obj = swap(builder(rng, palette))
        radius = math.hypot(*obj.half)
        for _ in range(6):
            free_x, free_y = surface.half_x - obj.half[0], surface.half_y - obj.half[1]
            x, y = rng.uniform(-1, 1) * free_x, rng.uniform(-1, 1) * free_y
            if free_x < 0 or free_y < 0 or obj.height > surface.room:
                break
            if all(math.hypot(x - a, y - b) > radius + r + 0.01 for a, b, r in circles):
                circles.append((x, y, radius))
                # Screens and sinks face who stands there; the rest lies as it was put down.
                is_set = obj.category in ('tv', 'laptop', 'keyboard', 'sink', 'microwave')
                turn = rng.uniform(-0.2, 0.2) if is_set else rng.uniform(-math.pi, math.pi)
                if obj.category in ('sink', 'microwave') or (
                    not is_set and radius > surface.half_x
                ):
                    turn = 0.0
                yield obj, _on(at, surface, x, y, turn)
                break


def _on(at: Placement, surface: Surface, x: float, y: float, turn: float) -> Placement:
    # The place in the room of what stands at (x, y) on a surface of something at a place.
    shift = about_z(at.yaw) @ [surface.x + x, surface.y + y, 0]
    return Placement(
        at.x + float(shift[0]), at.y + float(shift[1]), at.z + surface.z, at.yaw + turn
    )


def furniture_models(
    rng: np.random.Generator, library: FurnitureLibrary, plan: FloorPlan
) -> Iterator[_Placed]:
    """Models of what no builder makes: on the floor, on tables, and now and then somebody."""
    for _ in range(int(rng.integers(1, 5))):
        thing = library.sample(rng, library.large if rng.uniform() < 0.7 else library.small)
        yield from _standing(rng, thing, plan)
    if rng.uniform() < 0.3:
        for _ in range(int(rng.integers(1, 3))):
            yield from _standing(
                rng, library.sample(rng, library.by_category.get('person', [])), plan
            )


def _standing(
    rng: np.random.Generator, thing: SceneObject | None, plan: FloorPlan
) -> Iterator[_Placed]:
    if thing is None:
        return
    place = (
        plan.beside_wall(rng, thing.half, thing.height)
        if rng.uniform() < 0.4 and thing.height > 0.4
        else plan.anywhere(rng, thing.half, thing.height, margin=0.08)
    )
    if place is not None:
        yield thing, place
