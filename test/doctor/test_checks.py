# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What each check of `diception doctor` finds, and the fix it suggests."""

import importlib.util
import json
import os
from pathlib import Path
import shutil
import sys
from types import SimpleNamespace

import pytest

from diception_ros.doctor import checks, missing_packages
from diception_ros.doctor.checks import BROKEN, OK, WARN
from diception_ros.system import processes, ros_environment

PARTS = ('transformer', 'vae', 'point_encoder', 'scheduler')


@pytest.fixture
def folder(tmp_path):
    """The built-in model's folder, of links that a test may remove."""
    builtin = Path(checks.__file__).parents[1] / 'model' / 'builtin'
    return shutil.copytree(builtin, tmp_path / 'model', copy_function=os.symlink)


def test_a_whole_model_folder_is_well(folder):
    assert checks.model(str(folder)).status == OK


@pytest.mark.parametrize('name', PARTS)
def test_every_part_of_a_model_is_looked_for(folder, name):
    shutil.rmtree(folder / name)
    finding = checks.model(str(folder))
    assert finding.status == BROKEN
    assert name in finding.message


def test_weights_are_looked_for(folder):
    for path in (folder / 'vae').glob('*.safetensors'):
        path.unlink()
    finding = checks.model(str(folder))
    assert finding.status == BROKEN
    assert 'weights of vae' in finding.message


def test_wrong_path_and_sd3_folder_raise_with_advice(folder):
    assert 'no such model folder' in checks.model(str(folder / 'nothing')).message
    index = folder / 'model_index.json'
    index.unlink()
    index.write_text(json.dumps({'_class_name': 'StableDiffusion3Pipeline'}))
    finding = checks.model(str(folder))
    assert finding.status == BROKEN
    assert 'diception convert --sd3' in finding.message


def test_a_gl_that_is_not_there_is_a_warning(monkeypatch):
    if importlib.util.find_spec('mujoco') is None:  # importing it would choose its OpenGL
        pytest.skip('MuJoCo is not installed')
    monkeypatch.setenv('MUJOCO_GL', 'nothing')
    (finding,) = checks.graphics()
    assert finding.status == WARN
    assert 'expected one of egl, osmesa' in str(finding)


def test_disks_need_room(monkeypatch, tmp_path):
    for free, status in ((1_000_000_000, WARN), (5_000_000_000, OK)):
        monkeypatch.setattr(
            shutil, 'disk_usage', lambda path, free=free: SimpleNamespace(free=free)
        )
        assert checks.space({'here': tmp_path}).status == status


def test_shared_memory_needs_room_and_no_litter(monkeypatch, tmp_path):
    def statuses(free):
        room = SimpleNamespace(free=free, total=free)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: room)
        return [finding.status for finding in checks.shared_memory(tmp_path)]

    assert statuses(64 << 20) == [WARN]  # what containers have
    assert statuses(1 << 30) == [OK]
    for k in range(checks.MANY_SEGMENTS + 1):
        (tmp_path / f'fastdds_{k:016x}').touch()
    assert statuses(1 << 30) == [OK, WARN]
    (finding,) = checks.shared_memory(tmp_path / 'nothing')
    assert finding.status == WARN


CARD = ['A card', 8 << 30]
PLAIN = {'torch': '2.13.0+cpu', 'cuda': None, 'threads': 2, 'devices': []}
BLIND = {**PLAIN, 'torch': '2.13.0', 'cuda': '13.0'}
SEEING = {**BLIND, 'devices': [CARD]}


@pytest.mark.parametrize(
    ('wanted', 'said', 'driver', 'status', 'says'),
    [
        ('cpu', PLAIN, False, OK, '2 threads'),
        ('cpu', PLAIN, True, WARN, 'pytorch.org'),  # a card, and a torch that cannot use it
        ('cpu', BLIND, True, WARN, 'nvidia-smi'),
        ('cpu', SEEING, True, WARN, 'set device to cuda'),
        ('cuda', PLAIN, True, BROKEN, 'built without CUDA'),
        ('cuda', BLIND, False, BROKEN, 'no NVIDIA driver'),
        ('cuda', BLIND, True, BROKEN, 'sees no CUDA device'),
        ('cuda', SEEING, True, OK, 'A card (8 GiB)'),
        ('cuda:0', SEEING, True, OK, 'A card'),
        ('cuda:1', SEEING, True, BROKEN, 'not cuda:1'),
        ('gpu', SEEING, True, BROKEN, 'expected cpu, cuda or cuda:N'),
        ('cuda:x', SEEING, True, BROKEN, 'expected cpu'),
    ],
)
def test_doctor_finds_the_device_or_explains_why_not(wanted, said, driver, status, says):
    finding = checks.device_finding(wanted, said, driver)
    assert finding.status == status
    assert says in str(finding)
    assert (finding.fix_hint == '') == (status == OK)


