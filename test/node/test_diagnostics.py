# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the node without ROS: levels of diagnostics."""

import pytest

from diception_ros.node import diagnostics
from diception_ros.node.diagnostics import ERROR, OK, WARN, CameraReport, NodeReport, statuses
from diception_ros.node.frame_queue import Counts


def node(**changes):
    given = {
        'node': '/perception', 'state': 'active', 'error': '', 'idle': '', 'mismatches': {},
        'values': {'steps': 28, 'memory_mb': 1.23456},
    }  # fmt: skip
    return NodeReport(**{**given, **changes})


def camera(**changes):
    given = {
        'name': 'front', 'counts': Counts(received=9, processed=9), 'silent': '', 'lost': 0,
        'failed': 0, 'processed': 5, 'problem': '', 'values': {'lost': 0},
    }  # fmt: skip
    return CameraReport(**{**given, **changes})


@pytest.mark.parametrize(
    ('report', 'level', 'says'),
    [
        (node(), OK, 'active'),
        (node(idle='~/depth/color'), OK, 'idle: no subscriber of ~/depth/color'),
        (node(state='inactive', idle='~/depth/color'), OK, 'inactive'),
        (node(mismatches={'/image': 'RELIABILITY'}), WARN, 'reliability of /image'),
        (node(error='cannot configure: x', mismatches={'/a': 'B'}), ERROR, 'cannot configure: x'),
    ],
)
def test_statuses_level_of_the_node(report, level, says):
    (status,) = statuses(report)
    assert (status.level, status.name) == (level, '/perception')
    assert says in status.message
    assert status.values['memory_mb'] == '1.23'


@pytest.mark.parametrize(
    ('report', 'level', 'says'),
    [
        (camera(), OK, 'images arrive'),
        (camera(counts=Counts()), OK, 'no image yet'),
        (camera(silent='no images on /image'), WARN, 'no images on /image'),
        (camera(lost=3), WARN, 'lost 3 images'),
        (camera(failed=2), WARN, '2 images failed'),
        (camera(failed=2, processed=0), ERROR, 'every image fails'),
        (camera(problem='only 3 references'), WARN, 'no metric depth: only 3 references'),
    ],
)
def test_statuses_level_of_a_camera(report, level, says):
    status = statuses(node(cameras=[report]))[1]
    assert (status.level, status.name) == (level, '/perception: camera front')
    assert says in status.message


def test_statuses_sum_the_counts_of_the_cameras():
    counts = [
        Counts(received=10, processed=3, failed=1, replaced=2, idle=3, waiting=1),
        Counts(received=5, processed=1, overflowed=2, stopped=1, waiting=1),
    ]
    found = statuses(node(cameras=[camera(counts=one) for one in counts]))
    whole = {name: int(found[0].values[name]) for name in ('received', 'processed', 'dropped')}
    assert whole == {'received': 15, 'processed': 4, 'dropped': 8}
    for status, one in zip(found[1:], counts, strict=True):
        assert status.values['dropped'] == str(one.dropped)
        assert status.values['dropped_idle'] == str(one.idle)
        assert set(status.values) <= set(diagnostics.CAMERA_VALUES)
