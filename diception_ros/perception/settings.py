# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of inference on frames: parameters of the node and options of a replay.

All can be changed while frames come in. `Perceiver.change` checks what depends on the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
import math
from typing import TYPE_CHECKING, Any

from diception_ros import tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core.frame import transform_from
from diception_ros.core.settings import (
    FitCriteria,
    PredictSettings,
    Settings,
    declared,
    setting,
)
from diception_ros.tasks import Task, TaskRegistry

if TYPE_CHECKING:
    from diception_ros.core.cloud import CloudFilter

# One byte names the category of a pixel, and one value of it means none.
MAX_CATEGORIES = 255

TASKS = tuple(tasks.names())
# The task that depth.* is about, and whose prediction can become metres.
DEPTH = 'depth'
# The task whose prediction shows which way is up.
NORMAL = 'normal'
IDENTITY = '0 0 0 0 0 0 1'


DEFAULT_CATEGORIES = ('person',)


def _zero_or(name: str, value: float, least: float) -> None:
    """Raise ValueError for a length that is so small that quotients by it overflow."""
    if 0 < value < least:
        raise ValueError(f'{name} is {value}; expected 0 or at least {least}')


@dataclass(frozen=True)
class DepthSettings(Settings):
    """Metres from relative depth."""

    name_prefix = 'depth.'

    metric: str = setting(
        'off',
        'source of metric depth: off, fixed scale and shift, aligned to depth references, or the '
        'height of the camera above the floor', choices=('off', 'fixed', 'aligned', 'height'),
    )  # fmt: skip
    scale: float = setting(
        0.0, 'with depth.metric fixed: 1/depth at disparity 1 minus 1/depth at disparity 0, 1/m',
        low=0, high=1e6,
    )  # fmt: skip
    shift: float = setting(
        0.0, 'with depth.metric fixed: 1/depth at disparity 0, 1/m', low=-1e6, high=1e6
    )
    tolerance_s: float = setting(
        0.05,
        'with depth.metric aligned: maximum difference of the stamps of frame and reference, '
        'seconds',
        low=0, high=3600,
    )  # fmt: skip
    reference_transform: str = setting(
        IDENTITY,
        "with depth.metric aligned: x y z qx qy qz qw, pose of the reference cloud's frame in the "
        'optical frame',
    )  # fmt: skip
    camera_height: float = setting(
        0.0,
        'height of the camera above the floor, metres; for depth.metric height, and for '
        'points.ground, which then ignores level surfaces at other heights; 0: not '
        'known, else at least 0.01', low=0, high=100,
    )  # fmt: skip
    criteria: FitCriteria = field(default_factory=FitCriteria)

    def __post_init__(self) -> None:
        super().__post_init__()
        _zero_or('depth.camera_height', self.camera_height, 0.01)
        if self.metric == 'fixed' and not self.scale > 0:
            raise ValueError(
                "depth.metric is 'fixed' and depth.scale 0; expected how much 1/depth grows from "
                'disparity 0 to 1, in 1/m'
            )
        if self.metric == 'height' and not self.camera_height > 0:
            raise ValueError(
                "depth.metric is 'height' and depth.camera_height 0; expected the height of the "
                'camera above the floor, in metres'
            )
        try:
            transform_from(self.reference_transform)
        except ValueError as error:
            raise ValueError(f'depth.reference_transform: {error}') from error


