# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said about ROS: told apart by fake packages that fail in the ways real ones do."""

import sys

import pytest

from diception_ros.doctor import checks
from diception_ros.doctor.checks import BROKEN, OK, WARN
from diception_ros.system import ros_environment

NEW, OLD = ros_environment.VARIABLES
WORKS = 'def get_rmw_implementation_identifier(): return "rmw_fastrtps_cpp"\n'
SEGFAULT = 'import os; os.kill(os.getpid(), 11)'


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Packages with this text in them; those of ROS that are not given fail."""

    def make(**texts):
        nothing = dict.fromkeys((*checks._NEEDED, 'vision_msgs'), 'raise ImportError("not here")')
        for name, text in {**nothing, **texts}.items():
            package = tmp_path / name
            package.mkdir(exist_ok=True)
            (package / '__init__.py').write_text(text)
            for part in ('msg', 'srv'):
                (package / f'{part}.py').write_text('')
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


def found(about, environment):
    return [one for one in checks.ros(environment) if one.about == about]


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('import no_such_module', 'no_such_module'),
        ("raise ImportError('numpy.core.multiarray failed to import')", 'multiarray'),
        (SEGFAULT, 'signal 11'),
    ],
)
def test_an_rclpy_that_does_not_work_is_broken(fake, text, says):
    fake(rclpy=text)
    (finding,) = checks.ros({'ROS_DISTRO': 'jazzy'})
    assert finding.verdict == BROKEN
    assert says in finding.found
    assert finding.cure


def test_messages_that_are_missing_come_with_the_distribution(fake):
    messages = {name: '' for name in checks._NEEDED if name != 'diagnostic_msgs'}
    fake(rclpy=WORKS, **messages)
    needed, wanted = found('messages', {'ROS_DISTRO': 'jazzy'})
    assert (needed.verdict, wanted.verdict) == (BROKEN, WARN)
    assert needed.cure == 'apt-get install ros-jazzy-diagnostic-msgs'
    assert wanted.cure == 'apt-get install ros-jazzy-vision-msgs'
    # Without an installation apt has no such packages.
    assert 'apt' not in ' '.join(one.cure for one in found('messages', {}))


def test_a_middleware_that_is_not_there_is_broken(fake):
    fake(
        rclpy='def get_rmw_implementation_identifier(): raise RuntimeError("no librmw_x.so")',
        **dict.fromkeys(checks._NEEDED, ''),
    )
    (finding,) = found('middleware', {'ROS_DISTRO': 'jazzy', 'RMW_IMPLEMENTATION': 'rmw_x'})
    assert finding.verdict == BROKEN
    assert 'no librmw_x.so' in finding.found
    assert "'rmw_x'" in finding.cure


def test_another_middleware_needs_no_profile(fake):
    fake(rclpy=WORKS.replace('fastrtps', 'cyclonedds'), **dict.fromkeys(checks._NEEDED, ''))
    assert not found('profile', {'ROS_DISTRO': 'jazzy'})
    fake(rclpy=WORKS)
    assert found('profile', {'ROS_DISTRO': 'jazzy'})[0].verdict == WARN


@pytest.mark.parametrize(('distro', 'right', 'wrong'), [
    ('humble', OLD, NEW), ('jazzy', OLD, NEW), ('kilted', NEW, OLD), ('lyrical', NEW, OLD),
    ('rolling', NEW, OLD), ('', NEW, OLD),
])  # fmt: skip
def test_each_distribution_reads_its_variable(distro, right, wrong):
    shipped = str(ros_environment.profile())
    assert checks.profile(distro, {right: shipped}).verdict == OK
    other = checks.profile(distro, {wrong: shipped})
    assert other.verdict == WARN
    assert f'export {right}={shipped}' in other.cure
    nothing = checks.profile(distro, {})
    assert nothing.verdict == WARN
    assert f'export {right}={shipped}' in nothing.cure


def test_a_profile_that_does_not_help_is_told(tmp_path):
    small = tmp_path / 'small.xml'
    text = ros_environment.profile().read_text()
    small.write_text(text.replace('67108864', '524288'))
    udp = tmp_path / 'udp.xml'
    udp.write_text(text.replace('<type>SHM</type>', '<type>UDPv4</type>'))
    for path, says in ((small, '524288'), (udp, 'less than'), (tmp_path / 'no.xml', 'No such'),
                       ('', 'set to nothing')):  # fmt: skip
        finding = checks.profile('kilted', {NEW: str(path)})
        assert finding.verdict == WARN
        assert says in finding.found


# Converts mono8 alone, and with {out} to a message.
BRIDGE = """
import numpy as np
from types import SimpleNamespace
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        if message.encoding != 'mono8': raise TypeError(message.encoding)
        grey = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 1)
        return np.repeat(grey, 3, axis=2)
    def cv2_to_imgmsg(self, pixels, encoding):
        {out}
        return SimpleNamespace(height=2, width=3, encoding=encoding, data=pixels.tobytes())
