# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One declaration per setting: check, command line, defaults."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
import pickle

import pytest

from diception_ros.core import settings
from diception_ros.core.settings import (
    REQUIRED,
    ComputeSettings,
    PredictSettings,
    Settings,
    setting,
)


@dataclass(frozen=True)
class Kitchen(Settings):
    """One setting of every kind."""

    dishes: tuple[str, ...] = setting(('soup', 'bread'), 'what is cooked', name='menu.dishes')
    tables: tuple[str, ...] = setting((), 'who sits where', choices=('left', 'right'))
    salt: float = setting(0.5, 'grams, at most 100 % of a spoon', low=0, high=5)
    guests: int = setting(2, 'how many', low=1, name='menu.guests')
    hot: bool = setting(True, 'served hot')
    cook: str = setting('Ana', 'who', choices=('Ana', 'Bo'))
    spoons: Mapping[str, int] = setting(1, 'of each', low=0, high=9, keys=('soup', 'rice'))
    cooking: PredictSettings = field(default_factory=PredictSettings)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'num_inference_steps': 0},
            'num_inference_steps is 0; expected at least 1 and at most 1000',
        ),
        ({'num_inference_steps': 1.5}, 'num_inference_steps is 1.5; expected a whole number'),
        ({'num_inference_steps': True}, 'num_inference_steps is True; expected a whole number'),
        ({'num_inference_steps': '4'}, "num_inference_steps is '4'; expected a whole number"),
        ({'guidance_scale': float('nan')}, 'guidance_scale is nan; expected at least 0'),
        ({'reuse_last_velocity': 1}, 'reuse_last_velocity is 1; expected true or false'),
        ({'ensemble_size': 0}, 'ensemble_size is 0'),
    ],
)
def test_values_that_are_not_allowed(values, message):
    with pytest.raises(ValueError, match=message):
        PredictSettings(**values)


def test_unknown_choice_raises():
    with pytest.raises(ValueError, match="dtype is 'int8'; expected one of auto, float32"):
        ComputeSettings(dtype='int8')


def test_whole_numbers_are_numbers():
    group = PredictSettings(guidance_scale=1)
    assert group.guidance_scale == 1.0
    assert isinstance(group.guidance_scale, float)


def test_command_line_round_trip():
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, PredictSettings)
    assert settings.from_arguments(PredictSettings, parser.parse_args([])) == PredictSettings()
    line = '--num-inference-steps 4 --guidance-scale 1 --seed 7 --reuse-last-velocity'.split()
    chosen = settings.from_arguments(PredictSettings, parser.parse_args(line))
    assert asdict(chosen) == {
        **asdict(PredictSettings()),
        'num_inference_steps': 4,
        'guidance_scale': 1.0,
        'seed': 7,
        'reuse_last_velocity': True,
    }


# ---- names, lists, keys -------------------------------------------------------------------------


def test_every_value_is_declared_once_under_its_name():
    assert [(one.name, one.kind, one.default) for one in settings.declared(Kitchen)] == [
        ('menu.dishes', tuple, ('soup', 'bread')), ('tables', tuple, ()), ('salt', float, 0.5),
        ('menu.guests', int, 2), ('hot', bool, True), ('cook', str, 'Ana'),
        ('spoons.soup', int, 1), ('spoons.rice', int, 1),
        *((one.name, one.kind, one.default) for one in settings.declared(PredictSettings)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    'changes',
    [
        {}, {'menu.dishes': ('fish',)}, {'menu.dishes': ()}, {'tables': ('left', 'left')},
        {'spoons.rice': 3}, {'spoons.rice': 3, 'spoons.soup': 0}, {'hot': False, 'cook': 'Bo'},
        {'seed': 7, 'salt': 1.0},
    ],
)  # fmt: skip
def test_values_and_changed_are_inverse(changes):
    before = Kitchen()
    after = settings.changed(before, changes)
    assert before == Kitchen()
    assert settings.values(after) == {**settings.values(before), **changes}
    assert settings.changed(Kitchen(), settings.values(after)) == after
    # A group travels to other processes and into files.
    assert pickle.loads(pickle.dumps(after)) == after
    assert Kitchen(**asdict(after)) == after


def test_lists_become_tuples_and_what_is_given_is_not_kept():
    given = {'soup': 4}
    group = Kitchen(dishes=['fish'], spoons=given)
    assert group.dishes == ('fish',)
    assert group.spoons == {'soup': 4, 'rice': 1}
    given['soup'] = 7
    assert group.spoons['soup'] == 4
    assert Kitchen().spoons == {'soup': 1, 'rice': 1}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'menu.dishes': 'soup'}, "menu.dishes is 'soup'; expected a list of texts"),
        ({'menu.dishes': [1]}, r'menu.dishes is \[1\]; expected a list of texts'),
        ({'tables': ['left', 'middle']}, "tables is 'middle'; expected one of left, right"),
        ({'menu.guests': 0}, 'menu.guests is 0; expected at least 1'),
        ({'spoons.rice': 10}, 'spoons.rice is 10; expected at least 0 and at most 9'),
        ({'spoons.rice': True}, 'spoons.rice is True; expected a whole number'),
        ({'menu.dishs': ()}, "no setting 'menu.dishs'; did you mean 'menu.dishes'"),
        ({'spoons.ric': 1}, "no setting 'spoons.ric'; did you mean 'spoons.rice'"),
        ({'qqq': 1}, "no setting 'qqq'; known: menu.dishes, tables"),
        ({'salt': float('nan')}, 'salt is nan'),
        ({'steps': 3}, "no setting 'steps'; it is now 'num_inference_steps'"),
        ({'seed': -1}, 'seed is -1'),
    ],
)
def test_changes_that_are_not_allowed(changes, message):
    with pytest.raises(ValueError, match=message):
        settings.changed(Kitchen(), changes)


