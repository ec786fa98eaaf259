# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: each declared once, with type, default, bounds and help, and used everywhere.

A group of settings is a frozen dataclass derived from `Settings`. A field is made by `setting`, or
holds another group (`field(default_factory=Group)`), whose settings keep their names. From that
one declaration come the check of every value, the options of a command line, the parameters of a
node, and the copy that is saved beside results. People know a setting by its `name`, which may
have a dot ('depth.metric'); a setting with keys is one number for each of them ('every_n.depth').
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
import difflib
import functools
from pathlib import Path
from typing import Any, ClassVar, TypeVar

GroupT = TypeVar('GroupT', bound='Settings')
# Default of a setting that has to be given.
REQUIRED: Any = MISSING
_WORDS = {
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
    str: 'a text',
    Path: 'a path',
    tuple: 'a list of texts, such as [a, b]',
}


@dataclass(frozen=True)
class Declared:
    """One value that can be set.

    Attributes:
        name: what people call it, such as 'depth.metric' or 'every_n.depth'.
        kind: bool, int, float, str, Path, or tuple for a list.
        default: its value if it is not given; REQUIRED, or None for one that may be absent.
        about: one line of help, with the unit.
        low: smallest value allowed, or None.
        high: largest value allowed, or None.
        choices: the only values allowed; of a list, for each of its items. Empty: all.
        item: of a list, the type of its items: str, int or Path.
        metavar: what its option shows for the value, such as 'DIR'; '' for a letter.
        flag: its option where that doesn't follow from the name, such as '--categories'; a word
            without dashes makes it a positional argument.
        attribute: the field of the group that holds it.
        key: of a setting with keys, which of them; '' for all others.
    """

    name: str
    kind: type
    default: Any
    about: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...]
    item: type
    metavar: str
    flag: str
    attribute: str = ''
    key: str = ''

    @property
    def option(self) -> str:
        """Its option on a command line, such as '--depth-metric'."""
        return self.flag or '--' + self.name.replace('_', '-').replace('.', '-')


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    name: str = '',
    keys: tuple[str, ...] = (),
    kind: type | None = None,
    item: type = str,
    metavar: str = '',
    flag: str = '',
) -> Any:
    """Declare one setting of a group; arguments as the attributes of `Declared`.

    Args:
        default: its value if it is not given; its type is the setting's unless `kind` is given.
        about: one line of help, with the unit.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the only values allowed.
        name: what people call it; the group's prefix and the field's name where it is empty.
        keys: where there are any, the field is a mapping with a value of the default's type for
            each of them, and those that are not given have the default.
        kind: its type where the default doesn't tell.
        item: of a list, the type of its items.
        metavar: what its option shows for the value.
        flag: its option.
    """
    spec = Declared(
        name, kind or type(default), default, about, low, high, choices, item, metavar, flag
    )
    if not keys:
        return field(default=default, metadata={'declared': spec})
    return field(
        default_factory=lambda: dict.fromkeys(keys, default),
        metadata={'declared': spec, 'keys': keys},
    )


def again(kind: type, name: str) -> Any:
    """Declare a setting of another group in this one too: same default, bounds and help."""
    (spec,) = (spec for spec in fields(kind) if spec.name == name)
    return field(default=spec.default, metadata=spec.metadata)


def help_of(spec: Field[Any]) -> str:
    """The help of a field that `setting` or `again` made."""
    return str(spec.metadata['declared'].about)


@dataclass(frozen=True)
class Settings:
    """A group of settings, whose values are checked when it is made; see `check`.

    Attributes:
        name_prefix: what the names of its settings begin with, such as 'depth.'.

    Raises:
        ValueError: a value that its declaration does not allow.
    """

    name_prefix: ClassVar[str] = ''

    def __post_init__(self) -> None:
        check(self)


def declared(kind: type[Settings]) -> list[Declared]:
    """Every value that can be set in a group and the groups inside it, in the order of fields."""
    listed: list[Declared] = []
    for whole in fields(kind):
        inner = _group(whole)
        listed += declared(inner) if inner else _own(kind.name_prefix, whole)
    return listed


