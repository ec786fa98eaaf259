# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One rendered view with its ground truth, and the labels made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints, MetricDepth, Normals
from diception_ros.simulation.assets.categories import STUFF
from diception_ros.simulation.cameras import PinholeCamera
from diception_ros.simulation.scenes import PersonJoints, Scene


class GroundTruth(Protocol):
    """Ground-truth labels of an image: of a rendered view, or of one recorded in a bag."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, pixels."""
        ...

    def metric_depth(self) -> MetricDepth:
        """Depth, metres."""
        ...

    def surface_normals(self) -> Normals:
        """Normals in the camera's optical frame."""
        ...

    def instances(self, stuff: bool = False) -> Instances:
        """All instances; floor, walls and ceiling only with `stuff`."""
        ...

    def of_category(self, category: str) -> Instances:
        """The instances of one category."""
        ...

    def keypoints(self) -> Keypoints:
        """Joints of the people."""
        ...

    @property
    def has_people_without_joints(self) -> bool:
        """Whether the image shows somebody whose joints are not known."""
        ...


@dataclass(frozen=True, eq=False)
class View:
    """A rendered view.

    Attributes:
        scene: the room.
        camera: where it was seen from.
        image: (H, W, 3) uint8, 0..255, RGB.
        depth: (H, W) float32, metres along the optical axis; NaN where nothing was hit.
        normals: (H, W, 3) float32, unit, camera optical frame, pointing to the camera, or NaN.
        instance: (H, W) int32, number of the instance in the scene, from 1; 0 where nothing was
            hit. Equal in all views of one scene.
        supersampled: (f * H, f * W, 3) uint8, the same image with f times the pixels along each
            side; None where none was drawn.
    """

    scene: Scene
    camera: PinholeCamera
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    instance: NDArray[np.int32]
    supersampled: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.image.shape[0], self.image.shape[1]

    def metric_depth(self) -> MetricDepth:
        """Depth as a label, metres."""
        return MetricDepth(self.depth)

    def surface_normals(self) -> Normals:
        """Normals as a label."""
        return Normals(self.normals)

    def category(self) -> NDArray[np.uint8]:
        """(H, W) uint8: number of the category, see `simulation.assets.categories`."""
        return self.scene.category_numbers[self.instance].astype(np.uint8)

    def instances(self, stuff: bool = False) -> Instances:
        """The instances in the image, in the order of the scene.

        Args:
            stuff: whether floor, walls and ceiling count as instances.
        """
        return select_instances(
            self.instance, self.scene.categories, lambda name: stuff or name not in STUFF
        )

    def of_category(self, category: str) -> Instances:
        """The instances of one category; empty if the image shows none."""
        return select_instances(
            self.instance, self.scene.categories, lambda name: name == category
        )

    @property
    def has_people_without_joints(self) -> bool:
        """Whether the image shows somebody whose joints are not known: a furniture model."""
        known = [body.instance for body in self.scene.bodies]
        shown = np.bincount(self.instance.ravel(), minlength=len(self.scene.categories) + 1) > 0
        people = np.array([False, *(name == 'person' for name in self.scene.categories)])
        people[known] = False
        return bool((shown & people).any())

    def bodies(self) -> tuple[PersonJoints, ...]:
        """The people with at least one visible pixel."""
        present = np.bincount(self.instance.ravel(), minlength=len(self.scene.categories) + 1) > 0
        return tuple(body for body in self.scene.bodies if present[body.instance])

    def keypoints(self) -> Keypoints:
        """Joints of the people that are at least partly visible.

        A joint outside of the image has visibility 0. One inside has 2 if its pixel shows its own
        person at most the thickness of the flesh in front of the joint; otherwise an object or
        another part of the body occludes it: 1.
        """
        height, width = self.size
        bodies = self.bodies()
        joints = np.full((len(bodies), len(COCO_JOINTS), 2), np.nan, np.float32)
        visibility = np.zeros(joints.shape[:2], np.uint8)
        for k, body in enumerate(bodies):
            pixels, z = self.camera.project(body.joints)
            column, row = np.rint(np.nan_to_num(pixels, nan=-1)).astype(np.int64).T
            inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            column, row = column[inside], row[inside]
            in_front = z[inside] - self.depth[row, column] > body.flesh[inside]
            seen = (self.instance[row, column] == body.instance) & ~in_front
            joints[k, inside] = pixels[inside]
            visibility[k, inside] = np.where(seen, 2, 1)
        scores = (visibility > 0).astype(np.float32)
        untyped = np.zeros((0, 2), np.float32)
        return Keypoints(joints, visibility, scores, untyped, (height, width))


def select_instances(
    numbers: NDArray[np.int32], categories: tuple[str, ...], wanted: Callable[[str], bool]
) -> Instances:
    """The instances of some categories that have at least one pixel, in the order of the scene.

    Args:
        numbers: (H, W) int32, number of the instance at each pixel, from 1; 0 where none is.
        categories: of each instance; number k is `categories[k - 1]`.
        wanted: whether instances of a category are selected.
    """
    keep = np.array([False, *map(wanted, categories)])
    keep &= np.bincount(numbers.ravel(), minlength=len(keep)) > 0
    place = (np.cumsum(keep) * keep).astype(np.int32)
    names = tuple(categories[k - 1] for k in np.flatnonzero(keep))
    return Instances(place[numbers], names, np.ones(len(names), np.float32))
