# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the node (those of inference are in `perception.settings`), and of `play`."""

from __future__ import annotations

from dataclasses import dataclass, field

from diception_ros.core import settings
from diception_ros.core.settings import ComputeSettings, Declared, Settings, setting
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system.ros_environment import NAME

# Parameters that can be changed only before the node is configured.
FIXED = (
    'model', 'device', 'backend', 'dtype', 'threads', 'cameras', 'image_transport',
    'depth_reference', 'conversion', 'policy', 'queue_size',
)  # fmt: skip
# Parameters that are read once, when the process starts.
READ_ONLY = ('autostart',)


@dataclass(frozen=True)
class NodeSettings(Settings):
    """The model, where it runs, and the topics of images."""

    model: str = setting(
        'builtin', 'model folder; builtin is the small one that comes with the package'
    )
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    cameras: tuple[str, ...] = setting(
        (), 'names of several cameras that share the model, topics NAME/image; none: topic image'
    )
    image_transport: str = setting(
        'raw',
        'raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage on image/compressed',
        choices=('raw', 'compressed'),
    )  # fmt: skip
    depth_reference: str = setting(
        'image',
        'with depth.metric aligned, topic depth_reference: image, 16UC1 mm or 32FC1 m; '
        'compressed, compressedDepth of the same on depth_reference/compressedDepth; cloud, '
        'PointCloud2',
        choices=('image', 'compressed', 'cloud'),
    )  # fmt: skip
    autostart: bool = setting(True, 'configure and activate at the start')
    watchdog_s: float = setting(
        5.0, 'time without images after which the node warns, seconds', low=0.5, high=3600
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # How an empty list is written where a file cannot state its type.
        object.__setattr__(self, 'cameras', tuple(filter(None, self.cameras)))
        for camera in self.cameras:
            if not NAME.fullmatch(camera):  # it is part of topics
                raise ValueError(
                    f'cameras has {camera!r}; expected letters, digits and _, no digit first'
                )
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f'cameras names one twice: {", ".join(self.cameras)}')


@dataclass(frozen=True)
class PlaySettings(Settings):
    """How `bag_tools.play` plays a bag."""

    rate: float = setting(1.0, 'speed factor', low=1e-6, high=1e6)
    loop: bool = setting(False, 'start again at the end')
    clock: bool = setting(True, 'publish /clock (default: yes)')
    topics: tuple[str, ...] = setting((), 'topics to play (default: all)', metavar='TOPIC')
    start_s: float = setting(0.0, 'seconds after the beginning', low=0, name='start')
    end_s: float | None = setting(
        None, 'seconds after the beginning', low=0, name='end', kind=float, metavar='S'
    )
    delay_s: float = setting(
        1.0, 'seconds before the first message, for the discovery of subscribers', low=0,
        high=1e6, name='delay', metavar='S',
    )  # fmt: skip
    listen_s: float = setting(
        0.0, 'seconds before that, within which every topic must have a subscriber that has '
        'discovered this process; 0: do not wait', low=0, high=1e6, name='listeners', metavar='S',
    )  # fmt: skip


def declared() -> list[Declared]:
    """Every parameter of the node."""
    return settings.declared(NodeSettings) + settings.declared(PerceptionSettings)