def check(group: Any) -> None:
    """Raise ValueError at the first value that its declaration does not allow.

    Whole numbers given for numbers become numbers, lists of texts tuples, and mappings given for
    groups inside the group those groups.
    """
    for whole in fields(group):
        held = getattr(group, whole.name)
        if kind := _group(whole):
            if isinstance(held, Mapping):
                object.__setattr__(group, whole.name, kind(**held))
            elif not isinstance(held, kind):
                raise ValueError(f'{whole.name} is {held!r}; expected {kind.__name__}')
            continue
        if keys := whole.metadata.get('keys'):
            _fill(group, whole, keys)
        for spec in _own(group.name_prefix, whole):
            held = getattr(group, spec.attribute)
            value = _checked(spec, held[spec.key] if spec.key else held)
            if spec.key:
                held[spec.key] = value
            else:
                object.__setattr__(group, spec.attribute, value)


def values(group: Any) -> dict[str, Any]:
    """Every value of a group by the name that people call it; inverse of `changed`."""
    values_by_name: dict[str, Any] = {}
    for whole in fields(group):
        held = getattr(group, whole.name)
        if _group(whole):
            values_by_name |= values(held)
            continue
        for spec in _own(group.name_prefix, whole):
            values_by_name[spec.name] = held[spec.key] if spec.key else held
    return values_by_name


def changed(group: GroupT, changes: Mapping[str, Any]) -> GroupT:
    """The group with other values, by the names that people call them; the given one stays.

    Raises:
        ValueError: no setting has this name, or a value is not allowed.
    """
    known = [spec.name for spec in declared(type(group))]
    for name in changes:
        if name not in known:
            raise ValueError(f'no setting {name!r}{near(name, known)}')
    return _changed(group, changes)


def _changed(group: GroupT, changes: Mapping[str, Any]) -> GroupT:
    new: dict[str, Any] = {}
    for whole in fields(group):
        held = getattr(group, whole.name)
        if _group(whole):
            held = _changed(held, changes)
        for spec in _own(group.name_prefix, whole):
            if spec.name in changes:
                value = changes[spec.name]
                held = {**held, spec.key: value} if spec.key else value
        new[whole.name] = held
    return group if all(new[name] is getattr(group, name) for name in new) else type(group)(**new)


def _group(whole: Field[Any]) -> Any:
    """The kind of the group that a field holds; None where it holds a setting."""
    return whole.default_factory if is_dataclass(whole.default_factory) else None


@functools.cache
def _own(prefix: str, whole: Field[Any]) -> tuple[Declared, ...]:
    """What one field declares; nothing for a group."""
    if _group(whole):
        return ()
    spec = whole.metadata['declared']
    name = spec.name or prefix + whole.name
    return tuple(
        replace(spec, name=f'{name}.{key}' if key else name, attribute=whole.name, key=key)
        for key in whole.metadata.get('keys', ('',))
    )


# Names of settings and parameters that were given others, with the names that took their place.
RENAMED = {
    'steps': ('num_inference_steps',),
    'guidance': ('guidance_scale',),
    'ensemble': ('ensemble_size',),
    'resolution': ('processing_resolution',),
    'shifts': ('tta_shifts',),
    'depth.inlier_error': ('depth.inlier_threshold',),
    'temporal.ids': ('temporal.track_ids',),
    'temporal.gap_s': ('temporal.reset_after_s',),
}


def renamed(name: str, known: Collection[str]) -> str | None:
    """The present name of a setting that was renamed; None where `name` is no old name of any.

    `known` are the names of all settings here; another group may use an old name for its own.
    """
    if name in known:
        return None
    return next((new for new in RENAMED.get(name, ()) if new in known), None)