def test_a_torch_that_cannot_be_imported_is_broken(tmp_path, monkeypatch):
    (tmp_path / 'torch.py').write_text('raise ImportError("libcudart.so.12: cannot open")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = checks.device('cpu')
    assert finding.status == BROKEN
    assert 'libcudart.so.12' in finding.message
    assert 'pip install' in finding.fix_hint


@pytest.mark.parametrize(
    ('version', 'status'),
    [((3, 8, 10), BROKEN), ((3, 9, 18), BROKEN), ((3, 10, 12), OK), ((3, 13, 0), OK),
     ((3, 14, 0), WARN)],
)  # fmt: skip
def test_python_must_not_be_too_old(version, status):
    finding = checks.interpreter(version, {})
    assert finding.status == status
    assert '.'.join(map(str, version)) in finding.message
    assert (finding.fix_hint == '') == (status == OK)


def test_a_ros_of_another_python_breaks_it():
    path = {'PYTHONPATH': '/w/install/x/lib/python3.12/site-packages', 'ROS_DISTRO': 'jazzy'}
    assert checks.interpreter((3, 11, 2), path).status == BROKEN


@pytest.mark.parametrize(('visible', 'status'), [('true', OK), ('false', WARN)])
def test_an_environment_must_see_the_packages_of_ros(tmp_path, monkeypatch, visible, status):
    (tmp_path / 'pyvenv.cfg').write_text(
        f'home = /usr/bin\ninclude-system-site-packages = {visible}\n'
    )
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    path = {'PYTHONPATH': '/opt/ros/jazzy/lib/python3.12/site-packages'}
    assert checks.interpreter((3, 12, 3), path).status == status
    assert checks.interpreter((3, 12, 3), {}).status == OK  # nobody needs them then


@pytest.mark.parametrize(
    ('wanted', 'status', 'says'),
    [
        (['numpy>=1'], OK, 'all 1'),
        (['numpy>=1', 'no-such-thing<3,>=2'], BROKEN, 'not installed: no-such-thing'),
        (['numpy<1'], WARN, 'numpy<1'),
        ([], WARN, 'not installed for this Python'),
    ],
)
def test_packages_are_missing_or_of_another_version(monkeypatch, wanted, status, says):
    monkeypatch.setattr(missing_packages, 'requirements', lambda extra='': [] if extra else wanted)
    (finding,) = checks.packages({})
    assert finding.status == status
    assert says in finding.message


def test_an_opencv_that_cannot_be_loaded_is_broken(monkeypatch):
    assert list(checks.opencv()) == []
    text = 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory'
    result = processes.IsolatedResult(None, text)
    monkeypatch.setattr(processes, 'run_isolated', lambda program: result)
    (finding,) = checks.opencv()
    assert finding.status == BROKEN
    assert 'apt-get install libgl1' in finding.fix_hint


def test_an_extra_that_is_missing_is_no_fault(monkeypatch):
    wanted = {'': ['numpy>=1'], 'sim': ['no-such-thing']}
    monkeypatch.setattr(missing_packages, 'requirements', lambda extra='': wanted.get(extra, []))
    whole, extra = checks.packages({})
    assert (whole.status, extra.status) == (OK, WARN)
    assert 'simulate' in extra.message


def test_what_is_installed_here_fits():
    assert {finding.status for finding in checks.packages({})} <= {OK, WARN}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('program', 'says'),
    [
        ('import no_such_module', "No module named 'no_such_module'"),
        ('import os; os.kill(os.getpid(), 11)', 'signal 11'),
        ('import time; time.sleep(60)', 'no result within'),
        ('pass', 'no error message'),
    ],
)
def test_run_isolated_reports_how_the_process_failed(program, says):
    # One that ends has time, also where a process starts slowly.
    outcome = processes.run_isolated(program, 2 if 'sleep' in program else 600)
    assert outcome.value is None
    assert says in outcome.error


