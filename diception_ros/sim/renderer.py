# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draws scenes with MuJoCo: colours by OpenGL, geometry exactly.

OpenGL says which primitive each pixel shows. Depth and normals are then worked out from that
primitive's own equation: the depth buffer and the facets that a graphics card draws are only close
to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.sim import gl, mjcf
from diception_ros.sim.raycast import meet
from diception_ros.sim.views import View

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from diception_ros.sim.cameras import Camera
    from diception_ros.sim.scenes import Scene

# What MuJoCo calls the colours of a light.
_LIGHT = ('ambient', 'diffuse', 'specular')


@dataclass(frozen=True)
class Levels:
    """How bright a room is, in shares of what its scene says.

    Attributes:
        caster: the lamp that casts shadows.
        others: all other lamps and the sun, and the light that comes from everywhere.
        ceiling: the ceiling's glow, which stands for light that comes up from the floor.
        glow: of what shines by itself: windows, screens, lampshades.
    """

    caster: float = 1.0
    others: float = 1.0
    ceiling: float = 1.0
    glow: float = 1.0


_FULL = Levels()


class Renderer:
    """Pictures of scenes, up to a size.

    Holds an OpenGL context, which belongs to the thread that made it; use one per process.

    Args:
        size: (H, W) of the largest picture, pixels.
        backend: see `gl.context`.
        samples: of antialiasing, per pixel; 0 for none.
        shadow: side of the shadow map, pixels; None for one that suits the size. On a CPU it costs
            more time than the picture itself.

    Raises:
        ImportError, ValueError, OSError: see `gl.context`.
    """

    def __init__(
        self, size: tuple[int, int], backend: str | None = None, samples: int = 4,
        shadow: int | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self._samples = samples
        self._shadow = shadow or min(2048, max(512, 4 * max(size)))
        self._mujoco, self._gl = gl.context(size, backend)
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
        """Give the OpenGL context back."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None
        self._gl.free()

    def load(self, scene: Scene) -> None:
        """Take a scene onto the graphics card; worth several views."""
        mj = self._mujoco
        xml, files = mjcf.model(scene, self.size, self._samples, self._shadow)
        model = mj.MjModel.from_xml_string(xml, files)
        data = mj.MjData(model)
        mj.mj_forward(model, data)
        self._gl.make_current()
        if self._context is not None:
            self._context.free()
        self._context = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_50)
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._visual = mj.MjvScene(model, maxgeom=model.ngeom + 10)
        mj.mjv_updateScene(
            model, data, mj.MjvOption(), None, mj.MjvCamera(), mj.mjtCatBit.mjCAT_ALL, self._visual
        )
        # From the numbers that MuJoCo paints to primitives of the scene.
        self._shape = np.full(self._visual.ngeom + 1, -1, np.int64)
        for geom in self._visual.geoms[: self._visual.ngeom]:
            if geom.objtype == mj.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                self._shape[geom.segid + 1] = geom.objid
        lights = self._visual.lights[: self._visual.nlight]
        self._lamps = [(one, [np.array(getattr(one, name)) for name in _LIGHT]) for one in lights]
        self._glowing = [
            (geom, geom.emission, scene.categories[scene.instance[geom.objid] - 1] == 'ceiling')
            for geom in self._visual.geoms[: self._visual.ngeom]
            if geom.objtype == mj.mjtObj.mjOBJ_GEOM and geom.emission > 0
        ]
        self._scene = scene

    def render(self, camera: Camera) -> View:
        """Draw what a camera sees of the loaded scene.

        Raises:
            RuntimeError: no scene was loaded.
            ValueError: the camera's picture is larger than the renderer's.
        """
        image = self.picture(camera)
        scene = self._scene
        assert scene is not None
        painted = self._draw(camera.size, ids=True).astype(np.int64)
        number = painted[..., 0] + 256 * painted[..., 1] + 65536 * painted[..., 2]
        shape = self._shape[np.minimum(number, len(self._shape) - 1)]
        depth, normals = surface(scene, camera, shape)
        instance = np.where(shape < 0, 0, scene.instance[shape]).astype(np.int32)
        return View(scene, camera, image, depth, normals, instance)

    def picture(
        self, camera: Camera, levels: Levels = _FULL, shadows: bool = True
    ) -> NDArray[np.uint8]:
        """Draw only the colours of what a camera sees, perhaps in other light.

        Args:
            camera: where it is seen from.
            levels: how bright the light is.
            shadows: whether things cast shadows.

        Returns:
            (H, W, 3) uint8, 0..255, RGB.

        Raises:
            RuntimeError: no scene was loaded.
            ValueError: the camera's picture is larger than the renderer's.
        """
        if self._scene is None:
            raise RuntimeError('Renderer: load a scene first')
        height, width = camera.size
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f'camera picture {camera.size} is larger than the renderer {self.size} (H, W)'
            )
        self._aim(camera)
        self._light(levels)
        return self._draw(camera.size, ids=False, shadows=shadows)

    def _light(self, levels: Levels) -> None:
        for lamp, full in self._lamps:
            share = levels.caster if lamp.castshadow else levels.others
            for name, value in zip(_LIGHT, full, strict=True):
                setattr(lamp, name, share * value)
        for geom, glow, is_ceiling in self._glowing:
            geom.emission = glow * (levels.ceiling if is_ceiling else levels.glow)

    def _aim(self, camera: Camera) -> None:
        # A frustum that puts pixel (cx, cy) on the optical axis, pixel centres at whole numbers.
        height, width = camera.size
        k = camera.intrinsics
        left, right = (-0.5 - k.cx) / k.fx, (width - 0.5 - k.cx) / k.fx
        top, bottom = (k.cy + 0.5) / k.fy, (k.cy + 0.5 - height) / k.fy
        for eye in self._visual.camera:
            eye.pos = camera.position
            eye.forward, eye.up = camera.rotation[:, 2], -camera.rotation[:, 1]
            eye.frustum_near, eye.frustum_far = mjcf.NEAR, mjcf.FAR
            eye.frustum_center = mjcf.NEAR * (left + right) / 2
            eye.frustum_width = mjcf.NEAR * (right - left) / 2
            eye.frustum_top, eye.frustum_bottom = mjcf.NEAR * top, mjcf.NEAR * bottom

    def _draw(self, size: tuple[int, int], ids: bool, shadows: bool = False) -> NDArray[np.uint8]:
        mj = self._mujoco
        self._gl.make_current()  # Another renderer may have drawn, or closed, since.
        height, width = size
        flags = self._visual.flags
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = ids
        flags[mj.mjtRndFlag.mjRND_SHADOW] = shadows
        flags[mj.mjtRndFlag.mjRND_REFLECTION] = False
        window = mj.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        mj.mjr_render(window, self._visual, self._context)
        mj.mjr_readPixels(pixels, None, window, self._context)
        return np.ascontiguousarray(pixels[::-1])  # OpenGL's first row is the lowest


def surface(
    scene: Scene, camera: Camera, shape: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth and normals of the primitives that the pixels show.

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
    distance, normal, _ = meet(scene.shapes, shape.ravel()[known], camera.position, rays)
    # At a rim that was drawn beyond the true surface the normal can tip over by rounding, and one
    # at right angles to its ray stays as it is.
    normal[np.einsum('pi,pi->p', normal, rays) > 0] *= -1
    depth = np.full(height * width, np.nan, np.float32)
    normals = np.full((height * width, 3), np.nan, np.float32)
    depth[known] = distance
    normals[known] = normal @ camera.rotation
    return depth.reshape(height, width), normals.reshape(height, width, 3)