def near(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name: what was probably meant, or what there is."""
    if new := renamed(name, known):
        return f'; it is now {new!r}'
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {close[0]!r}?' if close else f'; known: {", ".join(known)}'


def add_arguments(
    parser: argparse._ActionsContainer,
    kind: type[Settings],
    leave_out: Collection[str] = (),
    only: Collection[str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> None:
    """Give a command line one option for each setting of a group, or for `only` some names.

    `from_arguments` gives those that are left out their defaults.
    """
    for whole in fields(kind):
        if inner := _group(whole):
            if titles is None:
                add_arguments(parser, inner, leave_out, only)
            elif title := titles.get(whole.name):
                add_arguments(parser.add_argument_group(title), inner, leave_out, only)
        for spec in _own(kind.name_prefix, whole):
            if spec.name not in leave_out and (only is None or spec.name in only):
                _add_argument(parser, spec)


def _add_argument(parser: argparse._ActionsContainer, spec: Declared) -> None:
    about = spec.about.replace('%', '%%')
    is_list, is_positional = spec.kind is tuple, not spec.option.startswith('-')
    more: dict[str, Any] = {'default': spec.default}
    if spec.default is REQUIRED:
        more = {} if is_positional else {'required': True}
    elif spec.default not in (None, (), '') and spec.kind is not bool:
        shown = ' '.join(map(str, spec.default)) if is_list else spec.default
        about = f'{about} (default: {shown})'
    if spec.kind is bool:
        toggle = argparse.BooleanOptionalAction if spec.default else 'store_true'
        parser.add_argument(spec.option, dest=spec.name, action=toggle, help=about, **more)
        return
    if is_positional:
        optional = '*' if is_list else '?'
        more['nargs'] = ('+' if is_list else None) if spec.default is REQUIRED else optional
    else:
        more['dest'] = spec.name
        if is_list:
            more['nargs'] = '*'
            if spec.default == ():  # may be given several times
                more |= {'action': 'extend', 'default': []}
    parser.add_argument(
        spec.option,
        type=spec.item if is_list else spec.kind,
        help=about,
        choices=spec.choices or None,
        metavar=spec.metavar or (None if spec.choices else _letter(spec)),
        **more,
    )


def from_arguments(kind: type[GroupT], args: argparse.Namespace) -> GroupT:
    """The group that a command line asks for; ValueError says what is not allowed."""
    values_read = vars(args)
    new: dict[str, Any] = {}
    for whole in fields(kind):
        if inner := _group(whole):
            new[whole.name] = from_arguments(inner, args)
        for spec in _own(kind.name_prefix, whole):
            if (value := values_read.get(spec.name, spec.default)) is REQUIRED:
                raise ValueError(f'{spec.name} is missing')
            new[whole.name] = {**new.get(whole.name, {}), spec.key: value} if spec.key else value
    return kind(**new)


def to_arguments(group: Any, leave_out: Collection[str] = ()) -> list[str]:
    """The options that give a group its values, without those at their defaults."""
    values_by_name, arguments = values(group), list[str]()
    for spec in declared(type(group)):
        value = values_by_name[spec.name]
        if spec.name in leave_out or value == spec.default:
            continue
        if spec.kind is bool:
            arguments.append(spec.option if value else spec.option.replace('--', '--no-', 1))
        elif spec.kind is tuple:
            # With '=', so that a name may begin with a dash.
            each = [f'{spec.option}={part}' for part in value]
            arguments += each if spec.default == () else [spec.option, *map(str, value)]
        else:
            arguments.append(f'{spec.option}={value}')
    return arguments


def _letter(spec: Declared) -> str:
    return (spec.key or spec.attribute)[0].upper()


def _fill(group: Any, spec: Field[Any], keys: Sequence[str]) -> None:
    declared, by_key = spec.metadata['declared'], getattr(group, spec.name)
    name = declared.name or group.name_prefix + spec.name
    if not isinstance(by_key, Mapping):
        raise ValueError(f'{name} is {by_key!r}; expected a value for each of {", ".join(keys)}')
    for key in by_key:
        if key not in keys:
            raise ValueError(f'no setting {f"{name}.{key}"!r}{near(str(key), keys)}')
    whole = {**dict.fromkeys(keys, declared.default), **by_key}
    object.__setattr__(group, spec.name, whole)


# Whole numbers of 64 bits, and no infinity.
_TOO_LARGE = 2**63


def _checked(spec: Declared, value: Any) -> Any:
    if value is None and spec.default is None:
        return None
    if spec.kind is tuple:
        right = isinstance(value, (tuple, list)) and all(_is(spec.item, part) for part in value)
        value = tuple(map(spec.item, value)) if right else value
    else:
        right = _is(spec.kind, value)
        value = spec.kind(value) if right else value
    if not right:
        lists = {int: 'a list of whole numbers', Path: 'a list of paths'}
        words = lists.get(spec.item) if spec.kind is tuple else None
        raise ValueError(f'{spec.name} is {value!r}; expected {words or _WORDS[spec.kind]}')
    for part in value if spec.kind is tuple else (value,):
        if spec.choices and part not in spec.choices:
            raise ValueError(
                f'{spec.name} is {part!r}; expected one of {", ".join(map(str, spec.choices))}'
            )
    # Written so that NaN fails.
    if (spec.low is not None and not value >= spec.low) or (
        spec.high is not None and not value <= spec.high
    ):
        ends = ' and '.join(
            f'{word} {end}'
            for word, end in (('at least', spec.low), ('at most', spec.high))
            if end is not None
        )
        raise ValueError(f'{spec.name} is {value}; expected {ends}')
    for part in value if spec.kind is tuple else (value,):
        # Where a setting has no end, this is one; written so that NaN fails.
        if isinstance(part, float | int) and not abs(part) < _TOO_LARGE:
            raise ValueError(f'{spec.name} is {part}; expected a number below {_TOO_LARGE:.1g}')
    return value


def _is(kind: type, value: Any) -> bool:
    """Whether a value is of a kind; whole numbers are numbers, texts are paths."""
    wider: dict[type, tuple[type, ...]] = {float: (float, int), Path: (Path, str)}
    return isinstance(value, wider.get(kind, kind)) and (
        kind is bool or not isinstance(value, bool)
    )


@dataclass(frozen=True)
class ComputeSettings(Settings):
    """Where the model runs."""

    device: str = setting(
        'cpu', 'where the model runs: cpu, cuda or cuda:N; tensorrt with backend onnx only'
    )
    backend: str = setting(
        'auto',
        'what runs the model: torch, or onnx for ONNX Runtime without torch; auto takes onnx on '
        'the CPU where the model folder has ONNX graphs and nothing needs torch',
        choices=('auto', 'torch', 'onnx'),
    )  # fmt: skip
    dtype: str = setting(
        'auto', 'precision of the model; auto is bfloat16 on a GPU and float32 on the CPU',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )  # fmt: skip
    threads: int = setting(
        0, 'CPU threads of the model; 0: OMP_NUM_THREADS if set, else half of the cores, at most '
        'four with a GPU, at least two with the onnx backend where there are two',
        low=0, high=1024,
    )  # fmt: skip


@dataclass(frozen=True)
class PredictSettings(Settings):
    """How the model predicts."""

    num_inference_steps: int = setting(
        1, "denoising steps; the paper's tables used 28", low=1, high=1000
    )
    guidance_scale: float = setting(
        1.0, 'weight of the prompt over the empty prompt; 1 or less: none, and twice as fast; '
        "the paper's tables used 2", low=0, high=30,
    )  # fmt: skip
    seed: int = setting(
        42, 'seed of the noise that every result starts from', low=0, high=2**63 - 1
    )
    ensemble_size: int = setting(
        1, 'number of results from different noise that are merged into one', low=1, high=100
    )
    tta_shifts: int = setting(
        0,
        'number of slightly shifted images whose results are averaged, which removes the grid of '
        'tokens; 1: off, 0: the value of the model', low=0, high=16,
    )  # fmt: skip
    processing_resolution: int = setting(
        0, 'width and height of the model input, pixels; 0: those of the model', low=0, high=4096
    )
    batch_size: int = setting(8, 'predictions per batch', low=1, high=1024)
    reuse_last_velocity: bool = setting(
        False, 'skip the last of several steps, which changes little'
    )


@dataclass(frozen=True)
class FitCriteria(Settings):
    """What a fit of scale and shift to depth references must satisfy."""

    name_prefix = 'depth.'

    min_points: int = setting(
        50,
        'with depth.metric aligned and height: minimum number of reference depths in the image',
        low=3,
        high=10_000_000,
    )
    inlier_threshold: float = setting(
        0.15, 'with depth.metric aligned and height: relative error of depth up to which a '
        'reference is an inlier', low=1e-3, high=1,
    )  # fmt: skip
    min_inliers: float = setting(
        0.5,
        'with depth.metric aligned and height: minimum share of inliers among the references',
        low=0,
        high=1,
    )
    max_residual: float = setting(
        0.08, 'with depth.metric aligned and height: maximum root mean square of the relative '
        'errors of inliers', low=0, high=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
