# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources and the worker of `diception view`, without a browser and without torch."""

import threading
import time

import cv2
import numpy as np
import pytest
from recordings import Cheap, asked, image, recorded, write

from diception_ros.bags.typestore import BagTypes
from diception_ros.core import images, settings
from diception_ros.core.prompt import Point
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.settings import LIVE, MESSAGES, PerceptionSettings
from diception_ros.viewer.session import Session, with_point, without_nearest
from diception_ros.viewer.sources import BagFrames, CameraDevice, ImageFiles, is_bag

SIZE = (24, 32)


class Gated(Cheap):
    """Predicts when it is allowed to, and keeps what it was asked for."""

    def __init__(self):
        super().__init__()
        self.gate, self.prompts, self.entered = threading.Event(), [], threading.Event()
        self.gate.set()

    def infer(self, frames, prompts, settings, at_model_size=False):
        self.prompts.append([(prompt.task, prompt.points) for prompt in prompts])
        self.entered.set()
        assert self.gate.wait(600)
        return super().infer(frames, prompts, settings, at_model_size)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f'{k}.png' for k in range(3)]
    for k, path in enumerate(paths):
        images.write(path, image(k))
    return paths


@pytest.fixture
def opened():
    """Makes sessions that are closed at the end."""
    made = []

    def make(source, predictor=None, **settings):
        perceiver = Perceiver(predictor or Gated(), BagTypes(), asked(**settings))
        made.append(Session(source, perceiver))
        made[-1].start()
        return made[-1]

    yield make
    for session in made:
        session.close()


