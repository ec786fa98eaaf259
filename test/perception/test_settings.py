# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of perception: each bad value is refused with a reason, also two that do not fit."""

from dataclasses import fields
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.core import settings
from diception_ros.core.geometry import ScaleShift, to_metric
from diception_ros.core.labels import Disparity
from diception_ros.core.settings import FitCriteria, PredictSettings
from diception_ros.node.frame_queue import FrameQueue
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.settings import LIVE, PerceptionSettings, clean_categories
from diception_ros.training.settings import TrainSettings

DEFAULTS = PerceptionSettings()


def test_the_names_are_those_of_the_documents():
    assert [one.name for one in settings.declared(PerceptionSettings)] == [
        'tasks', 'adapters', 'semantic.categories',
        *(f'every_n.{name}' for name in tasks.names()), 'num_inference_steps', 'guidance_scale',
        'seed', 'ensemble_size', 'tta_shifts', 'processing_resolution', 'batch_size',
        'reuse_last_velocity',
        'output_size', 'conversion', 'depth.metric', 'depth.scale',
        'depth.shift', 'depth.tolerance_s',
        'depth.reference_transform', 'depth.camera_height',
        'depth.min_points', 'depth.inlier_threshold',
        'depth.min_inliers', 'depth.max_residual',
        'points.range_min', 'points.range_max', 'points.stride', 'points.voxel',
        'points.edge_filter', 'points.edge_angle', 'points.edge_jump', 'points.ground',
        'points.ground_height', 'points.gravity', 'points.gravity_frame',
        'points.keep_classes', 'points.drop_classes',
        'scan.frame', 'scan.range_min', 'scan.range_max', 'scan.height_max',
        'temporal.noise', 'temporal.smooth',
        'temporal.track_ids', 'temporal.min_iou', 'temporal.reset_after_s', 'max_rate_hz',
        'lazy', 'policy',
        'queue_size',
    ]  # fmt: skip
    assert set(LIVE) <= {one.name for one in settings.declared(PerceptionSettings)}
    for one in settings.declared(PerceptionSettings):
        assert one.about[0].islower()
        if one.kind in (int, float):
            assert one.low is not None
            assert one.high is not None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'tasks': ['depth', 'dept']}, "no task 'dept'; did you mean 'depth'"),
        ({'tasks': []}, 'tasks is empty; expected some of depth, entity'),
        ({'tasks': ['depth', 'normal', 'depth']}, "tasks has 'depth' twice"),
        ({'tasks': ['semantic'], 'semantic.categories': []}, 'semantic among tasks needs some'),
        ({'semantic.categories': ['cat', ' ']}, 'semantic.categories has an empty text'),
        ({'semantic.categories': ['cat', 'cat ']}, "semantic.categories has 'cat' twice"),
        (
            {'semantic.categories': [f'c{i}' for i in range(256)]},
            'semantic.categories has 256 texts; expected at most 255',
        ),
        ({'every_n.depth': 0}, 'every_n.depth is 0; expected at least 1'),
        ({'every_n.dept': 2}, "no setting 'every_n.dept'; did you mean 'every_n.depth'"),
        ({'depth.metric': 'on'}, "depth.metric is 'on'; expected one of off, fixed, aligned"),
        ({'depth.metric': 'fixed'}, "depth.metric is 'fixed' and depth.scale 0"),
        (
            {'depth.metric': 'aligned', 'tasks': ['normal']},
            "depth.metric is 'aligned' and tasks has no depth",
        ),
        ({'depth.reference_transform': '1 2 3'}, 'depth.reference_transform: expected seven'),
        ({'depth.reference_transform': '0 0 0 0 0 0 2'}, 'a quaternion of length 1, got 2'),
        ({'depth.scale': float('inf')}, 'depth.scale is inf'),
        ({'temporal.smooth': 1.0}, 'temporal.smooth is 1.0; expected at least 0 and at most 0.99'),
        ({'temporal.noise': 'random'}, 'expected one of fixed, per_frame'),
        ({'output_size': 'small'}, 'expected one of camera, model'),
        ({'max_rate_hz': -1.0}, 'max_rate_hz is -1.0'),
        (
            {'num_inference_steps': 0},
            'num_inference_steps is 0; expected at least 1 and at most 1000',
        ),
        ({'seed': -1}, 'seed is -1'),
    ],
)
def test_rejected_settings_give_the_reason_and_change_nothing(changes, message):
    before = settings.values(DEFAULTS)
    with pytest.raises(ValueError, match=message):
        settings.changed(DEFAULTS, changes)
    assert settings.values(DEFAULTS) == before


@pytest.mark.parametrize(
    'changes',
    [
        {'depth.metric': 'fixed', 'depth.scale': 0.8, 'depth.shift': -0.1},
        {'depth.metric': 'aligned'},
        {'tasks': ['semantic'], 'semantic.categories': [f'c{i}' for i in range(255)]},
        {'semantic.categories': []},
        {'tasks': tasks.names()},
        {'depth.reference_transform': '0.1, 0, -0.05, 0.5, -0.5, 0.5, 0.5'},
    ],
)
def test_values_that_fit_together_hold(changes):
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()}
    held = settings.values(settings.changed(DEFAULTS, changes))
    assert held == {**settings.values(DEFAULTS), **given}


