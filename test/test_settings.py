# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One declaration per setting: check, command line, defaults."""

import argparse
from dataclasses import asdict

import pytest

from diception_ros import settings
from diception_ros.settings import PredictSettings


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'steps': 0}, 'steps is 0; expected at least 1 and at most 1000'),
        ({'steps': 1.5}, 'steps is 1.5; expected a whole number'),
        ({'steps': True}, 'steps is True; expected a whole number'),
        ({'steps': '4'}, "steps is '4'; expected a whole number"),
        ({'guidance': float('nan')}, 'guidance is nan; expected at least 0'),
        ({'dtype': 'int8'}, "dtype is 'int8'; expected one of auto, float32"),
        ({'reuse_last_velocity': 1}, 'reuse_last_velocity is 1; expected true or false'),
        ({'ensemble': 0}, 'ensemble is 0'),
    ],
)
def test_values_that_are_not_allowed(values, message):
    with pytest.raises(ValueError, match=message):
        PredictSettings(**values)


def test_whole_numbers_are_numbers():
    group = PredictSettings(guidance=1)
    assert group.guidance == 1.0
    assert isinstance(group.guidance, float)


def test_command_line_round_trip():
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, PredictSettings)
    assert settings.from_arguments(PredictSettings, parser.parse_args([])) == PredictSettings()
    line = '--steps 4 --guidance 1 --dtype bfloat16 --seed 7 --reuse-last-velocity'.split()
    chosen = settings.from_arguments(PredictSettings, parser.parse_args(line))
    assert asdict(chosen) == {
        **asdict(PredictSettings()),
        'steps': 4,
        'guidance': 1.0,
        'dtype': 'bfloat16',
        'seed': 7,
        'reuse_last_velocity': True,
    }
