# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception view` refuses, before a model is loaded."""

import importlib.util
import socket
import sys

import numpy as np
import pytest
from recordings import recorded, write

from diception_ros.core import images
from diception_ros.workflows import view as workflow
from diception_ros.workflows.view import ViewConfig, view


@pytest.fixture
def room(tmp_path):
    path = tmp_path / 'room.png'
    images.write(path, np.zeros((24, 32, 3), np.uint8))
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """NiceGUI counts as installed, and no model may be loaded."""
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setitem(sys.modules, 'diception_ros.perception.predictor', None)


def test_without_the_library_the_extra_is_named(room, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'diception_ros\[view\]'") as error:
        view(ViewConfig(sources=[room]))
    assert error.value.name == 'nicegui'


def test_wrong_sources_are_refused(room, tmp_path, installed):
    bag = str(write(tmp_path / 'drive', recorded(2)))
    for config, expected in (
        ({'sources': ['none.png']}, 'none.png: no such image'),
        ({'sources': ['none.mcap']}, 'none.mcap: no such bag'),
        ({'sources': [room, bag]}, 'images or one bag'),
        ({'sources': [room], 'camera': '0'}, 'images or a camera'),
        ({'sources': [bag], 'camera': '/other'}, "no topic '/other'"),
        ({'sources': [room], 'depth_reference': '/depth'}, 'no bag is given'),
        ({'camera': '/dev/no_camera'}, 'gives no images'),
    ):
        with pytest.raises((ValueError, OSError), match=expected):
            view(ViewConfig(**config, port=0))


def test_a_node_brings_its_own_settings():
    for more in ({'model': 'folder'}, {'perception': {'tasks': ('normal',)}}):
        if 'perception' in more:
            more['perception'] = workflow.PerceptionSettings(**more['perception'])
        with pytest.raises(ValueError, match='those of the running node'):
            ViewConfig(**more)
        ViewConfig(camera='0', **more)


def test_a_port_that_is_taken_is_named_first(room, installed):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f'cannot listen on 127.0.0.1 port {port}'):
            view(ViewConfig(sources=[room], port=port))
    with pytest.raises(ValueError, match='port'):
        ViewConfig(port=70000)


@pytest.mark.parametrize(
    ('host', 'loopback'),
    [('127.0.0.1', True), ('::1', True), ('localhost', True), ('0.0.0.0', False), ('::', False),
     ('robot', False)],
)  # fmt: skip
def test_other_addresses_than_loopback_are_open_to_others(host, loopback):
    assert workflow._is_loopback(host) is loopback