def test_run_isolated_uses_the_module_path_of_the_parent(tmp_path, monkeypatch):
    (tmp_path / 'only_here.py').write_text('VALUE = {"a": [1, None]}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    result = processes.run_isolated('import only_here\nreport(only_here.VALUE)')
    assert result == ({'a': [1, None]}, '')


def test_run_isolated_reports_a_process_that_cannot_start(monkeypatch):
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    outcome = processes.run_isolated('report(1)')
    assert outcome.value is None
    assert '/no/such/python' in outcome.error


def test_what_libraries_print_is_no_result():
    program = 'import atexit\natexit.register(print, "bye")\nprint("hello")\nreport([1])\nprint(2)'
    assert processes.run_isolated(program) == ([1], '')
    assert processes.run_isolated('print(2)').value is None


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
    return [one for one in checks.ros(environment) if one.check == about]


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
    assert finding.status == BROKEN
    assert says in finding.message
    assert finding.fix_hint


def test_messages_that_are_missing_come_with_the_distribution(fake):
    messages = {name: '' for name in checks._NEEDED if name != 'diagnostic_msgs'}
    fake(rclpy=WORKS, **messages)
    needed, wanted = found('messages', {'ROS_DISTRO': 'jazzy'})
    assert (needed.status, wanted.status) == (BROKEN, WARN)
    assert needed.fix_hint == 'apt-get install ros-jazzy-diagnostic-msgs'
    assert wanted.fix_hint == 'apt-get install ros-jazzy-vision-msgs'
    # Without an installation apt has no such packages.
    assert 'apt' not in ' '.join(one.fix_hint for one in found('messages', {}))


def test_a_middleware_that_is_not_there_is_broken(fake):
    fake(
        rclpy='def get_rmw_implementation_identifier(): raise RuntimeError("no librmw_x.so")',
        **dict.fromkeys(checks._NEEDED, ''),
    )
    (finding,) = found('middleware', {'ROS_DISTRO': 'jazzy', 'RMW_IMPLEMENTATION': 'rmw_x'})
    assert finding.status == BROKEN
    assert 'no librmw_x.so' in finding.message
    assert "'rmw_x'" in finding.fix_hint


def test_another_middleware_needs_no_profile(fake):
    fake(rclpy=WORKS.replace('fastrtps', 'cyclonedds'), **dict.fromkeys(checks._NEEDED, ''))
    assert not found('profile', {'ROS_DISTRO': 'jazzy'})
    fake(rclpy=WORKS)
    assert found('profile', {'ROS_DISTRO': 'jazzy'})[0].status == WARN


@pytest.mark.parametrize(('distro', 'right', 'wrong'), [
    ('humble', OLD, NEW), ('jazzy', OLD, NEW), ('kilted', NEW, OLD), ('lyrical', NEW, OLD),
    ('rolling', NEW, OLD), ('', NEW, OLD),
])  # fmt: skip
def test_each_distribution_reads_its_variable(distro, right, wrong):
    shipped = str(ros_environment.profile())
    assert checks.profile(distro, {right: shipped}).status == OK
    other = checks.profile(distro, {wrong: shipped})
    assert other.status == WARN
    assert f'export {right}={shipped}' in other.fix_hint
    nothing = checks.profile(distro, {})
    assert nothing.status == WARN
    assert f'export {right}={shipped}' in nothing.fix_hint


def test_doctor_reports_an_ineffective_fast_dds_profile(tmp_path):
    small = tmp_path / 'small.xml'
    text = ros_environment.profile().read_text()
    small.write_text(text.replace('67108864', '524288'))
    udp = tmp_path / 'udp.xml'
    udp.write_text(text.replace('<type>SHM</type>', '<type>UDPv4</type>'))
    for path, says in ((small, '524288'), (udp, 'less than'), (tmp_path / 'no.xml', 'No such'),
                       ('', 'set to nothing')):  # fmt: skip
        finding = checks.profile('kilted', {NEW: str(path)})
        assert finding.status == WARN
        assert says in finding.message


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
        return next(one for one in checks.clashes() if one.check == 'cv_bridge')

    return find


@pytest.mark.parametrize(('text', 'says'), [
    (SEGFAULT, 'cv_bridge does not work'), ('raise KeyError(16)', 'KeyError: 16'),
    (BRIDGE.format(out='raise KeyError(48)'), '1 encodings, but cv2_to_imgmsg fails: KeyError'),
    (BRIDGE.format(out='pixels = pixels[..., ::-1]'), 'other pixels'),
], ids=['crash', 'import', 'way out', 'other colours on the way out'])  # fmt: skip
def test_incompatible_cv_bridge_is_logged(bridge, monkeypatch, text, says):
    # The stand-in is imported here too where the child process accepts it.
    monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
    finding = bridge(text)
    assert finding.status == WARN
    assert says in finding.message
    assert 'numpy' in finding.message
    sys.modules.pop('cv_bridge', None)


def test_doctor_accepts_a_cv_bridge_that_works_both_ways(bridge):
    finding = bridge(BRIDGE.format(out='pass'))
    sys.modules.pop('cv_bridge', None)
    assert (finding.status, finding.message) == (OK, 'agrees on 1 encodings')


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


def test_doctor_reports_pytest_9_with_launch_testing(fake, monkeypatch):
    fake(launch_testing='')
    monkeypatch.setattr(checks, '_version', lambda name: '9.0.1')
    monkeypatch.delenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', raising=False)
    assert [one.check for one in checks.clashes()] == ['pytest']
    monkeypatch.setattr(checks, '_version', lambda name: '8.4.2')
    assert not [*checks.clashes()]
    monkeypatch.setattr(checks, '_version', lambda name: '9.0.1')
    monkeypatch.setenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', '1')
    assert not [*checks.clashes()]
