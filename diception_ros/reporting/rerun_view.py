# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A replay in the Rerun viewer: images, depth, normals, clouds and labels on one time line."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
import importlib.util
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from diception_ros.bags.frames import ImageFrame, frames
from diception_ros.bags.reader import Bag
from diception_ros.messages import images as image_messages
from diception_ros.messages import point_clouds, stamp_of

if TYPE_CHECKING:
    from diception_ros.bag_replay.run import Job
    from diception_ros.bags.frames import Camera
    from diception_ros.bags.typestore import RawMessage
    from diception_ros.perception.settings import PerceptionSettings


def check(window: bool = True) -> None:
    """Check that a replay can be shown.

    Raises:
        ModuleNotFoundError: Rerun is not installed.
        OSError: there is no display for a window.
    """
    if importlib.util.find_spec('rerun') is None:
        raise ModuleNotFoundError('--view needs Rerun, which is not installed', name='rerun')
    screens = ('DISPLAY', 'WAYLAND_DISPLAY')
    if window and sys.platform == 'linux' and not any(map(os.environ.get, screens)):
        # Rerun's viewer would exit at once and drop all that is sent to it.
        raise OSError(
            'there is no screen for --view (neither DISPLAY nor WAYLAND_DISPLAY is set); '
            '--view-file results.rrd writes a file, which `rerun results.rrd` opens elsewhere'
        )


def show(
    path: Path,
    job: Job,
    cameras: Sequence[Camera],
    perception: PerceptionSettings,
    save: Path | None = None,
) -> None:
    """Show a replay.

    Raises:
        OSError: the viewer does not open.
    """
    rerun: Any = importlib.import_module('rerun')
    rerun.init('diception replay')
    if save is None:
        _open(rerun)
    else:
        rerun.save(str(save))
    for camera in cameras:
        # The camera's optical frame; without it clouds are turned by 90 degrees.
        rerun.log(camera.name or 'camera', rerun.ViewCoordinates.RDF, static=True)
    with Bag(path) as bag, Bag(job.out) as out:
        tolerance_s = perception.depth.tolerance_s
        for record in frames(bag, cameras, job.selection(bag), tolerance_s=tolerance_s):
            if not isinstance(record, ImageFrame):
                continue
            _at(rerun, record.frame.stamp_ns)
            name = record.camera.name or 'camera'
            rerun.log(f'{name}/image', rerun.Image(record.frame.image))
        for raw in out.messages():
            owner = job.owner_of(raw.topic, cameras)
            if owner is None:
                continue
            prefix, name = owner
            message = out.decode(raw)
            logged = _logged(rerun, raw, message)
            if logged is not None:
                _at(rerun, stamp_of(message.header))
                rerun.log(f'{name or "camera"}/{raw.topic.removeprefix(prefix)}', logged)
    # Waits until all is sent or written.
    rerun.disconnect()


def _open(rerun: Any) -> None:
    """Start the viewer, whose program is beside Python's in a virtual environment."""
    here = str(Path(sys.executable).parent)
    before = os.environ.get('PATH', '')
    os.environ['PATH'] = f'{here}{os.pathsep}{before}'
    try:
        rerun.spawn()
    except RuntimeError as error:
        raise OSError(f'the viewer of Rerun does not open: {error}') from error
    finally:
        os.environ['PATH'] = before


def _at(rerun: Any, stamp_ns: int) -> None:
    # The name of this changed in 0.23.
    if hasattr(rerun, 'set_time'):
        rerun.set_time('stamp', timestamp=np.datetime64(stamp_ns, 'ns'))
    else:
        rerun.set_time_nanos('stamp', stamp_ns)


def _logged(rerun: Any, raw: RawMessage, message: Any) -> Any | None:
    """What Rerun shows of a message; None if it has nothing for it."""
    if raw.msgtype == 'sensor_msgs/msg/Image':
        array = image_messages.array_from(message)
        if message.encoding == 'rgb8' or raw.topic.endswith('/confidence'):
            return rerun.Image(array)
        if message.encoding == '32FC3':
            return rerun.Image(((np.nan_to_num(array) + 1) * 127.5).astype(np.uint8))
        if message.encoding == '32FC1':
            return rerun.DepthImage(array, meter=1.0)
        return rerun.SegmentationImage(array)
    if raw.msgtype == 'sensor_msgs/msg/PointCloud2':
        records = point_clouds.records_from(message)
        points = np.stack([records[axis] for axis in 'xyz'], axis=-1)
        known = np.isfinite(points).all(axis=1)
        if not known.any():
            return None
        colors = None
        if 'rgb' in (records.dtype.names or ()):
            packed = np.ascontiguousarray(records['rgb']).view(np.uint8).reshape(-1, 4)
            colors = packed[known][:, 2::-1]
        return rerun.Points3D(points[known], colors=colors)
    return None
