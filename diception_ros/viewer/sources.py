# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of images for `diception view`: image files, a bag, and a local camera."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import threading
import time
from typing import Any

import numpy as np

from diception_ros.bags.frames import (
    CopiedMessage,
    FrameSelection,
    ImageFrame,
    SkippedImage,
    choose,
    frames,
    image_topics,
)
from diception_ros.bags.reader import ENDS, Bag
from diception_ros.core import images
from diception_ros.core.frame import Frame

# Seconds without an image after which a camera counts as silent; slow ones expose for one second.
SILENT_S = 3.0


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """An image of a source.

    Attributes:
        frame: the image.
        caption: what it is, such as the name of its file.
        position: on the source's scale: the number of the image, or seconds from the beginning.
        info: sensor_msgs/CameraInfo, or None.
        reference: message with depths that belongs to it, or None.
        gravity: its direction in the optical frame, None where it is not known.
    """

    frame: Frame
    caption: str
    position: float
    info: Any = None
    reference: Any = None
    gravity: tuple[float, float, float] | None = None


class Source(ABC):
    """Images in order.

    Attributes:
        title: what they are, for people.
        end: largest position; 0 where there is no way to move.
        step: of positions on a slider.
        plays: whether images have times of their own.
        live: whether they arrive whether they are read or not.
        dropped: images that arrived and were not read.
        cameras: names to choose from; () where there is one camera.
        camera: the chosen one, '' where there is one camera.
    """

    title = ''
    cameras: Sequence[str] = ()
    camera = ''
    end = 0.0
    step = 1.0
    plays = False
    live = False
    dropped = 0

    @abstractmethod
    def read(self) -> SourceFrame | None:
        """The next image; None at the end.

        Raises:
            OSError, ValueError: it cannot be read; the next call reads the one after it.
        """

    def seek(self, position: float) -> None:
        """Let `read` continue at a position."""
        raise ValueError(f'{self.title} has no positions')

    def choose(self, camera: str) -> None:
        """Let `read` give images of another camera, after the next `seek`."""
        raise ValueError(f'{self.title} has no cameras to choose from')

    def close(self) -> None:
        """Release files and devices."""
        return


