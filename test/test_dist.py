# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist: what is in them, and one version everywhere."""

from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import diception_ros

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # replaced by build_meta
print(build_meta.build_wheel(out))
print(build_meta.build_sdist(out))
"""
LEFT_OUT = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'site')


@pytest.fixture(scope='module')
def checks():
    """tools/check_dist.py"""
    if not (ROOT / 'tools' / 'check_dist.py').exists():
        pytest.skip('tools/ is not here')
    sys.path.insert(0, str(ROOT / 'tools'))
    try:
        import check_dist
    finally:
        del sys.path[0]
    return check_dist


def test_package_xml_has_the_version_of_the_package():
    found = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert found == diception_ros.__version__
    assert 'version=VERSION' in (ROOT / 'setup.py').read_text()
    # catkin_prepare_release replaces the first by the second.
    titles = re.findall(
        r'^(Forthcoming|[\d.]+ \(.*\))\n-+$', (ROOT / 'CHANGELOG.rst').read_text(), re.M
    )
    assert titles
    assert titles[0] == 'Forthcoming' or titles[0].startswith(f'{found} (')


@pytest.mark.slow
def test_the_wheel_and_the_sdist_are_complete_and_have_no_tests(tmp_path, checks):
    pytest.importorskip('setuptools', minversion='70.1')  # the first that builds wheels by itself
    tree = tmp_path / 'tree'
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    done = subprocess.run(
        [sys.executable, '-c', BUILD, str(tmp_path)], cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = tmp_path.glob('*.whl'), tmp_path.glob('*.tar.gz')
    assert checks.check(wheel, sdist) == []
    assert wheel.name == f'diception_ros-{diception_ros.__version__}-py3-none-any.whl'


def test_what_is_missing_or_foreign_in_a_wheel_is_named(checks):
    names = {*checks.files('diception_ros'), 'test/nodes.py'}
    text = '\n'.join(checks.check_wheel(names - {'diception_ros/__main__.py'}))
    assert 'diception_ros/__main__.py is missing' in text
    assert 'share/diception_ros/package.xml is missing' in text
    assert 'test/nodes.py does not belong into a wheel' in text
    assert 'model/builtin' not in text
    assert 'bench/zero.py does not belong' in '\n'.join(checks.check_sdist({'bench/zero.py'}))
