# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: each declared once, with type, default, bounds and help, and used everywhere.

A group of settings is a frozen dataclass whose fields are made by `setting`. From that one
declaration come the check of every value, the options of a command line, and the copy that is
saved beside results.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

GroupT = TypeVar('GroupT')
_WORDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a text'}


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare one setting of a group.

    Args:
        default: its value when nobody says otherwise; its type is the setting's type.
        about: one line of help, with the unit.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the only values allowed.
    """
    return field(
        default=default, metadata={'about': about, 'low': low, 'high': high, 'choices': choices}
    )


def check(group: Any) -> None:
    """Raise ValueError at the first value that its declaration does not allow.

    Args:
        group: a dataclass whose fields were made by `setting`.
    """
    for one in fields(group):
        value, kind = getattr(group, one.name), _kind(one)
        right = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(group, one.name, float(value))
            right = True
        if not right:
            raise ValueError(f'{one.name} is {value!r}; expected {_WORDS[kind]}')
        low, high, choices = (one.metadata[key] for key in ('low', 'high', 'choices'))
        if choices and value not in choices:
            raise ValueError(
                f'{one.name} is {value!r}; expected one of {", ".join(map(str, choices))}'
            )
        # Written so that NaN fails.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            ends = ' and '.join(
                f'{word} {end}'
                for word, end in (('at least', low), ('at most', high))
                if end is not None
            )
            raise ValueError(f'{one.name} is {value}; expected {ends}')


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give a command line one option for each setting of a group."""
    for one in fields(kind):
        about = f'{one.metadata["about"]} (default: {one.default})'
        name = '--' + one.name.replace('_', '-')
        if _kind(one) is bool:
            parser.add_argument(
                name,
                action=argparse.BooleanOptionalAction,
                default=one.default,
                help=one.metadata['about'],
            )
        else:
            parser.add_argument(
                name,
                type=_kind(one),
                default=one.default,
                help=about,
                choices=one.metadata['choices'] or None,
                metavar=None if one.metadata['choices'] else one.name[0].upper(),
            )


def from_arguments(kind: type[GroupT], args: argparse.Namespace) -> GroupT:
    """The group that a command line asks for; ValueError says what is not allowed."""
    return kind(**{one.name: getattr(args, one.name) for one in fields(kind)})  # type: ignore[arg-type]


def _kind(one: Field[Any]) -> type:
    assert one.default is not MISSING, f'{one.name} was not made by setting()'
    return type(one.default)


@dataclass(frozen=True)
class PredictSettings:
    """How the model answers.

    Raises:
        ValueError: a value that its declaration does not allow.
    """

    device: str = setting('cpu', 'where the model runs: cpu, cuda or cuda:N')
    dtype: str = setting(
        'auto',
        'precision of the model; auto is bfloat16 on a GPU and float32 on the CPU',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )
    steps: int = setting(28, 'denoising steps; 1 is quick and loses little', low=1, high=1000)
    guidance: float = setting(
        2.0,
        'weight of the prompt over the empty prompt; 1 or less: none, and twice as fast',
        low=0,
        high=30,
    )
    seed: int = setting(42, 'of the noise that every answer starts from', low=0, high=2**63 - 1)
    ensemble: int = setting(
        1, 'answers with different noise that are merged into one', low=1, high=100
    )
    batch_size: int = setting(8, 'answers that are worked out at once', low=1, high=1024)
    resolution: int = setting(
        0, "side of the model's square in pixels; 0: what the model was made for", low=0, high=4096
    )
    reuse_last_velocity: bool = setting(
        False, 'skip the last of several steps, which changes little'
    )

    def __post_init__(self) -> None:
        check(self)
