# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: each declared once, with type, default, bounds and help, and used everywhere.

A group of settings is a frozen dataclass whose fields are made by `setting`. From that one
declaration come the check of every value, the options of a command line, the parameters of a node,
and the copy that is saved beside results. People know a setting by its `name`, which may have a
dot ('depth.metric'); a setting with keys is one number for each of them ('every_n.depth').
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
import difflib
from typing import Any, TypeVar

GroupT = TypeVar('GroupT')
_WORDS = {
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
    str: 'a text',
    tuple: 'a list of texts, such as [a, b]',
}


@dataclass(frozen=True)
class Declared:
    """One value that can be set.

    Attributes:
        name: what people call it, such as 'depth.metric' or 'every_n.depth'.
        attribute: the field of the group that holds it.
        key: of a setting with keys, which of them; '' for all others.
        kind: bool, int, float, str, or tuple for a list of texts.
        default: its value when nobody says otherwise.
        about: one line of help, with the unit.
        low: smallest value allowed, or None.
        high: largest value allowed, or None.
        choices: the only values allowed; of a list, for each of its texts. Empty: all.
    """

    name: str
    attribute: str
    key: str
    kind: type
    default: Any
    about: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...]

    @property
    def option(self) -> str:
        """Its option on a command line, such as '--depth-metric'."""
        return '--' + self.name.replace('_', '-').replace('.', '-')


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    name: str = '',
    keys: tuple[str, ...] = (),
) -> Any:
    """Declare one setting of a group.

    Args:
        default: its value when nobody says otherwise; its type is the setting's type. A tuple is a
            list of texts.
        about: one line of help, with the unit.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the only values allowed; of a list, for each of its texts.
        name: what people call it; the field's name where it is empty.
        keys: where there are any, the field is a mapping with a value of the default's type for
            each of them, and those that are not given have the default.
    """
    about_it = {'about': about, 'low': low, 'high': high, 'choices': choices, 'name': name}
    if not keys:
        return field(default=default, metadata=about_it)
    return field(
        default_factory=lambda: dict.fromkeys(keys, default),
        metadata={**about_it, 'keys': keys, 'default': default},
    )


def again(kind: type, name: str) -> Any:
    """Declare a setting of another group in this one too: same default, bounds and help."""
    (one,) = (one for one in fields(kind) if one.name == name)
    return field(default=one.default, metadata=one.metadata)


def declared(kind: type) -> list[Declared]:
    """Every value that can be set in a group, in the order of its fields."""
    found = []
    for one in fields(kind):
        about = one.metadata
        name = about['name'] or one.name
        default = about.get('default', one.default)
        assert default is not MISSING, f'{one.name} was not made by setting()'
        rest = {key: about[key] for key in ('about', 'low', 'high', 'choices')}
        for key in about.get('keys', ('',)):
            full = f'{name}.{key}' if key else name
            found.append(Declared(full, one.name, key, type(default), default, **rest))
    return found


def check(group: Any) -> None:
    """Raise ValueError at the first value that its declaration does not allow.

    Whole numbers given for numbers become numbers, and lists of texts tuples.

    Args:
        group: a dataclass whose fields were made by `setting`.
    """
    for whole in fields(group):
        if keys := whole.metadata.get('keys'):
            _fill(group, whole, keys)
    for one in declared(type(group)):
        held = getattr(group, one.attribute)
        value = _checked(one, held[one.key] if one.key else held)
        if one.key:
            held[one.key] = value
        else:
            object.__setattr__(group, one.attribute, value)


def values(group: Any) -> dict[str, Any]:
    """Every value of a group by the name that people call it; inverse of `changed`."""
    found = {}
    for one in declared(type(group)):
        held = getattr(group, one.attribute)
        found[one.name] = held[one.key] if one.key else held
    return found


def changed(group: GroupT, changes: Mapping[str, Any]) -> GroupT:
    """The group with other values; the group that is given stays as it is.

    Args:
        group: what holds where nothing is said.
        changes: values by the names that people call them.

    Raises:
        ValueError: no setting has this name, or a value is not allowed.
    """
    known = {one.name: one for one in declared(type(group))}
    new: dict[str, Any] = {one.name: getattr(group, one.name) for one in fields(group)}  # type: ignore[arg-type]
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f'no setting {name!r}{near(name, known)}')
        one = known[name]
        new[one.attribute] = {**new[one.attribute], one.key: value} if one.key else value
    return type(group)(**new)