def test_predict_settings_follow_the_perception_settings():
    chosen = settings.changed(
        DEFAULTS, {'num_inference_steps': 3, 'guidance_scale': 1.5, 'seed': 7, 'ensemble_size': 2,
                   'processing_resolution': 32,
                   'batch_size': 4, 'reuse_last_velocity': True},
    )  # fmt: skip
    assert chosen.predict_settings(123) == PredictSettings(
        num_inference_steps=3, guidance_scale=1.5, seed=7, ensemble_size=2,
        processing_resolution=32, batch_size=4,
        reuse_last_velocity=True,
    )  # fmt: skip
    assert DEFAULTS.predict_settings() == PredictSettings()


def test_noise_of_its_own_for_every_frame():
    fixed = DEFAULTS
    other = settings.changed(DEFAULTS, {'temporal.noise': 'per_frame', 'ensemble_size': 100})
    stamps = [0, 1, 2, 1_790_000_000_000_000_000, 1_790_000_000_033_333_333, 2**63 - 1]
    assert {fixed.predict_settings(stamp).seed for stamp in stamps} == {42}
    seeds = [other.predict_settings(stamp).seed for stamp in stamps]
    assert seeds == [other.predict_settings(stamp).seed for stamp in stamps]
    # No member of the ensemble of one is a member of another's.
    assert len({(seed + k) % 2**63 for seed in seeds for k in range(100)}) == 100 * len(stamps)


def test_fit_criteria_follow_the_settings():
    chosen = settings.changed(DEFAULTS, {
        'depth.min_points': 9, 'depth.inlier_threshold': 0.2, 'depth.min_inliers': 0.7,
        'depth.max_residual': 0.04,
    })  # fmt: skip
    assert chosen.depth.criteria == FitCriteria(9, 0.2, 0.7, 0.04)
    assert DEFAULTS.depth.criteria == FitCriteria()


def test_no_name_means_two_things():
    names = [one.name for one in settings.declared(PerceptionSettings)]
    assert len(set(names)) == len(names) >= len(fields(PerceptionSettings))


def test_categories_are_cleaned():
    assert clean_categories((' cat', 'dining table ')) == ('cat', 'dining table')
    assert PerceptionSettings(categories=(' cat',)).categories == ('cat',)


def test_declaring_them_is_light():
    program = (
        'import argparse, sys\n'
        'from diception_ros.core import settings\n'
        'from diception_ros.perception.settings import LIVE, PerceptionSettings\n'
        'settings.add_arguments(argparse.ArgumentParser(), PerceptionSettings, LIVE)\n'
        "heavy = {'torch', 'cv2', 'scipy'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)


# A value that others ask for.
BESIDE = {
    PerceptionSettings: {'depth.scale': 1.0}, NodeSettings: {}, PredictSettings: {},
    TrainSettings: {'resolution': 64, 'width': 64, 'heads': 1, 'model': 'builtin'},
}  # fmt: skip


@pytest.mark.parametrize(
    ('group', 'one'),
    [
        pytest.param(group, one, id=f'{group.__name__} {one.name}')
        for group in BESIDE
        for one in settings.declared(group)
        if one.kind in (int, float)
    ],
)
def test_every_number_is_finite_and_computable_at_its_ends(group, one):
    """Infinite values, NaN and values outside of the range raise; the ends and tiny ones hold."""
    beside = {name: value for name, value in BESIDE[group].items() if name != one.name}
    default = group(**beside) if group is TrainSettings else group()
    refused = [2**63, -(2**63)]
    if one.low is not None:
        refused.append(one.low - 1)
    if one.high is not None:
        refused.append(one.high + 1 if one.kind is int else np.nextafter(one.high, np.inf))
    if one.kind is float:
        refused += [float('inf'), -float('inf'), float('nan')]
    held = [end for end in (one.low, one.high) if end is not None]
    if one.kind is float and (one.low is None or one.low <= 0):
        # Of these lengths only 0 is so small; test_costmap calculates with the others' ends.
        tiny = refused if one.name in ('points.voxel', 'depth.camera_height') else held
        tiny.append(1e-300)
        held.append(-0.0)
    for value in refused:
        value = one.kind(value) if np.isfinite(value) else value
        with pytest.raises(ValueError, match=f'{re.escape(one.name)} is .*; expected'):
            settings.changed(default, {**beside, one.name: value})
    for value in held:
        if (group, one.name) in ((TrainSettings, 'width'), (TrainSettings, 'heads')):
            continue  # each must fit the other
        chosen = settings.changed(default, {**beside, one.name: value})
        assert settings.values(chosen)[one.name] == value


@pytest.mark.parametrize('scale', [1e-300, 1e-30, 1e6])
@pytest.mark.parametrize('shift', [-1e6, -1e-300, 0.0, 1e-300, 1e6])
@pytest.mark.filterwarnings('error')
def test_metric_depth_is_finite_or_unknown_at_the_ends(scale, shift):
    disparity = Disparity(np.array([[0, 1e-30, 0.5, 1]], np.float32))
    depth = to_metric(disparity, ScaleShift(scale, shift)).values
    known = depth[~np.isnan(depth)]
    assert (known > 0).all()
    assert np.isfinite(known).all()


@pytest.mark.parametrize('rate', [1e-300, 1e-9, 1e4])
def test_a_rate_at_its_ends_gives_a_finite_wait(rate):
    queue = FrameQueue(['a'])
    queue.open()
    queue.limit(rate)
    queue.put('a', 1)
    assert queue.get().message == 1
    queue.put('a', 2)
    threading.Timer(0.05, queue.close).start()
    queue.get()  # neither raises nor waits longer than until the queue is closed
