# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CameraInfo: conversion to a pinhole model, and the CameraInfo of a resized image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.messages import MessageError, Types

# Share of width and height between middle and principal point: lenses are off by less than 0.1, K
# of an image of half or twice the size by 0.25 and 0.5.
OFF_CENTRE = 0.2
# Pixels, above any offset of a region of interest; what is larger overflows on the way.
LARGEST = 1e12


def info(types: Types, intrinsics: Intrinsics, size: tuple[int, int], header: Any) -> Any:
    """A sensor_msgs/CameraInfo of a rectified image of `size`, (H, W); see `intrinsics_from`."""
    p = np.eye(3, 4)
    p[0, 0], p[1, 1], p[0, 2], p[1, 2] = (
        intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    )  # fmt: skip
    return _make(types, header, size, 'plumb_bob', np.zeros(5), p[:, :3], np.eye(3), p)


def intrinsics_from(info: Any) -> Intrinsics | None:
    """The pinhole of the image of a CameraInfo; None where the camera is not calibrated (K is 0).

    It is that of P, as in depth_image_proc and image_geometry for a rectified image, or of K if P
    is not filled in. Distortion is not undone. Region of interest and binning are applied.

    Raises:
        MessageError: 'camera_info': a number in K or P is not finite, or a focal length is not
            positive.
    """
    k, p = _matrices(info)
    if k[0, 0] == 0:
        return None
    crop = _to_image(info)
    k, p = crop @ k, crop @ p
    best = p if p[0, 0] != 0 else k
    fx, fy, cx, cy = float(best[0, 0]), float(best[1, 1]), float(best[0, 2]), float(best[1, 2])
    if not (fx > 0 and fy > 0):
        raise MessageError(
            'camera_info', f'camera_info: expected focal lengths > 0, got fx={fx}, fy={fy}'
        )
    return Intrinsics(fx, fy, cx, cy)


def pinhole(info: Any | None, size: tuple[int, int]) -> tuple[Intrinsics | None, str]:
    """The pinhole of an image of `size` (H, W), or why its CameraInfo cannot be used.

    Returns:
        The pinhole and ''; or None and one sentence for the log, with what to do about it.
    """
    if info is None:
        return None, (
            'no CameraInfo for the image; publish one beside it, with the same frame_id, or remap '
            'camera_info to the topic that has it'
        )
    try:
        intrinsics = intrinsics_from(info)
        if intrinsics is None:
            return None, (
                'the camera is not calibrated, K of its CameraInfo is 0; calibrate it (ros2 run '
                'camera_calibration cameracalibrator) and give the driver its camera_info_url'
            )
        check_size(info, size)
    except MessageError as error:
        return None, str(error)
    return intrinsics, ''


def doubt(info: Any, intrinsics: Intrinsics, size: tuple[int, int]) -> str:
    """Why the pinhole of a CameraInfo may not be that of its image of `size` (H, W); '' otherwise.

    Where an image is resized, width and height often are, too, but K and P are forgotten.
    """
    x, y = (intrinsics.cx + 0.5) / size[1], (intrinsics.cy + 0.5) / size[0]
    roi = info.roi
    cropped = roi.x_offset or roi.y_offset or roi.width or roi.height
    if cropped or min(abs(x - 0.5), abs(y - 0.5)) < OFF_CENTRE:
        return ''
    return (
        f'the principal point of CameraInfo, ({intrinsics.cx:.0f}, {intrinsics.cy:.0f}), is far '
        f'from the middle of the image, {size[1]} x {size[0]}, so K and P may be of another '
        'resolution, and clouds wrong; let the driver scale them with the image, or calibrate at '
        'this resolution'
    )


def describes(info: Any, size: tuple[int, int]) -> bool:
    """Whether a CameraInfo, calibrated or not, is of images of this size (H, W) and finite."""
    try:
        _matrices(info)
    except MessageError:
        return False
    return image_size(info) == size and min(size) > 0


def image_size(info: Any) -> tuple[int, int]:
    """(H, W) of the images that a CameraInfo describes, pixels."""
    roi = info.roi
    return (
        int(roi.height or info.height) // max(int(info.binning_y), 1),
        int(roi.width or info.width) // max(int(info.binning_x), 1),
    )