"""


@pytest.fixture
def bridge(fake, monkeypatch):
    """The finding about a cv_bridge with this text."""
    from diception_ros.messages import encodings

    def find(text):
        fake(cv_bridge=text)
        check = encodings.check_cv_bridge.__wrapped__  # not the cached one
        monkeypatch.setattr(encodings, 'check_cv_bridge', check)
        return next(one for one in checks.clashes() if one.about == 'cv_bridge')

    return find


@pytest.mark.parametrize(('text', 'says'), [
    (SEGFAULT, 'cv_bridge does not work'), ('raise KeyError(16)', 'KeyError: 16'),
    (BRIDGE.format(out='raise KeyError(48)'), '1 encodings, but cv2_to_imgmsg fails: KeyError'),
    (BRIDGE.format(out='pixels = pixels[..., ::-1]'), 'other pixels'),
], ids=['crash', 'import', 'way out', 'other colours on the way out'])  # fmt: skip
def test_a_cv_bridge_that_does_not_fit_is_told(bridge, monkeypatch, text, says):
    # The stand-in is imported here too where the child process accepts it.
    monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
    finding = bridge(text)
    assert finding.verdict == WARN
    assert says in finding.found
    assert 'numpy' in finding.found
    sys.modules.pop('cv_bridge', None)


def test_a_cv_bridge_that_works_both_ways_is_fine(bridge):
    finding = bridge(BRIDGE.format(out='pass'))
    sys.modules.pop('cv_bridge', None)
    assert (finding.verdict, finding.found) == (OK, 'agrees on 1 encodings')


def test_no_advice_has_a_placeholder_for_the_distribution(fake, monkeypatch):
    from diception_ros.doctor import missing_packages

    for name in ('', 'humble', 'jazzy', 'kilted', 'lyrical', 'rolling'):
        environment = {'ROS_DISTRO': name} if name else {}
        fake(rclpy=WORKS)
        texts = [str(one) for one in checks.ros(environment)]
        fake(rclpy='import no_such_module')
        texts += [str(one) for one in checks.ros(environment)]
        texts += [missing_packages.ros(environment), missing_packages.packages(['tf2_msgs'], name)
                  if name else '']  # fmt: skip
        for text in texts:
            assert 'DISTRO' not in text.replace('ROS_DISTRO', ''), text
            assert 'ros--' not in text, text
            assert '<distro>' not in text, text


def test_pytest_9_beside_launch_testing_is_told(fake, monkeypatch):
    fake(launch_testing='')
    monkeypatch.setattr(checks, '_version', lambda name: '9.0.1')
    monkeypatch.delenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', raising=False)
    assert [one.about for one in checks.clashes()] == ['pytest']
    monkeypatch.setattr(checks, '_version', lambda name: '8.4.2')
    assert not [*checks.clashes()]
    monkeypatch.setattr(checks, '_version', lambda name: '9.0.1')
    monkeypatch.setenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', '1')
    assert not [*checks.clashes()]
