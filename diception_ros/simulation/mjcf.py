# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A scene as a MuJoCo model: its XML, and the textures and meshes that the XML names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.materials import Material
from diception_ros.simulation.assets.meshes import MeshPart
from diception_ros.simulation.assets.primitives import PrimitiveType, Rotation, about_z
from diception_ros.simulation.rooms import Light
from diception_ros.simulation.scenes import Scene

_TYPES = {
    PrimitiveType.BOX: ('box', 3),
    PrimitiveType.ELLIPSOID: ('ellipsoid', 3),
    PrimitiveType.CYLINDER: ('cylinder', 2),
    PrimitiveType.CAPSULE: ('capsule', 2),
}

# A flat box shows its texture on its two large faces, at its true scale; a chunky one gets a copy
# of the texture on each face. MuJoCo draws the first along the local x and y.
_FLAT = 0.25
_CYCLES: tuple[Rotation, ...] = (
    np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),  # thin along x: x' = y, y' = z
    np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),  # thin along y: x' = x, y' = z
    np.eye(3),
)

MODELS = 1  # MuJoCo's group of the geoms that are meshes

# Distances of the clipping planes, metres.
NEAR, FAR = 0.05, 30.0

# Up to this side faces are lit at few points: what OpenGL shades are corners, and each one costs.
_SMALL = 256


def model(
    scene: Scene, offscreen: tuple[int, int], samples: int, shadow: int
) -> tuple[str, dict[str, bytes], dict[str, NDArray[np.uint8]]]:
    """Write a scene for MuJoCo's compiler.

    Args:
        scene: the room.
        offscreen: (H, W) of the largest image, pixels.
        samples: of antialiasing, per pixel.
        shadow: side of the shadow map, pixels.

    Returns:
        The XML; the files it names, by their names; and textures (H, W, 3) uint8 RGB that are to
        be copied into the compiled model with `fill`, by their names. Geom k is primitive k of the
        scene.
    """
    numbers: dict[tuple[Material, bool], int] = {}
    geoms = []
    for k, material in enumerate(scene.materials):
        kind = PrimitiveType(int(scene.primitives.kind[k]))
        size, rotation = scene.primitives.size[k], scene.primitives.rotation[k]
        thin = int(size.argmin()) if kind == PrimitiveType.BOX else 2
        is_sheet = kind == PrimitiveType.BOX and size[thin] < _FLAT * np.median(size)
        # The lid of a flat cylinder, such as a clock's, is a sheet too.
        is_sheet |= kind == PrimitiveType.CYLINDER and size[1] < 0.1 * size[0]
        if kind == PrimitiveType.BOX and is_sheet:
            turn = _CYCLES[thin]
            size, rotation = np.abs(turn.T @ size), rotation @ turn
        number = numbers.setdefault((material, is_sheet), len(numbers))
        name, count = _TYPES[kind]
        geoms.append(
            f'<geom type="{name}" size="{_text(size[:count])}" '
            f'pos="{_text(scene.primitives.position[k])}" '
            f'xyaxes="{_text(rotation[:, 0])} {_text(rotation[:, 1])}" material="m{number}"/>'
        )
    files: dict[str, bytes] = {}
    meshes = _models(scene, files, textures := {}, geoms)
    painted: dict[Material, NDArray[np.uint8]] = {}
    assets = meshes
    for (material, is_sheet), number in numbers.items():
        if material.is_detailed:
            # MuJoCo is given a place to copy it to, which saves writing and reading a file.
            texture = painted.get(material)
            if texture is None:
                texture = painted[material] = material.texture()
            textures[f't{number}'] = texture
        assets.append(_material(material, is_sheet, number, files, textures.get(f't{number}')))
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
    return xml, files, textures


def fill(model: Any, textures: dict[str, NDArray[np.uint8]]) -> None:
    """Copy textures into a compiled model; a cube gets a copy on each of its faces."""
    for name, texture in textures.items():
        number = model.texture(name).id
        start = model.tex_adr[number]
        faces = model.tex_height[number] // len(texture)
        model.tex_data[start : start + faces * texture.size].reshape(faces, -1)[:] = (
            texture.ravel()
        )


def _models(
    scene: Scene, files: dict[str, bytes], textures: dict[str, NDArray[np.uint8]],
    geoms: list[str],
) -> list[str]:  # fmt: skip
    # One mesh and material for each piece of a model, however often it stands in the room.
    assets: list[str] = []
    names: dict[int, list[str]] = {}
    for placed in scene.meshes:
        model, place = placed.model, placed.place
        if id(model) not in names:
            names[id(model)] = [
                f'{model.entry.key.replace("/", "_")}_{k}' for k in range(len(model.pieces))
            ]
            for name, piece in zip(names[id(model)], model.pieces, strict=True):
                files[f'{name}.msh'] = _mesh(piece)
                look = f'specular="{piece.shine:.3g}" shininess="0.5"'
                if piece.texture is None:
                    look += f' rgba="{_text(piece.colour)} 1"'
                else:
                    high, wide = piece.texture.shape[:2]
                    textures[name] = piece.texture
                    look += f' texture="{name}"'
                    assets.append(f'<texture name="{name}" type="2d" builtin="flat" '
                                  f'width="{wide}" height="{high}"/>')  # fmt: skip
                assets.append(f'<mesh name="{name}" file="{name}.msh" inertia="shell"/>'
                              f'<material name="{name}" {look}/>')  # fmt: skip
        turn = about_z(place.yaw)
        geoms += [
            f'<geom type="mesh" mesh="{name}" material="{name}" group="{MODELS}" contype="0" '
            f'conaffinity="0" pos="{_text(place[:3])}" '
            f'xyaxes="{_text(turn[:, 0])} {_text(turn[:, 1])}"/>'
            for name in names[id(model)]
        ]
    return assets


def _mesh(piece: MeshPart) -> bytes:
    # MuJoCo's binary format: counts, then positions, normals, texture places and triangles.
    counts = [len(piece.vertices), len(piece.normals), 0, len(piece.faces)]
    parts = [piece.vertices.ravel(), piece.normals.ravel()]
    if piece.uvs is not None:
        counts[2] = len(piece.uvs)
        parts.append(piece.uvs.ravel())
    return b''.join((
        np.array(counts, '<i4').tobytes(), *(part.astype('<f4').tobytes() for part in parts),
        piece.faces.astype('<i4').tobytes(),
    ))  # fmt: skip


def _material(
    material: Material, is_sheet: bool, number: int, files: dict[str, bytes],
    painted: NDArray[np.uint8] | None,
) -> str:  # fmt: skip
    look = f'specular="{material.shine}" shininess="0.5" emission="{material.glow}"'
    if material.reflectance:
        look += f' reflectance="{material.reflectance}"'
    if material.pattern == 'flat':
        return f'<material name="m{number}" rgba="{_text(material.first)} 1" {look}/>'
    if painted is not None:
        source = f'builtin="flat" width="{painted.shape[1]}" height="{painted.shape[0]}"'
    else:
        file = f't{number}.png'
        # Level 0: these files live for milliseconds.
        level = [cv2.IMWRITE_PNG_COMPRESSION, 0]
        _, content = cv2.imencode('.png', material.texture()[..., ::-1], level)
        files[file] = content.tobytes()
        source = f'file="{file}"'
    kind = '2d' if is_sheet else 'cube'
    repeat = ''
    if is_sheet and material.scale:
        repeat = f'texuniform="true" texrepeat="{_text([1 / material.scale] * 2)}"'
    return (
        f'<texture name="t{number}" type="{kind}" {source}/>'
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