def check_size(info: Any, size: tuple[int, int]) -> None:
    """Check that a CameraInfo describes images of this size (H, W).

    Raises:
        MessageError: 'camera_info size': it does not; with advice that fits the difference.
    """
    described = image_size(info)
    if described == size:
        return
    height, width = int(info.height), int(info.width)
    both = f'{described[1]} x {described[0]}, the image has {size[1]} x {size[0]}'
    if min(height, width) < 1:
        reason = (
            f'its width and height are {width} x {height}, the image has {size[1]} x {size[0]}, '
            'so K and P may be of another resolution; set the size in the calibration file'
        )
    elif (height, width) == size:
        reason = (
            f'it describes images of {both}; its binning {info.binning_x} x {info.binning_y} or '
            'its roi does not hold for the image, let the driver set both to 0'
        )
    elif height % size[0] == 0 and width % size[1] == 0 and height // size[0] == width // size[1]:
        reason = (
            f'it describes images of {both}; if the camera bins pixels, let the driver set '
            f'binning_x and binning_y to {height // size[0]}; if the image was resized, use the '
            'camera_info of the resized topic'
        )
    else:
        reason = (
            f'it describes images of {both}; remap camera_info to the one of the image, or '
            'calibrate at this resolution'
        )
    raise MessageError('camera_info size', f'camera_info: {reason}')


def scaled(types: Types, info: Any, size: tuple[int, int], header: Any | None = None) -> Any:
    """The CameraInfo of the same image once it was resized to `size` (H, W).

    Where the size stays, so does everything. Where it changes, the new one speaks of the image
    itself: width and height are its size, and region of interest and binning are worked into K and
    P and then empty, since a scaled offset is no whole number of pixels. Without a header that of
    the camera's CameraInfo is kept.

    Raises:
        MessageError: 'camera_info': K or P is not finite, or the size of the image is 0.
    """
    k, p = _matrices(info)
    header = info.header if header is None else header
    old = image_size(info)
    r, d = np.asarray(info.r, np.float64).reshape(3, 3), np.array(info.d, np.float64)
    if old == size:
        return _make(types, header, (int(info.height), int(info.width)), info.distortion_model,
                     d, k, r, p, (int(info.binning_y), int(info.binning_x)), info.roi)  # fmt: skip
    if min(old) < 1:
        raise MessageError(
            'camera_info', f'camera_info: expected a size, got {info.width} x {info.height}'
        )
    move = _resize(size[0] / old[0], size[1] / old[1]) @ _to_image(info)
    return _make(types, header, size, info.distortion_model, d, move @ k, r, move @ p)


def _matrices(info: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    k = np.asarray(info.k, np.float64).reshape(3, 3)
    p = np.asarray(info.p, np.float64).reshape(3, 4)
    # Written so that NaN fails.
    if not ((np.abs(k) < LARGEST).all() and (np.abs(p) < LARGEST).all()):
        raise MessageError(
            'camera_info',
            f'camera_info: expected finite numbers below {LARGEST:g}, got '
            f'K={k.ravel().tolist()} and P={p.ravel().tolist()}; calibrate the camera again or '
            'correct its calibration file',
        )
    return k, p


def _to_image(info: Any) -> NDArray[np.float64]:
    # K and P speak of all pixels of the sensor; the image shows a part of them, binned.
    crop = np.eye(3)
    crop[:2, 2] = -int(info.roi.x_offset), -int(info.roi.y_offset)
    return _resize(1 / max(int(info.binning_y), 1), 1 / max(int(info.binning_x), 1)) @ crop


def _resize(y: float, x: float) -> NDArray[np.float64]:
    # Pixel centres at whole numbers: column u moves to (u + 0.5) x - 0.5.
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _make(
    types: Types,
    header: Any,
    size: tuple[int, int],
    model: str,
    d: NDArray[np.float64],
    k: NDArray[np.float64],
    r: NDArray[np.float64],
    p: NDArray[np.float64],
    binning: tuple[int, int] = (0, 0),
    roi: Any = None,
) -> Any:
    if roi is None:
        roi = types.make('sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0,
                         width=0, do_rectify=False)  # fmt: skip
    return types.make(
        'sensor_msgs/msg/CameraInfo', header=header, height=size[0], width=size[1],
        distortion_model=model, d=d, k=k.ravel(), r=r.ravel(), p=p.ravel(), binning_x=binning[1],
        binning_y=binning[0], roi=roi,
    )  # fmt: skip