def near(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name: what was probably meant, or what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {close[0]!r}?' if close else f'; known: {", ".join(known)}'


def add_arguments(
    parser: argparse._ActionsContainer, kind: type, leave_out: Collection[str] = ()
) -> None:
    """Give a command line one option for each setting of a group.

    Args:
        parser: of the command line, or a group of its options.
        kind: the group.
        leave_out: names of settings that have no option; `from_arguments` gives their defaults.
    """
    for one in declared(kind):
        if one.name in leave_out:
            continue
        shown = ' '.join(one.default) if one.kind is tuple else one.default
        about = one.about.replace('%', '%%')
        more: dict[str, Any] = {'dest': one.name, 'default': one.default}
        if one.kind is bool:
            parser.add_argument(
                one.option, action=argparse.BooleanOptionalAction, help=about, **more
            )
            continue
        if one.kind is tuple:
            more['nargs'] = '*'
        parser.add_argument(
            one.option,
            type=str if one.kind is tuple else one.kind,
            help=f'{about} (default: {shown})',
            choices=one.choices or None,
            metavar=None if one.choices else (one.key or one.attribute)[0].upper(),
            **more,
        )


def from_arguments(kind: type[GroupT], args: argparse.Namespace) -> GroupT:
    """The group that a command line asks for; ValueError says what is not allowed."""
    given = vars(args)
    new: dict[str, Any] = {}
    for one in declared(kind):
        value = given.get(one.name, one.default)
        if one.key:
            new.setdefault(one.attribute, {})[one.key] = value
        else:
            new[one.attribute] = value
    return kind(**new)


def _fill(group: Any, one: Field[Any], keys: Sequence[str]) -> None:
    name, given = one.metadata['name'] or one.name, getattr(group, one.name)
    if not isinstance(given, Mapping):
        raise ValueError(f'{name} is {given!r}; expected a value for each of {", ".join(keys)}')
    for key in given:
        if key not in keys:
            raise ValueError(f'no setting {f"{name}.{key}"!r}{near(str(key), keys)}')
    whole = {**dict.fromkeys(keys, one.metadata['default']), **given}
    object.__setattr__(group, one.name, whole)


def _checked(one: Declared, value: Any) -> Any:
    if one.kind is tuple:
        right = isinstance(value, (tuple, list)) and all(isinstance(text, str) for text in value)
        value = tuple(value) if right else value
    elif one.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
        right = True
    else:
        right = isinstance(value, one.kind) and (one.kind is bool or not isinstance(value, bool))
    if not right:
        raise ValueError(f'{one.name} is {value!r}; expected {_WORDS[one.kind]}')
    for part in value if one.kind is tuple else (value,):
        if one.choices and part not in one.choices:
            raise ValueError(
                f'{one.name} is {part!r}; expected one of {", ".join(map(str, one.choices))}'
            )
    # Written so that NaN fails.
    if (one.low is not None and not value >= one.low) or (
        one.high is not None and not value <= one.high
    ):
        ends = ' and '.join(
            f'{word} {end}'
            for word, end in (('at least', one.low), ('at most', one.high))
            if end is not None
        )
        raise ValueError(f'{one.name} is {value}; expected {ends}')
    return value


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
    steps: int = setting(1, "denoising steps; the paper's tables used 28", low=1, high=1000)
    guidance: float = setting(
        1.0,
        'weight of the prompt over the empty prompt; 1 or less: none, and twice as fast; '
        "the paper's tables used 2",
        low=0,
        high=30,
    )
    seed: int = setting(42, 'of the noise that every answer starts from', low=0, high=2**63 - 1)
    ensemble: int = setting(
        1, 'answers with different noise that are merged into one', low=1, high=100
    )
    shifts: int = setting(
        0,
        'answers about slightly shifted pictures that are blended into one without a grid of '
        'tokens, 1: just one; 0: what the model was made for',
        low=0,
        high=16,
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


@dataclass(frozen=True)
class ThreadSettings:
    """The setting, which a node and a replay declare among theirs."""

    threads: int = setting(
        0,
        'threads of the processor for the model; 0: OMP_NUM_THREADS where it is set, else half of '
        'the processors, with a GPU four at most',
        low=0,
        high=1024,
    )
