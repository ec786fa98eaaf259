# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""cv_bridge is used where it works, does no harm where it does not, and changes no byte."""

import importlib
import sys

import encoders
import numpy as np
import pytest

from diception_ros.messages import MessageError, encodings
from diception_ros.messages import images as image_messages

# Speaks cv_bridge's language and notes what it is asked. {colour} is what it makes of a picture.
MODULE = """
import cv2, numpy as np
ASKED = []
class CvBridgeError(TypeError): pass
class CvBridge:
    def __init__(self):
        {start}
    def imgmsg_to_cv2(self, message, desired_encoding='passthrough'):
        assert desired_encoding == 'rgb8'
        ASKED.append(message.encoding)
        channels = {{'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'mono8': 1}}.get(message.encoding)
        if channels is None:
            raise CvBridgeError('[%s] is not supported' % message.encoding)
        shape = message.height, message.width, channels
        p = np.ndarray(shape, np.uint8, message.data, strides=(message.step, channels, 1))
        if message.encoding == 'bgr8':
            {colour}
        return np.repeat(p, 3, axis=2) if channels == 1 else p[..., :3]
"""
GOOD = {'start': 'pass', 'colour': 'p = p[..., ::-1]'}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a cv_bridge for this test: a text of a module."""

    def install(text):
        folder = tmp_path / 'cv_bridge'
        folder.mkdir(exist_ok=True)
        (folder / '__init__.py').write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
        importlib.invalidate_caches()
        encodings.find.cache_clear()
        return encodings.find()

    yield install
    monkeypatch.undo()
    sys.modules.pop('cv_bridge', None)
    encodings.find.cache_clear()


def pictures_of_all():
    rng = np.random.default_rng(0)
    for encoding in encoders.ALL:
        rgb = encoders.picture(encoding, rng)
        for padding, bigendian in ((0, 0), (5, 0), (0, 1)):
            yield encoders.encode(rgb, encoding, padding, bool(bigendian))


def same_as_our_own():
    for message in pictures_of_all():
        got = image_messages.rgb_from(message)
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, encodings.decode(message))


def test_a_good_one_is_asked_and_makes_no_difference(install):
    found = install(MODULE.format(**GOOD))
    assert found.encodings == {'rgb8', 'bgr8', 'rgba8', 'mono8'}
    assert found.reason == ''
    same_as_our_own()
    asked = sys.modules['cv_bridge'].ASKED
    # Two pictures of each in this machine's byte order; the others are none of its business.
    assert sorted(asked) == sorted([*found.encodings] * 2)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (MODULE.format(**{**GOOD, 'start': '{}[16]'}), 'KeyError: 16'),
        ('raise ImportError("numpy.core.multiarray failed to import")', 'failed to import'),
        ('import os\nos.abort()', 'does not work here'),
        ('import os\nos._exit(0)', 'does not work here'),
        (f'import atexit, os\natexit.register(os.abort)\n{MODULE.format(**GOOD)}', 'signal 6'),
        ('nonsense (', 'SyntaxError'),
        ('', 'CvBridge'),
    ],
    ids=['OpenCV 5', 'numpy 2', 'crash', 'quits', 'crash at the end', 'nonsense', 'empty'],
)
def test_a_broken_one_is_not_used_and_harms_nobody(install, text, reason):
    found = install(text)
    assert not found.encodings
    assert reason in found.reason
    assert 'cv_bridge' not in sys.modules
    same_as_our_own()


def test_one_that_gives_other_colours_is_not_used_for_them(install):
    found = install(MODULE.format(start='pass', colour='pass'))
    assert found.encodings == {'rgb8', 'rgba8', 'mono8'}
    same_as_our_own()


def test_one_that_knows_no_padding_is_not_used(install):
    found = install(MODULE.format(**GOOD).replace('message.step', 'message.width * channels'))
    assert not found.encodings
    assert 'other colours' in found.reason
    assert 'cv_bridge' not in sys.modules
    same_as_our_own()


def test_one_that_does_not_answer_is_given_up(install, monkeypatch):
    monkeypatch.setattr(encodings, 'PATIENCE', 0.05)
    found = install('import time; time.sleep(60)')
    assert not found.encodings
    assert 'no answer within 0.05 s' in found.reason


def test_one_that_works_for_the_other_process_only(install):
    text = 'import sys\nif "pytest" in sys.modules: raise KeyError(16)\n' + MODULE.format(**GOOD)
    found = install(text)
    assert not found.encodings
    assert 'KeyError(16)' in found.reason
    same_as_our_own()


def test_wrong_numbers_never_reach_it(install):
    install(MODULE.format(**GOOD))
    message = encoders.encode(np.zeros((4, 4, 3), np.uint8), 'bgr8')
    message.data = message.data[:-1]
    with pytest.raises(MessageError) as caught:
        image_messages.rgb_from(message)
    assert caught.value.kind == 'data'
    assert sys.modules['cv_bridge'].ASKED == []


def test_a_late_failure_is_the_messages(install):
    install(MODULE.format(**GOOD))
    message = encoders.encode(np.zeros((4, 4, 3), np.uint8), 'bgr8')
    sys.modules['cv_bridge'].CvBridge.imgmsg_to_cv2 = None
    with pytest.raises(MessageError) as caught:
        image_messages.rgb_from(message)
    assert caught.value.kind == 'cv_bridge'


def test_without_one_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(encodings.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(encodings.processes, 'ask', None)
    encodings.find.cache_clear()
    try:
        assert encodings.find() == (frozenset(), 'cv_bridge is not installed', None)
        same_as_our_own()
    finally:
        encodings.find.cache_clear()