def test_a_setting_with_keys_takes_those_keys_only():
    with pytest.raises(ValueError, match=r"no setting 'spoons\.tea'; known: soup, rice"):
        Kitchen(spoons={'tea': 1})
    with pytest.raises(ValueError, match='spoons is 3; expected a value for each of soup, rice'):
        Kitchen(spoons=3)


def test_command_line_of_names_lists_and_keys():
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, Kitchen, leave_out=('cook', 'spoons.soup'))
    assert settings.from_arguments(Kitchen, parser.parse_args([])) == Kitchen()
    line = '--menu-dishes fish rice --tables --menu-guests 4 --spoons-rice 2 --no-hot'.split()
    assert settings.from_arguments(Kitchen, parser.parse_args(line)) == Kitchen(
        dishes=('fish', 'rice'), guests=4, spoons={'rice': 2}, hot=False
    )
    for left_out in ('--cook', '--spoons-soup'):
        with pytest.raises(SystemExit):
            parser.parse_args([left_out, '1'])
    shown = parser.format_help()
    assert '100 % of a spoon' in shown
    assert '(default: soup bread)' in shown


def test_options_made_of_a_group_give_it_back():
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, Kitchen)
    kitchen = Kitchen(
        ('rice',), ('left', 'right'), salt=2, hot=False, spoons={'rice': 3},
        cooking={'num_inference_steps': 4, 'reuse_last_velocity': True},
    )  # fmt: skip
    options = settings.to_arguments(kitchen)
    assert settings.from_arguments(Kitchen, parser.parse_args(options)) == kitchen
    assert settings.to_arguments(Kitchen()) == []


@dataclass(frozen=True)
class Trip(Settings):
    """Settings that have to be given, may be absent, or are paths."""

    place: Path = setting(REQUIRED, 'where to', kind=Path)
    stops: tuple[Path, ...] = setting((), 'on the way', item=Path, flag='--stop')
    days: tuple[int, ...] = setting((1, 2), 'which', item=int)
    guide: str | None = setting(None, 'who', kind=str, choices=('Ana', 'Bo'))


def test_paths_lists_and_absent_values():
    trip = Trip('there', stops=['-a b', Path('c')])
    assert trip == Trip(Path('there'), (Path('-a b'), Path('c')))
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, Trip)
    options = settings.to_arguments(trip)
    assert settings.from_arguments(Trip, parser.parse_args(options)) == trip
    several = parser.parse_args(['--place', 'x', '--stop', 'a', '--stop', 'b', 'c'])
    assert settings.from_arguments(Trip, several).stops == tuple(map(Path, 'abc'))
    for given, message in (
        ({'place': 3}, 'place is 3; expected a path'),
        ({'place': 'x', 'stops': 'a'}, "stops is 'a'; expected a list of paths"),
        ({'place': 'x', 'days': (1, True)}, 'expected a list of whole numbers'),
        ({'place': 'x', 'guide': 'Cy'}, 'expected one of Ana, Bo'),
    ):
        with pytest.raises(ValueError, match=message):
            Trip(**given)