@dataclass(frozen=True)
class PointsSettings(Settings):
    """Which points are in the cloud, and of which the scan is made."""

    name_prefix = 'points.'

    range_min: float = setting(
        0.0, 'smallest distance of a point from the camera, metres', low=0, high=1e4
    )
    range_max: float = setting(
        0.0, 'largest distance of a point from the camera, metres; 0: no limit', low=0, high=1e4
    )
    stride: int = setting(1, 'keep every n-th pixel of every n-th row', low=1, high=64)
    voxel: float = setting(
        0.0, 'keep one point of each cube of this side, metres; the cloud is then a list, not '
        'organized like the image; 0: keep all, else at least 0.001', low=0, high=10,
    )  # fmt: skip
    edge_filter: bool = setting(
        False, 'drop the points that hang between two surfaces at a depth edge'
    )
    edge_angle: float = setting(
        85.0, 'with points.edge_filter: largest angle between ray and surface normal, degrees; '
        'needs the normal task', low=0, high=90,
    )  # fmt: skip
    edge_jump: float = setting(
        0.05, 'with points.edge_filter: share of the depth by which a point may be behind one '
        'neighbour and before another', low=0.001, high=1,
    )  # fmt: skip
    ground: str = setting(
        'keep', 'keep or drop the points of the floor, or keep only them; the floor is found by '
        'normals and a fitted plane', choices=('keep', 'drop', 'only'),
    )  # fmt: skip
    ground_height: float = setting(
        0.05, 'height above the fitted plane up to which points belong to the floor, metres',
        low=0, high=1,
    )  # fmt: skip
    gravity: str = setting(
        '',
        'x y z, direction of gravity in the optical frame, accurate to a degree; empty: by '
        'points.gravity_frame',
    )  # fmt: skip
    gravity_frame: str = setting(
        'base_link',
        'frame with z up, to which /tf and /tf_static connect the optical frame; empty, or not '
        'connected: gravity is estimated from the normals, for a camera that is level to 45 '
        'degrees',
    )  # fmt: skip
    keep_classes: tuple[str, ...] = setting(
        (), 'keep only points of these categories, some of semantic.categories'
    )
    drop_classes: tuple[str, ...] = setting(
        (), 'drop points of these categories, some of semantic.categories'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _zero_or('points.voxel', self.voxel, 0.001)
        for name in ('keep_classes', 'drop_classes'):
            # How an empty list is written where a file cannot say its type.
            object.__setattr__(self, name, tuple(filter(None, getattr(self, name))))
        if self.keep_classes and self.drop_classes:
            raise ValueError('points.keep_classes and points.drop_classes are set; use one')
        if self.range_max and not self.range_max > self.range_min:
            raise ValueError(
                f'points.range_max is {self.range_max}; expected more than points.range_min, '
                f'{self.range_min}, or 0'
            )
        _direction(self.gravity)

    def filter(
        self, camera_height: float, gravity: tuple[float, float, float] | None = None
    ) -> CloudFilter:
        """The filters; those of classes apart.

        Args:
            camera_height: of the camera above the floor, metres; 0: not known.
            gravity: its direction in the optical frame; None: not known.
        """
        # Here, so that the help of a command line, which reads the settings, loads no labels.
        from diception_ros.core.cloud import CloudFilter

        return CloudFilter(
            self.range_min, self.range_max, self.stride, self.voxel, self.edge_filter,
            self.edge_angle, self.edge_jump, self.ground, self.ground_height,
            gravity, camera_height,
        )  # fmt: skip

    @property
    def direction(self) -> tuple[float, float, float] | None:
        """Of gravity, in the optical frame; None where it is not set."""
        return _direction(self.gravity)


def _direction(text: str) -> tuple[float, float, float] | None:
    if not text.strip():
        return None
    try:
        x, y, z = (float(part) for part in text.replace(',', ' ').split())
    except ValueError:
        x = y = z = 0.0
    if not 0 < math.hypot(x, y, z) < math.inf:
        raise ValueError(f"points.gravity is {text!r}; expected three numbers 'x y z', not all 0")
    return x, y, z


@dataclass(frozen=True)
class ScanSettings(Settings):
    """The scan of the nearest obstacles."""

    name_prefix = 'scan.'

    frame: str = setting(
        '', 'frame_id of the scan, a frame at the camera with x ahead, y left, z up; empty: that '
        'of the image without _optical',
    )  # fmt: skip
    range_min: float = setting(0.1, 'nearer obstacles are -inf in the scan, metres', low=0, high=1)
    range_max: float = setting(
        10.0, 'farther obstacles are inf in the scan, metres', low=1, high=1e4
    )
    height_max: float = setting(
        2.0, 'height above the floor up to which points are obstacles, metres', low=0.01, high=100
    )


@dataclass(frozen=True)
class TemporalSettings(Settings):
    """What is kept from frame to frame."""

    name_prefix = 'temporal.'

    noise: str = setting(
        'fixed',
        'noise that results start from: fixed, the same for every frame; per_frame, by the stamp',
        choices=('fixed', 'per_frame'),
    )  # fmt: skip
    smooth: float = setting(
        0.0, 'weight of the last scale and shift in the next; 0: none', low=0, high=0.99
    )
    track_ids: bool = setting(
        True, 'objects keep their id, and so their colour, from frame to frame'
    )
    min_iou: float = setting(
        0.3, 'overlap (intersection over union) from which an object keeps its id', low=0.01,
        high=1,
    )  # fmt: skip
    reset_after_s: float = setting(
        10.0, 'time between frames after which the temporal state is reset, seconds', low=0,
        high=1e6,
    )  # fmt: skip


@dataclass(frozen=True)
class LiveSettings(Settings):
    """How frames are taken in that arrive by themselves; a replay has none of these."""

    max_rate_hz: float = setting(
        0.0, 'most frames of a camera that are processed per second; 0: no limit', low=0, high=1e4
    )
    lazy: bool = setting(True, 'compute only outputs that have a subscriber')
    policy: str = setting(
        'latest',
        'frames received while the model works: latest keeps the newest, all queues them',
        choices=('latest', 'all'),
    )  # fmt: skip
    queue_size: int = setting(
        100, 'with policy all: maximum number of queued frames of each camera; further ones are '
        'dropped',
        low=1,
        high=100_000,
    )  # fmt: skip


# Names of the settings that mean something only where frames arrive by themselves.
LIVE = tuple(item.name for item in declared(LiveSettings))
# Names of the settings that act on messages alone, so that a viewer of labels has none of them;
# gravity also decides on depth.metric 'height'.
MESSAGES = (
    *(item.name for group in (PointsSettings, ScanSettings) for item in declared(group)
      if item.attribute not in ('gravity', 'gravity_frame')),
    'conversion', 'output_size',
)  # fmt: skip


@dataclass(frozen=True)
class PerceptionSettings(Settings):
    """What is predicted about every frame.

    Raises:
        ValueError: a value that its declaration does not allow, an unknown task, a folder that is
            no adapter, an adapter whose task has the name of another, or values that do not fit
            together.
    """

    # What is predicted.
    tasks: tuple[str, ...] = setting(
        ('depth', 'normal'), f'tasks that run on every frame, of {", ".join(TASKS)}'
    )
    adapters: tuple[str, ...] = setting(
        (), 'folders written by diception adapt; each adds a task that runs on every frame'
    )
    categories: tuple[str, ...] = setting(
        DEFAULT_CATEGORIES, 'categories of the tasks that take one; the first wins a tie',
        name='semantic.categories', flag='--categories',
    )  # fmt: skip
    every_n: Mapping[str, int] = setting(
        1, 'run the task on every n-th frame of a camera', low=1, high=10_000, keys=TASKS
    )

    predict: PredictSettings = field(default_factory=PredictSettings)
    output_size: str = setting(
        'camera', "size of the results: that of the camera's image, or of the "
        'model input, with its CameraInfo', choices=('camera', 'model'),
    )  # fmt: skip
    conversion: str = setting(
        'own',
        'what converts raw images to RGB: own, or cv_bridge where it returns the same bytes',
        choices=('own', 'cv_bridge'),
    )  # fmt: skip
    depth: DepthSettings = field(default_factory=DepthSettings)
    points: PointsSettings = field(default_factory=PointsSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    live: LiveSettings = field(default_factory=LiveSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        # How an empty list is written where a file cannot say its type.
        object.__setattr__(self, 'adapters', tuple(filter(None, self.adapters)))
        registry = TaskRegistry(tuple(cards.read(folder) for folder in self.adapters))
        object.__setattr__(self, '_registry', registry)
        for name in filter(registry.is_adapter, self.tasks):
            raise ValueError(
                f'tasks has {name!r}, which an adapter brings; leave it out, its folder in '
                'adapters is enough'
            )
        chosen = [registry.get(name) for name in self.tasks]
        if not self.task_names:
            raise ValueError(f'tasks is empty; expected some of {", ".join(TASKS)}')
        _once('tasks', self.tasks)
        object.__setattr__(self, 'categories', clean_categories(self.categories))
        if not self.categories and any(task.takes_category for task in chosen):
            names = ', '.join(task.name for task in chosen if task.takes_category)
            raise ValueError(f'semantic.categories is empty; {names} among tasks needs some')
        self._check_points(chosen)
        if self.depth.metric != 'off' and DEPTH not in self.tasks:
            raise ValueError(
                f'depth.metric is {self.depth.metric!r} and tasks has no depth; add it, or set '
                "depth.metric to 'off'"
            )

    def _check_points(self, chosen: Sequence[Task[Any]]) -> None:
        """Check that the tasks are active that the height and the classes of points need."""
        if self.depth.metric == 'height' and not any(task.name == NORMAL for task in chosen):
            raise ValueError(
                "depth.metric is 'height' and tasks has no normal; add it: the floor is found by "
                'its normals'
            )
        for name in ('keep_classes', 'drop_classes'):
            classes = getattr(self.points, name)
            if classes and not any(task.takes_category for task in chosen):
                raise ValueError(f'points.{name} is set and tasks has no semantic; add it')
            for word in classes:
                if word not in self.categories:
                    raise ValueError(
                        f'points.{name} has {word!r}; expected some of semantic.categories, '
                        f'{", ".join(self.categories)}'
                    )

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the active tasks: those of `tasks`, then those of the adapters."""
        return self.tasks + tuple(card.name for card in self.registry.cards)

    @property
    def active_tasks(self) -> tuple[Task[Any], ...]:
        """The tasks with these names."""
        return tuple(map(self.registry.get, self.task_names))

    @property
    def registry(self) -> TaskRegistry:
        """All tasks, with those of the adapters as they were when these settings were made."""
        registry: TaskRegistry = self._registry  # type: ignore[attr-defined]
        return registry

    def predict_settings(self, stamp_ns: int = 0) -> PredictSettings:
        """How the model predicts a frame with this stamp, nanoseconds."""
        if self.temporal.noise == 'fixed':
            return self.predict
        # Far apart for stamps that are near, so that no member of an ensemble comes twice.
        # Source: the odd constant of Knuth's multiplicative hash, for 64 bits.
        seed = (self.predict.seed + stamp_ns * 0x9E3779B97F4A7C15) % 2**63
        return replace(self.predict, seed=seed)


def clean_categories(categories: tuple[str, ...]) -> tuple[str, ...]:
    """Categories without spaces around them.

    Raises:
        ValueError: one is empty or comes twice, or there are too many.
    """
    cleaned = tuple(category.strip() for category in categories)
    if not all(cleaned):
        raise ValueError(f'semantic.categories has an empty text: {list(categories)}')
    _once('semantic.categories', cleaned)
    if len(cleaned) > MAX_CATEGORIES:
        raise ValueError(
            f'semantic.categories has {len(cleaned)} texts; expected at most {MAX_CATEGORIES}'
        )
    return cleaned


def _once(name: str, texts: tuple[str, ...]) -> None:
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ValueError(f'{name} has {", ".join(map(repr, twice))} twice')
