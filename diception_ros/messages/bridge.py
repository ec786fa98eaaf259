# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""cv_bridge, where it is installed and works.

It is built against one version of numpy and of OpenCV, and with another it raises (`KeyError: 16`
with OpenCV 5) or takes the whole process down (numpy 2). So another process tries it first, once.
It is used for the encodings alone for which that process saw it give the very bytes that
`encodings` gives: a live node and the replay of a bag, where there is no cv_bridge, must not
differ.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib
import importlib.util
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import probe
from diception_ros.messages import encodings
from diception_ros.messages.error import MessageError

# Importing numpy, OpenCV and cv_bridge takes 0.5 s, or a few on a busy small machine.
PATIENCE = 30.0
# What a cv_bridge that does not fit has been seen to raise, CvBridgeError being a TypeError.
_FAULTS = (
    ImportError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, SystemError,
    OSError, cv2.error,
)  # fmt: skip


class Bridge(NamedTuple):
    """What cv_bridge can be used for.

    Attributes:
        encodings: those of which it gives the same bytes; none where it is missing or broken.
        reason: why there are none, in a few words for the log; '' where there are some.
        convert: message to (H, W, 3) RGB, for these encodings.
    """

    encodings: frozenset[str]
    reason: str
    convert: Callable[[Any], Any] | None = None

    def rgb_from(self, message: Any) -> NDArray[np.uint8]:
        """The picture of an Image of one of the encodings, whose numbers have been checked.

        Raises:
            MessageError: 'cv_bridge': it failed all the same.
        """
        assert self.convert is not None
        try:
            return np.ascontiguousarray(self.convert(message), np.uint8)
        except _FAULTS as error:
            raise MessageError(
                'cv_bridge', f'cv_bridge failed on {message.encoding}: {error!r}'
            ) from error


@functools.cache
def find() -> Bridge:
    """Look for cv_bridge, once a process; takes a second where it is installed."""
    if importlib.util.find_spec('cv_bridge') is None:
        return Bridge(frozenset(), 'cv_bridge is not installed')
    answer = probe.ask(
        'from diception_ros.messages import bridge\ntell(bridge.agreed())', PATIENCE
    )
    if answer.said is None:
        return Bridge(frozenset(), f'cv_bridge does not work here: {answer.error}')
    same = frozenset(answer.said)
    if not same:
        return Bridge(frozenset(), 'cv_bridge gives other colours than it should')
    try:
        return Bridge(same, '', _convert())
    except _FAULTS as error:
        return Bridge(frozenset(), f'cv_bridge does not work here: {error!r}')


def agreed() -> list[str]:
    """The encodings of which cv_bridge gives the same bytes; may crash, see `find`."""
    convert = _convert()
    return [encoding for encoding in encodings.LAYOUTS if _agrees(convert, encoding)]


def _convert() -> Callable[[Any], Any]:
    made = importlib.import_module('cv_bridge').CvBridge()
    return lambda message: made.imgmsg_to_cv2(message, 'rgb8')


def _agrees(convert: Callable[[Any], Any], encoding: str) -> bool:
    layout = encodings.LAYOUTS[encoding]
    row = 8 * layout.channels * (1 + layout.wide)
    random = np.random.default_rng(0)
    for step in (row, row + 5, row + 2 * layout.channels):
        data = random.integers(0, 256, 6 * step, np.uint8)
        message = SimpleNamespace(
            height=6, width=8, step=step, encoding=encoding, is_bigendian=0, data=data
        )
        try:
            theirs = np.asarray(convert(message))
        except _FAULTS:
            return False
        if not np.array_equal(theirs, encodings.decode(message)):
            return False
    return True
