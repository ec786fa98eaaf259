# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`conversion: cv_bridge` uses cv_bridge where it agrees, and never changes a byte."""

import importlib
import sys

import encoders
import numpy as np
import pytest

from diception_ros.messages import MessageError, encodings
from diception_ros.messages import images as image_messages

pytestmark = pytest.mark.slow

# A stand-in for cv_bridge that notes what it converts. {color} is how it converts bgr8.
MODULE = """
import cv2, numpy as np
CONVERTED = []
class CvBridgeError(TypeError): pass
class CvBridge:
    def __init__(self):
        {start}
    def imgmsg_to_cv2(self, message, desired_encoding='passthrough'):
        assert desired_encoding == 'rgb8'
        CONVERTED.append(message.encoding)
        channels = {{'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'mono8': 1}}.get(message.encoding)
        if channels is None:
            raise CvBridgeError('[%s] is not supported' % message.encoding)
        p = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, channels)
        if message.encoding == 'bgr8':
            {color}
        return np.repeat(p if channels == 1 else p[..., :3], 3 // min(channels, 3), axis=2)
"""
GOOD = {'start': 'pass', 'color': 'p = p[..., ::-1]'}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a cv_bridge, the text of a module, and returns a decoder and its log."""

    def install(text):
        folder = tmp_path / 'cv_bridge'
        folder.mkdir(exist_ok=True)
        (folder / '__init__.py').write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
        importlib.invalidate_caches()
        encodings.check_cv_bridge.cache_clear()
        log = []
        decode = encodings.decoder('cv_bridge', log.append)
        (line,) = log
        return decode, line

    yield install
    monkeypatch.undo()
    sys.modules.pop('cv_bridge', None)
    encodings.check_cv_bridge.cache_clear()


def images_of_all_encodings():
    rng = np.random.default_rng(0)
    for encoding in encoders.ALL:
        rgb = encoders.image(encoding, rng)
        for padding, bigendian in ((0, 0), (5, 0), (0, 1)):
            yield encoders.encode(rgb, encoding, padding, bool(bigendian))


def check_same_bytes(decode):
    for message in images_of_all_encodings():
        got = image_messages.rgb_from(message, decode)
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, encodings.decode(message))


def test_own_conversion_is_the_default_and_looks_for_no_cv_bridge(monkeypatch):
    monkeypatch.setattr(encodings, 'check_cv_bridge', None)
    assert encodings.decoder('own') is encodings.decode


def test_cv_bridge_converts_what_it_agrees_on(install):
    decode, line = install(MODULE.format(**GOOD))
    assert encodings.check_cv_bridge() == ({'rgb8', 'bgr8', 'rgba8', 'mono8'}, '')
    assert 'converts bgr8, mono8, rgb8, rgba8, with the same bytes' in line
    check_same_bytes(decode)
    # The others are padded or big-endian.
    converted = sys.modules['cv_bridge'].CONVERTED
    assert sorted(converted) == ['bgr8', 'mono8', 'rgb8', 'rgba8']


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
def test_a_broken_cv_bridge_is_not_used(install, text, reason):
    decode, line = install(text)
    assert reason in line
    assert 'all images are converted by diception_ros' in line
    assert 'cv_bridge' not in sys.modules
    assert decode is encodings.decode


def test_a_cv_bridge_with_other_colors_is_not_used_for_them(install):
    decode, _ = install(MODULE.format(start='pass', color='pass'))
    assert encodings.check_cv_bridge().encodings == {'rgb8', 'rgba8', 'mono8'}
    check_same_bytes(decode)


def test_a_cv_bridge_that_agrees_on_nothing_is_not_used(install):
    decode, line = install(MODULE.format(**GOOD).replace('return np.', 'return 1 + np.'))
    assert 'other colours for every encoding' in line
    assert 'cv_bridge' not in sys.modules
    assert decode is encodings.decode


def test_hanging_cv_bridge_times_out(install, monkeypatch):
    monkeypatch.setattr(encodings, 'CHECK_TIMEOUT_S', 0.05)
    decode, line = install('import time; time.sleep(60)')
    assert 'no result within 0.05 s' in line
    assert decode is encodings.decode


def test_a_cv_bridge_that_works_only_in_the_child_process(install):
    text = 'import sys\nif "pytest" in sys.modules: raise KeyError(16)\n' + MODULE.format(**GOOD)
    decode, line = install(text)
    assert 'KeyError(16)' in line
    assert decode is encodings.decode


def test_contradicting_numbers_never_reach_cv_bridge(install):
    decode, _ = install(MODULE.format(**GOOD))
    message = encoders.encode(np.zeros((4, 4, 3), np.uint8), 'bgr8')
    message.data = message.data[:-1]
    with pytest.raises(MessageError) as caught:
        image_messages.rgb_from(message, decode)
    assert caught.value.kind == 'data'
    assert sys.modules['cv_bridge'].CONVERTED == []


def test_a_late_failure_of_cv_bridge_is_a_message_error(install):
    decode, _ = install(MODULE.format(**GOOD))
    message = encoders.encode(np.zeros((4, 4, 3), np.uint8), 'bgr8')
    sys.modules['cv_bridge'].CvBridge.imgmsg_to_cv2 = None
    with pytest.raises(MessageError) as caught:
        image_messages.rgb_from(message, decode)
    assert caught.value.kind == 'cv_bridge'


def test_a_missing_cv_bridge_is_logged(monkeypatch):
    monkeypatch.setattr(encodings.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(encodings.processes, 'run_isolated', None)
    encodings.check_cv_bridge.cache_clear()
    log = []
    try:
        assert encodings.decoder('cv_bridge', log.append) is encodings.decode
    finally:
        encodings.check_cv_bridge.cache_clear()
    assert log == [
        'conversion cv_bridge: cv_bridge is not installed; all images are converted by '
        'diception_ros'
    ]
