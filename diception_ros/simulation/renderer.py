# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders scenes with MuJoCo: colours by OpenGL, geometry exactly.

OpenGL gives the primitive that each pixel shows. Depth and normals are then computed from the
equation of that primitive: the depth buffer and the facets of a graphics card only approximate it.
"""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import ctypes.util
from dataclasses import dataclass
import importlib.util
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.materials import Material
from diception_ros.simulation.assets.meshes import MeshPart
from diception_ros.simulation.assets.primitives import (
    PrimitiveType,
    Rotation,
    about_z,
    first_hit,
    intersect,
)
from diception_ros.simulation.rooms import Light
from diception_ros.simulation.scenes import Scene
from diception_ros.simulation.views import View

if TYPE_CHECKING:
    from types import TracebackType

    import mujoco
    from typing_extensions import Self

    from diception_ros.simulation.cameras import PinholeCamera

BACKENDS = ('egl', 'osmesa')
_PACKAGES = {
    'egl': ('EGL', 'libegl1 libegl-mesa0 libgl1-mesa-dri'),
    'osmesa': ('OSMesa', 'libosmesa6'),
}


def open_gl_context(
    size: tuple[int, int], backend: str | None = None
) -> tuple[Any, mujoco.GLContext]:
    """Open an OpenGL context without a screen and make it current.

    Args:
        size: (H, W) of the largest image, pixels.
        backend: 'egl' (a graphics card, or Mesa's software) or 'osmesa' (software only); None
            takes the environment variable MUJOCO_GL, and 'egl' where it is not set. MuJoCo can
            load only one of them per process.

    Returns:
        The module mujoco, which must not be imported before the backend is known, and the context.

    Raises:
        ImportError: MuJoCo is not installed.
        ValueError: no such backend, or this process has already loaded another.
        OSError: the library is missing or finds no device; the message names the packages.
    """
    wanted = backend or os.environ.get('MUJOCO_GL') or 'egl'
    if wanted not in BACKENDS:
        raise ValueError(f'OpenGL backend {wanted!r}: expected one of {", ".join(BACKENDS)}')
    if 'mujoco' in sys.modules:
        # The module that contexts come from: mujoco.egl, mujoco.osmesa or mujoco.glfw.
        loaded = sys.modules['mujoco'].GLContext.__module__.rpartition('.')[2]
        if loaded != wanted:
            raise ValueError(
                f'OpenGL backend {wanted!r}: MuJoCo was already loaded with {loaded!r} in this '
                'process; set MUJOCO_GL before it is imported'
            )
    os.environ['MUJOCO_GL'] = wanted
    name, packages = _PACKAGES[wanted]
    if wanted == 'osmesa':
        # PyOpenGL decides once, when it is imported.
        os.environ['PYOPENGL_PLATFORM'] = 'osmesa'
    missing = OSError(
        f'simulation needs {name}, which cannot be loaded here; on Debian and Ubuntu: '
        f'apt-get install {packages}'
    )
    if ctypes.util.find_library(name) is None:
        raise missing
    _preload_triton()
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise ImportError(f'simulation needs MuJoCo ({error})', name=error.name) from error
    except (ImportError, AttributeError) as error:  # what PyOpenGL raises on a half-installed GL
        raise missing from error
    try:
        opened = mujoco.GLContext(size[1], size[0])
        opened.make_current()
    except Exception as error:
        # Each backend raises its own types; all mean that no device was found.
        raise missing from error
    return mujoco, opened


def _preload_triton() -> None:
    """Load the compiler of a torch with CUDA, if there is one, before that of Mesa.

    Both contain LLVM, and Mesa exports its own to all libraries that are loaded later: torch would
    crash when it imports triton (torch 2.13, triton 3.7, Mesa 22.3).
    """
    spec = None if 'triton' in sys.modules else importlib.util.find_spec('triton')
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in Path(folder, '_C').glob('libtriton*.so'):
            with contextlib.suppress(OSError):  # then it is of no use to torch either
                ctypes.CDLL(str(library))


# What MuJoCo calls the colours of a light.
_LIGHT = ('ambient', 'diffuse', 'specular')


@dataclass(frozen=True)
class LightLevels:
    """Brightness of a room, relative to its scene.

    Attributes:
        caster: the lamp that casts shadows.
        others: all other lamps, the sun, and ambient light.
        ceiling: the glow of the ceiling, which stands for light reflected by the floor.
        glow: of luminous objects: windows, screens, lampshades.
    """

    caster: float = 1.0
    others: float = 1.0
    ceiling: float = 1.0
    glow: float = 1.0


FULL_LIGHT = LightLevels()


class Renderer:
    """Renders images of scenes, up to a size.

    Holds an OpenGL context, which belongs to the thread that made it; use one per process.

    Args:
        size: (H, W) of the largest image, pixels.
        backend: see `renderer.open_gl_context`.
        samples: of antialiasing, per pixel; 0 for none.
        shadow: side of the shadow map, pixels; None for one that suits the size. On a CPU it costs
            more time than the image itself.

    Raises:
        ImportError, ValueError, OSError: see `renderer.open_gl_context`.
    """

    def __init__(
        self, size: tuple[int, int], backend: str | None = None, samples: int = 4,
        shadow: int | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self._samples = samples
        self._shadow = shadow or min(2048, max(512, 4 * max(size)))
        self._mujoco, self._gl = open_gl_context(size, backend)
        self._context: Any = None
        self._scene: Scene | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None
        self._gl.free()

    def load(self, scene: Scene) -> None:
        """Load a scene onto the graphics card; takes as long as several views."""
        mj = self._mujoco
        xml, files, textures = mujoco_model(scene, self.size, self._samples, self._shadow)
        model = mj.MjModel.from_xml_string(xml, files)
        fill_textures(model, textures)
        data = mj.MjData(model)
        mj.mj_forward(model, data)
        self._gl.make_current()
        if self._context is not None:
            self._context.free()
        try:
            self._context = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_50)
        except mj.FatalError as error:
            height, width = self.size
            raise ValueError(
                f'OpenGL cannot draw {width}x{height} pixels ({error}); expected smaller images'
            ) from error
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._visual = mj.MjvScene(model, maxgeom=model.ngeom + 10)
        mj.mjv_updateScene(
            model, data, mj.MjvOption(), None, mj.MjvCamera(), mj.mjtCatBit.mjCAT_ALL, self._visual
        )
        # From the ids that MuJoCo renders to primitives of the scene.
        self._shape = np.full(self._visual.ngeom + 1, -1, np.int64)
        for geom in self._visual.geoms[: self._visual.ngeom]:
            if geom.objtype == mj.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                self._shape[geom.segid + 1] = geom.objid
        lights = self._visual.lights[: self._visual.nlight]
        self._lamps = [
            (light, [np.array(getattr(light, name)) for name in _LIGHT]) for light in lights
        ]
        self._model, self._data = model, data
        # Of every geom: primitives first, then the pieces of models.
        self._instance = np.concatenate([
            scene.instance,
            *([placed.instance] * len(placed.model.pieces) for placed in scene.meshes),
        ]).astype(np.int64)  # fmt: skip
        self._glowing = [
            (geom, geom.emission, scene.categories[self._instance[geom.objid] - 1] == 'ceiling')
            for geom in self._visual.geoms[: self._visual.ngeom]
            if geom.objtype == mj.mjtObj.mjOBJ_GEOM and geom.emission > 0
        ]
        # Meshes have no inside: both sides of their triangles are drawn.
        self._visual.flags[mj.mjtRndFlag.mjRND_CULL_FACE] = not scene.meshes
        self._mirrors = any(material.reflectance for material in scene.materials)
        self._scene = scene

    def render(self, camera: PinholeCamera, supersampling: int = 1) -> View:
        """Render image and ground truth of the loaded scene.

        Args:
            camera: where it is seen from.
            supersampling: how many pixels are drawn along each side of a pixel; from 2 on the
                view also holds the image of all of them, and its image is the mean of that.

        Raises:
            RuntimeError: no scene was loaded.
            ValueError: the camera's image, times `supersampling`, is larger than the renderer's.
        """
        supersampled = (
            self.render_image(camera.scaled(supersampling)) if supersampling > 1 else None
        )
        if supersampled is None:
            image = self.render_image(camera)
        else:
            height, width = camera.size
            mean = cv2.resize(supersampled, (width, height), interpolation=cv2.INTER_AREA)
            image = np.asarray(mean, np.uint8)
            self._aim(camera)
        scene = self._scene
        assert scene is not None
        painted = self._draw(camera.size, ids=True).astype(np.int64)
        number = painted[..., 0] + 256 * painted[..., 1] + 65536 * painted[..., 2]
        shape = self._shape[np.minimum(number, len(self._shape) - 1)]
        count = len(scene.instance)
        depth, normals = hit_geometry(scene, camera, np.where(shape < count, shape, -1))
        instance = np.where(shape < 0, 0, self._instance[shape]).astype(np.int32)
        if (shape >= count).any():
            self._surface_of_models(camera, shape >= count, depth, normals, instance)
        return View(scene, camera, image, depth, normals, instance, supersampled)

    def _surface_of_models(
        self, camera: PinholeCamera, mine: NDArray[np.bool_], depth: NDArray[np.float32],
        normals: NDArray[np.float32], instance: NDArray[np.int32],
    ) -> None:  # fmt: skip
        # Where rays intersect the triangles of meshes, in the pixels that show one.
        scene = self._scene
        assert scene is not None
        rays = camera.rays()[mine.ravel()]
        distance, geom, normal = self._cast(camera.position, rays)
        seen_instance = np.where(geom < 0, 0, self._instance[geom])
        # At outlines OpenGL may paint a mesh that the pixel's ray just misses, or another one:
        # there the ray decides what the pixel shows.
        wrong = np.flatnonzero(seen_instance != instance[mine])
        if wrong.size:
            shape, nearest = first_hit(scene.primitives, camera.position, rays[wrong])
            nearer = wrong[nearest < distance[wrong]]
            if nearer.size:
                shape = shape[nearest < distance[wrong]]
                t, n, _ = intersect(scene.primitives, shape, camera.position, rays[nearer])
                distance[nearer], normal[nearer] = t, n
                seen_instance[nearer] = scene.instance[shape]
        normal[np.einsum('pi,pi->p', normal, rays) > 0] *= -1
        known = np.isfinite(distance)
        depth[mine] = np.where(known, distance, np.nan)
        normals[mine] = np.where(known[:, None], normal @ camera.rotation, np.nan)
        instance[mine] = np.where(known, seen_instance, 0)

    def _cast(
        self, origin: NDArray[np.float64], rays: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
        # The first mesh that each ray meets: (P,) lengths of the ray, (P,) geom, (P, 3) normal.
        mj = self._mujoco
        group = np.zeros(6, np.uint8)
        group[_MESH_GROUP] = 1
        length = np.linalg.norm(rays, axis=1)
        geom, distance = np.full(len(rays), -1, np.int32), np.full(len(rays), -1.0)
        normal = np.zeros((len(rays), 3))
        mj.mj_multiRay(
            self._model, self._data, origin, (rays / length[:, None]).ravel(), group, 1, -1, geom,
            distance, normal.ravel(), len(rays), 1e10,
        )  # fmt: skip
        return np.where(geom < 0, np.inf, distance / length), geom, normal

    def render_image(
        self, camera: PinholeCamera, levels: LightLevels = FULL_LIGHT, shadows: bool = True
    ) -> NDArray[np.uint8]:
        """Render only the image, optionally with other light.

        Returns:
            (H, W, 3) uint8, 0..255, RGB.

        Raises:
            RuntimeError: no scene was loaded.
            ValueError: the camera's image is larger than the renderer's.
        """
        if self._scene is None:
            raise RuntimeError('Renderer: load a scene first')
        height, width = camera.size
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f'camera image {camera.size} is larger than the renderer {self.size} (H, W)'
            )
        self._aim(camera)
        self._light(levels)
        return self._draw(camera.size, ids=False, shadows=shadows)

    def _light(self, levels: LightLevels) -> None:
        for lamp, full in self._lamps:
            share = levels.caster if lamp.castshadow else levels.others
            for name, value in zip(_LIGHT, full, strict=True):
                setattr(lamp, name, share * value)
        for geom, glow, is_ceiling in self._glowing:
            geom.emission = glow * (levels.ceiling if is_ceiling else levels.glow)

    def _aim(self, camera: PinholeCamera) -> None:
        # A frustum that puts pixel (cx, cy) on the optical axis, pixel centres at whole numbers.
        height, width = camera.size
        k = camera.intrinsics
        left, right = (-0.5 - k.cx) / k.fx, (width - 0.5 - k.cx) / k.fx
        top, bottom = (k.cy + 0.5) / k.fy, (k.cy + 0.5 - height) / k.fy
        for eye in self._visual.camera:
            eye.pos = camera.position
            eye.forward, eye.up = camera.rotation[:, 2], -camera.rotation[:, 1]
            eye.frustum_near, eye.frustum_far = NEAR, FAR
            eye.frustum_center = NEAR * (left + right) / 2
            eye.frustum_width = NEAR * (right - left) / 2
            eye.frustum_top, eye.frustum_bottom = NEAR * top, NEAR * bottom

    def _draw(self, size: tuple[int, int], ids: bool, shadows: bool = False) -> NDArray[np.uint8]:
        mj = self._mujoco
        self._gl.make_current()  # Another renderer may have drawn, or closed, since.
        height, width = size
        flags = self._visual.flags
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = ids
        flags[mj.mjtRndFlag.mjRND_SHADOW] = shadows
        flags[mj.mjtRndFlag.mjRND_REFLECTION] = self._mirrors and not ids
        window = mj.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        mj.mjr_render(window, self._visual, self._context)
        mj.mjr_readPixels(pixels, None, window, self._context)
        return np.ascontiguousarray(pixels[::-1])  # OpenGL's first row is the lowest


def hit_geometry(
    scene: Scene, camera: PinholeCamera, shape: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Exact depth and normals of the primitives that the pixels show.

    Args:
        scene: the room.
        camera: where it is seen from.
        shape: (H, W) int64, primitive that each pixel shows, -1 for none.

    Returns:
        (H, W) float32, metres along the optical axis; (H, W, 3) float32, unit, camera optical
        frame, pointing to the camera. NaN for none.
    """
    height, width = shape.shape
    known = shape.ravel() >= 0
    rays = camera.rays()[known]
    distance, normal, _ = intersect(scene.primitives, shape.ravel()[known], camera.position, rays)
    # At a rim that was drawn beyond the true surface the normal can tip over by rounding, and one
    # at right angles to its ray stays as it is.
    normal[np.einsum('pi,pi->p', normal, rays) > 0] *= -1
    depth = np.full(height * width, np.nan, np.float32)
    normals = np.full((height * width, 3), np.nan, np.float32)
    depth[known] = distance
    normals[known] = normal @ camera.rotation
    return depth.reshape(height, width), normals.reshape(height, width, 3)


# A scene as a MuJoCo model: its XML, and the textures and meshes that the XML names.


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

_MESH_GROUP = 1  # MuJoCo's group of the geoms that are meshes

# Distances of the clipping planes, metres.
NEAR, FAR = 0.05, 30.0

# Up to this side faces are lit at few points: what OpenGL shades are corners, and each one costs.
_SMALL = 256


def mujoco_model(
    scene: Scene, offscreen: tuple[int, int], samples: int, shadow: int
) -> tuple[str, dict[str, bytes], dict[str, NDArray[np.uint8]]]:
    """Write a scene for MuJoCo's compiler.

    Args:
        scene: the room.
        offscreen: (H, W) of the largest image, pixels.
        samples: of antialiasing, per pixel.
        shadow: side of the shadow map, pixels.

    Returns:
        The XML; the files it names, by their names; and textures (H, W, 3) uint8 RGB, by their
        names, for `fill_textures`. Geom k is primitive k of the scene.
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
    meshes = _placed_meshes(scene, files, textures := {}, geoms)
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


def fill_textures(model: Any, textures: dict[str, NDArray[np.uint8]]) -> None:
    """Copy textures into a compiled model; a cube gets a copy on each of its faces."""
    for name, texture in textures.items():
        number = model.texture(name).id
        start = model.tex_adr[number]
        faces = model.tex_height[number] // len(texture)
        model.tex_data[start : start + faces * texture.size].reshape(faces, -1)[:] = (
            texture.ravel()
        )


def _placed_meshes(
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
                    look += f' rgba="{_text(piece.color)} 1"'
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
            f'<geom type="mesh" mesh="{name}" material="{name}" group="{_MESH_GROUP}" contype="0" '
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
