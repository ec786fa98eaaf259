# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A scene as a MuJoCo model: its XML and the textures that the XML names."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from diception_ros.sim.materials import Material
from diception_ros.sim.rooms import Light
from diception_ros.sim.scenes import Scene
from diception_ros.sim.shapes import Kind, Rotation

_TYPES = {
    Kind.BOX: ('box', 3),
    Kind.ELLIPSOID: ('ellipsoid', 3),
    Kind.CYLINDER: ('cylinder', 2),
    Kind.CAPSULE: ('capsule', 2),
}

# A flat box shows its texture on its two large faces, at its true scale; a chunky one gets a copy
# of the texture on each face. MuJoCo draws the first along the local x and y.
_FLAT = 0.25
_CYCLES: tuple[Rotation, ...] = (
    np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),  # thin along x: x' = y, y' = z
    np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),  # thin along y: x' = x, y' = z
    np.eye(3),
)

# Distances of the clipping planes, metres.
NEAR, FAR = 0.05, 30.0

# Up to this side faces are lit at few points: what OpenGL shades are corners, and each one costs.
_SMALL = 256


def model(
    scene: Scene, offscreen: tuple[int, int], samples: int, shadow: int
) -> tuple[str, dict[str, bytes]]:
    """Write a scene for MuJoCo's compiler.

    Args:
        scene: the room.
        offscreen: (H, W) of the largest picture, pixels.
        samples: of antialiasing, per pixel.
        shadow: side of the shadow map, pixels.

    Returns:
        The XML; and the files it names, by their names. Geom k is primitive k of the scene.
    """
    numbers: dict[tuple[Material, bool], int] = {}
    geoms = []
    for k, material in enumerate(scene.materials):
        kind = Kind(int(scene.shapes.kind[k]))
        size, rotation = scene.shapes.size[k], scene.shapes.rotation[k]
        thin = int(size.argmin()) if kind == Kind.BOX else 2
        is_sheet = kind == Kind.BOX and size[thin] < _FLAT * np.median(size)
        # The lid of a flat cylinder, such as a clock's, is a sheet too.
        is_sheet |= kind == Kind.CYLINDER and size[1] < 0.1 * size[0]
        if kind == Kind.BOX and is_sheet:
            turn = _CYCLES[thin]
            size, rotation = np.abs(turn.T @ size), rotation @ turn
        number = numbers.setdefault((material, is_sheet), len(numbers))
        name, count = _TYPES[kind]
        geoms.append(
            f'<geom type="{name}" size="{_text(size[:count])}" '
            f'pos="{_text(scene.shapes.position[k])}" '
            f'xyaxes="{_text(rotation[:, 0])} {_text(rotation[:, 1])}" material="m{number}"/>'
        )
    files: dict[str, bytes] = {}
    assets = [_material(*key, number, files) for key, number in numbers.items()]
    lights = [_light(light) for light in scene.lights]
    height, width = offscreen
    extent = max(scene.walls.half_x, scene.walls.half_y)
    xml = (
        '<mujoco><visual>'
        f'<global offwidth="{width}" offheight="{height}"/>'
        f'<quality offsamples="{samples}" shadowsize="{shadow}" numslices="16" numstacks="10" '
        f'numquads="{2 if max(offscreen) <= _SMALL else 6}"/>'
        f'<map znear="{NEAR / extent}" zfar="{FAR / extent}" shadowclip="1.2" shadowscale="1"/>'
        f'<headlight ambient="{_text(scene.ambient)}" diffuse="0.18 0.18 0.18" '
        'specular="0 0 0"/>'
        f'</visual><statistic extent="{extent}" center="0 0 1"/>'
        f'<asset>{"".join(assets)}</asset>'
        f'<worldbody>{"".join(lights)}{"".join(geoms)}</worldbody></mujoco>'
    )
    return xml, files


def _material(material: Material, is_sheet: bool, number: int, files: dict[str, bytes]) -> str:
    look = f'specular="{material.shine}" shininess="0.5" emission="{material.glow}"'
    if material.pattern == 'flat':
        return f'<material name="m{number}" rgba="{_text(material.first)} 1" {look}/>'
    file = f't{number}.png'
    texture = material.texture()
    # Level 0: these files live for milliseconds.
    _, content = cv2.imencode('.png', texture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    files[file] = content.tobytes()
    kind = '2d' if is_sheet else 'cube'
    repeat = ''
    if is_sheet and material.scale:
        repeat = f'texuniform="true" texrepeat="{_text([1 / material.scale] * 2)}"'
    return (
        f'<texture name="t{number}" type="{kind}" file="{file}"/>'
        f'<material name="m{number}" texture="t{number}" {repeat} {look}/>'
    )


def _light(light: Light) -> str:
    kind = 'directional' if light.parallel else 'spot'
    # A lamp that casts shadows is a cone: the shadow map would be too coarse for a half space.
    cone = 'cutoff="72" exponent="1"' if light.shadow else 'cutoff="180" exponent="0"'
    return (
        f'<light type="{kind}" pos="{_text(light.position)}" dir="{_text(light.direction)}" '
        f'{cone} castshadow="{str(light.shadow).lower()}" '
        f'diffuse="{_text(light.colour)}" ambient="0 0 0" specular="0.3 0.3 0.3" '
        'attenuation="0.75 0.05 0.02"/>'
    )


def _text(numbers: Iterable[float]) -> str:
    return ' '.join(f'{number:.9g}' for number in numbers)