class ImageFiles(Source):
    """Image files; positions are their numbers.

    Args:
        paths: at least one.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self._next = list(paths), 0
        self.end = float(len(paths) - 1)
        self.title = str(paths[0]) if len(paths) == 1 else f'{len(paths)} images'

    def seek(self, position: float) -> None:
        self._next = min(max(round(position), 0), len(self._paths) - 1)

    def read(self) -> SourceFrame | None:
        if self._next >= len(self._paths):
            return None
        number, self._next = self._next, self._next + 1
        path = self._paths[number]
        image = images.read(path)
        frame = Frame(image, doubt=images.doubt(path, image))
        return SourceFrame(frame, str(path), float(number))


class BagFrames(Source):
    """Images of a bag, of one camera at a time; positions are seconds of log time from its start.

    Args:
        path: of the bag.
        topic: of the images; '' for all cameras of the bag, the first one to begin with.
        reference: topic of depths for `depth.metric: aligned`; '' for none.
        tolerance_s: largest difference of the stamps of an image and its reference, seconds.
        gravity_frame: frame of /tf with z up; '' where gravity is not wanted.

    Raises:
        FileNotFoundError, ValueError: no bag, or no such topic.
    """

    plays = True
    step = 0.1

    def __init__(
        self,
        path: Path,
        topic: str = '',
        reference: str = '',
        tolerance_s: float = 0.05,
        gravity_frame: str = '',
    ) -> None:
        self._path, self._bag, self._reference = path, Bag(path), reference
        try:
            topics = [topic] if topic or reference else image_topics(self._bag)
            if len(topics) > 1:
                self.cameras = topics
            self.choose(topics[0])
        except ValueError:
            self.close()
            raise
        self._tolerance_s, self._gravity_frame = tolerance_s, gravity_frame
        self._reported = False
        self._begin_ns = self._bag.start_ns or 0
        self.end = ((self._bag.end_ns or self._begin_ns) - self._begin_ns) / 1e9
        self._records: Iterator[CopiedMessage] = iter(())
        self.seek(0)

    def choose(self, camera: str) -> None:
        references = [self._reference] if self._reference else []
        self._chosen = choose(self._bag, [camera] if camera else [], references=references)
        self.camera = self._chosen[0].topic if self.cameras else ''
        self.title = f'{self._path}: {self._chosen[0].topic}'

    def seek(self, position: float) -> None:
        start_ns = self._begin_ns + round(min(max(position, 0), self.end) * 1e9)
        # `frames` reads the CameraInfo that belongs to the first image, but none before it.
        self._records = frames(
            self._bag, self._chosen, FrameSelection(start_ns if position > 0 else None),
            tolerance_s=self._tolerance_s, gravity_frame=self._gravity_frame,
        )  # fmt: skip

    def read(self) -> SourceFrame | None:
        for record in self._records:
            if isinstance(record, SkippedImage):
                raise ValueError(record.problem[1])
            if isinstance(record, ImageFrame):
                position = (record.raw.stamp_ns - self._begin_ns) / 1e9
                return SourceFrame(
                    record.frame, f'{position:.2f} s', position, record.info, record.reference,
                    record.gravity,
                )  # fmt: skip
        if self._bag.damage is not None and not self._reported:
            self._reported = True
            raise ValueError(str(self._bag.damage))
        return None

    def close(self) -> None:
        self._bag.__exit__(None, None, None)


class CameraDevice(Source):
    """A camera of this machine, or a video that OpenCV opens; always the newest image.

    Args:
        device: number of the camera, such as '0', or the path of a device or a video.

    Raises:
        OSError: it does not open, or gives no image.
    """

    plays = live = True

    def __init__(self, device: str) -> None:
        import cv2

        self.title = f'camera {device}'
        self._capture = cv2.VideoCapture(int(device) if device.isdecimal() else device)
        self._newest: Any = None
        self._number, self._read, self._began = 0, 0, time.time()
        self._closed, self._ended = threading.Event(), False
        self._arrived = threading.Condition()
        if not self._capture.isOpened() or not self._grab():
            self._capture.release()
            raise OSError(
                f'camera {device!r} gives no images; expected the number of a camera of this '
                'machine such as 0, or a path such as /dev/video0. Check that it exists, that no '
                "other program uses it, and that this user is in the group 'video'"
            )
        self._thread = threading.Thread(target=self._run, daemon=True, name='camera')
        self._thread.start()

    def _grab(self) -> bool:
        there, bgr = self._capture.read()
        with self._arrived:
            if there:
                self._newest, self._number = bgr, self._number + 1
            self._ended = not there
            self._arrived.notify_all()
        return bool(there)

    def _run(self) -> None:
        while not self._closed.is_set() and self._grab():
            pass

    def read(self) -> SourceFrame | None:
        with self._arrived:
            arrived = self._arrived.wait_for(
                lambda: self._number > self._read or self._ended or self._closed.is_set(), SILENT_S
            )
            if self._number <= self._read:
                if not arrived:
                    raise OSError(f'{self.title}: no image for {SILENT_S:g} s')
                return None
            self.dropped += self._number - self._read - 1
            self._read, bgr = self._number, self._newest
        now = time.time()
        return SourceFrame(
            Frame(np.ascontiguousarray(bgr[..., ::-1]), round(now * 1e9)),
            f'image {self._read}',
            now - self._began,
        )

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=SILENT_S)
        self._capture.release()


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: by its end, or a folder with such files."""

    def named(file: Path) -> bool:
        return file.name.removesuffix('.zstd').endswith(ENDS)

    if path.is_dir():
        return any(named(file) for file in path.iterdir()) or (path / 'metadata.yaml').is_file()
    return named(path)
