# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/node.md and the file config/perception.yaml from the code.

Run `python -m tools.parameter_docs` in the root of the repository; a test compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from diception_ros import tasks
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.core.settings import Declared
from diception_ros.messages import outputs
from diception_ros.node import diagnostics
from diception_ros.node.settings import FIXED, READ_ONLY, declared

DOCUMENT = 'docs/node.md'
DEFAULTS = 'config/perception.yaml'
_TYPES = {bool: 'bool', int: 'int', float: 'double', str: 'string', tuple: 'string[]'}


class _All:
    """Stands for an installation with every message package."""

    def make(self, kind: str, **fields: Any) -> Any:
        raise NotImplementedError

    def has(self, kind: str) -> bool:
        return True


def parameters() -> str:
    """Every parameter with type, default, what is allowed, and when it can be changed."""
    rows = ['| parameter | type | default | allowed | meaning |', '|---|---|---|---|---|']
    for item in declared():
        when = ''
        if item.name in FIXED:
            when = ' (before it is configured)'
        elif item.name in READ_ONLY:
            when = ' (at the start)'
        rows.append(
            f'| `{item.name}` | {_TYPES[item.kind]} | `{_yaml(item.default)}` | '
            f'{_allowed(item)} | {item.about}{when} |'
        )
    return '\n'.join(rows)


def topics() -> str:
    """Every topic of every task."""
    rows = ['| task | topic | message | |', '|---|---|---|---|']
    for name in tasks.names():
        task = tasks.get(name)
        found = [(output, '') for output in outputs.declared(task, _All())]
        if issubclass(task.label, Disparity):
            more = outputs.declared(task, _All(), MetricDepth)
            found += [(output, 'metric mode') for output in more]
            found += [(outputs.POINTS, 'metric mode'), (outputs.SCAN, 'metric mode')]
        for output, when in found:
            notes = [
                when,
                'visualization' if output.view else '',
                'latched' if output.latched else '',
            ]
            if output.kind.startswith('vision_msgs'):
                notes.append('where vision_msgs is installed')
            note = ', '.join(filter(None, notes))
            rows.append(
                f'| {name} | `~/{output.topic}` | {output.kind.replace("/msg/", "/")} | {note} |'
            )
    return '\n'.join(rows)


def values() -> str:
    """Every value in the diagnostics."""
    parts = []
    for title, known in (
        ('the node', diagnostics.NODE_VALUES),
        ('each camera', diagnostics.CAMERA_VALUES),
    ):
        rows = [f'| value of {title} | meaning |', '|---|---|']
        rows += [f'| `{name}` | {about} |' for name, about in known.items()]
        parts.append('\n'.join(rows))
    return '\n\n'.join(parts)


def defaults() -> str:
    """A parameters file with every default, so that it changes nothing."""
    lines = [
        '# SPDX-FileCopyrightText: 2026 The diception_ros authors',
        '# SPDX-License-Identifier: Apache-2.0',
        '# Every parameter of the node perception with its default; docs/node.md has the ranges.',
        '/**:',
        '  ros__parameters:',
    ]
    for item in declared():
        # As a name with dots: ROS reads it like nested names.
        lines += [f'    # {item.about}', f'    {item.name}: {_yaml(item.default)}']
    return '\n'.join(lines) + '\n'


def filled(document: str) -> str:
    """The document with its tables between <!-- NAME --> and <!-- /NAME --> replaced.

    Raises:
        ValueError: it has no such markers.
    """
    made = {'topics': topics(), 'parameters': parameters(), 'diagnostics': values()}
    for name, table in made.items():
        begin, end = f'<!-- {name} -->\n', f'<!-- /{name} -->'
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f'{DOCUMENT}: no place for the table of {name}')
        document = f'{before}{begin}{table}\n{end}{after}'
    return document


def _allowed(item: Declared) -> str:
    if item.choices:
        return ', '.join(str(choice) for choice in item.choices)
    ends = [
        f'{word} {end:g}'
        for word, end in (('from', item.low), ('to', item.high))
        if end is not None
    ]
    return ' '.join(ends)


def _yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return str(yaml.safe_dump(plain, default_flow_style=True)).splitlines()[0]


def main() -> None:
    """Write the document and the parameters file."""
    document = Path(DOCUMENT)
    document.write_text(filled(document.read_text()))
    Path(DEFAULTS).write_text(defaults())


if __name__ == '__main__':
    main()