def until(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_points_are_at_most_five_and_inside():
    points = ()
    for k in range(5):
        points = with_point(points, Point(k, 0), SIZE)
    with pytest.raises(ValueError, match='at most 5 points'):
        with_point(points, Point(9, 9), SIZE)
    assert with_point((), Point(31.4, -0.4), SIZE) == (Point(31, 0),)
    for outside in (Point(32, 0), Point(0, 24), Point(-1, 0)):
        with pytest.raises(ValueError, match='outside the image of 32 x 24'):
            with_point((), outside, SIZE)


def test_the_nearest_point_is_removed():
    points = (Point(0, 0), Point(10, 0), Point(0, 10))
    assert without_nearest(points, Point(9, 2)) == (Point(0, 0), Point(0, 10))
    assert without_nearest((), Point(0, 0)) == ()


def test_only_the_newest_of_the_requests_made_meanwhile_is_predicted(files, opened):
    predictor = Gated()
    session = opened(ImageFiles(files), predictor)
    until(lambda: session.snapshot.labels)
    predictor.gate.clear()
    predictor.entered.clear()
    session.add_point(Point(1, 1))
    assert predictor.entered.wait(600)
    for k in range(2, 5):
        session.add_point(Point(k, k))  # returns while the model works
    calls = len(predictor.prompts)
    predictor.gate.set()
    until(lambda: len(session.snapshot.points) == 4)
    assert [points for _, points in predictor.prompts[calls]] == [session.points]
    assert len(predictor.prompts) == calls + 1


def test_a_click_asks_again_for_what_takes_points_alone(files, opened):
    predictor = Gated()
    session = opened(ImageFiles(files), predictor)
    until(lambda: session.snapshot.labels)
    assert [task for task, _ in predictor.prompts[0]] == ['depth', 'entity']
    session.add_point(Point(3, 4))
    until(lambda: 'segmentation' in session.snapshot.labels)
    assert predictor.prompts[1:] == [[('segmentation', (Point(3, 4),))]]
    assert set(session.snapshot.labels) == {'depth', 'entity', 'segmentation'}
    session.remove_point(Point(0, 0))
    until(lambda: not session.snapshot.points)
    assert 'segmentation' not in session.snapshot.labels


def test_tasks_are_switched_and_wrong_ones_refused(files, opened):
    session = opened(ImageFiles(files))
    until(lambda: session.snapshot.labels)
    session.set_active_tasks(['normal'])
    until(lambda: list(session.snapshot.labels) == ['normal'])
    with pytest.raises(ValueError, match="no task 'norm'"):
        session.set_active_tasks(['norm'])
    assert session.tasks() == ('normal',)
    session.set_active_tasks([])
    until(lambda: not session.snapshot.labels)
    with pytest.raises(ValueError, match='num_inference_steps'):
        session.set_value('num_inference_steps', 0)
    session.set_value('num_inference_steps', 3)
    assert session.values()['num_inference_steps'] == 3


def test_parameters_are_those_that_what_is_shown_depends_on(files, opened):
    session = opened(ImageFiles(files))
    names = {one.name for one in session.declared()}
    assert {'num_inference_steps', 'depth.metric', 'points.gravity'} <= names
    assert {name for name in names if name.startswith('points.')} == {'points.gravity'}
    assert not names & {*LIVE, *MESSAGES, 'tasks', 'scan.frame', 'output_size'}
    assert names < {one.name for one in settings.declared(PerceptionSettings)}


def test_images_are_shown_by_number_and_a_broken_one_is_named(files, opened):
    files[1].write_bytes(b'no image')
    session = opened(ImageFiles(files))
    until(lambda: session.snapshot.labels)
    session.seek(2)
    until(lambda: session.snapshot.position == 2)
    assert np.array_equal(session.snapshot.image, image(2))
    session.seek(1)
    until(lambda: session.snapshot.error)
    assert '1.png' in session.snapshot.error
    session.seek(0)
    until(lambda: session.snapshot.position == 0 and not session.snapshot.error)


def test_a_bag_is_read_from_any_second(tmp_path):
    bag = BagFrames(write(tmp_path / 'drive', recorded(5)))
    assert bag.end == pytest.approx(0.4, abs=0.01)
    assert is_bag(tmp_path / 'drive.mcap')
    assert not is_bag(tmp_path / 'drive.png')
    first = bag.read()
    assert np.array_equal(first.frame.image, image(0))
    assert first.frame.intrinsics is not None
    bag.seek(0.2)
    assert np.array_equal(bag.read().frame.image, image(2))
    bag.seek(99)
    while bag.read() is not None:
        pass
    bag.close()
    with pytest.raises(ValueError, match="no topic '/other'"):
        BagFrames(tmp_path / 'drive.mcap', '/other')


def test_the_cameras_of_a_bag_are_switched(tmp_path, opened):
    both = [*recorded(3), *recorded(3, '/left/image_raw', size=(12, 16))]
    bag = BagFrames(write(tmp_path / 'drive', sorted(both, key=lambda one: one[2])))
    session = opened(bag)
    until(lambda: session.snapshot.labels)
    assert session.cameras == ['/camera/image_raw', '/left/image_raw']
    session.seek(0.2)
    session.add_point(Point(30, 20))
    until(lambda: session.snapshot.points and session.snapshot.position > 0.1)
    position = session.snapshot.position
    session.set_camera('/left/image_raw')
    until(lambda: session.snapshot.image.shape == (12, 16, 3))
    assert np.array_equal(session.snapshot.image, image(2, (12, 16)))
    assert abs(session.snapshot.position - position) < 0.05
    assert session.points == ()
    assert session.title.endswith(': /left/image_raw')
    with pytest.raises(ValueError, match="no camera 'right'"):
        session.set_camera('right')
    assert BagFrames(tmp_path / 'drive.mcap', '/left/image_raw').cameras == ()


def test_a_bag_plays_to_its_end_and_drops_what_the_model_is_too_slow_for(tmp_path, opened):
    bag = BagFrames(write(tmp_path / 'drive', recorded(12, period_s=0.02)))
    session = opened(bag, Cheap(seconds=0.05))
    until(lambda: session.snapshot.labels)
    session.play(True)
    until(lambda: not session.playing)
    snapshot = session.snapshot
    assert np.array_equal(snapshot.image, image(11))
    # Those that were shown and those that were dropped are all there are.
    assert 0 < snapshot.dropped < 11
    assert snapshot.version + snapshot.dropped == 12


def test_a_camera_gives_its_newest_image(tmp_path, opened):
    path = str(tmp_path / 'video.avi')
    video = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 30, (32, 24))
    for k in range(20):
        video.write(image(k))
    video.release()
    session = opened(CameraDevice(path), Cheap(seconds=0.02))
    until(lambda: session.snapshot.labels)
    assert session.snapshot.image.shape == (24, 32, 3)
    with pytest.raises(OSError, match='gives no images'):
        CameraDevice(str(tmp_path / 'none.avi'))
