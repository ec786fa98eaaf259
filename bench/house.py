# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of the source tree: files, lines, modules at the package root, import cycles.

`python bench/house.py` measures the working tree beside commit fbaa75e, the state before the
rebuild; `python bench/house.py REV ...` measures other commits. Lines count everything in a file:
code, docstrings, comments and blank lines.
"""

import argparse
import ast
from pathlib import Path
import statistics
import subprocess

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'diception_ros'
BEFORE = 'fbaa75e'


def working_tree() -> dict[str, str]:
    """Python files of the package in the working tree: path -> text."""
    files = sorted((ROOT / PACKAGE).rglob('*.py'))
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def commit(revision: str) -> dict[str, str]:
    """Python files of the package in a commit: path -> text."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    names = git('ls-tree', '-r', '--name-only', revision, PACKAGE).splitlines()
    return {name: git('show', f'{revision}:{name}') for name in names if name.endswith('.py')}


def module_name(path: str) -> str:
    """'diception_ros/model/__init__.py' -> 'diception_ros.model'."""
    return path.removesuffix('.py').replace('/', '.').removesuffix('.__init__')


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the package that a module imports when it runs, inside functions included."""
    found: set[str] = set()
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= (names & known) or {node.module}
        nodes += ast.iter_child_nodes(node)
    return found & known


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another in a circle (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return groups


def between_packages(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph of the package's folders; a module at the root is a folder of its own."""
    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        mine = '.'.join(name.split('.')[:2])
        found.setdefault(mine, set()).update('.'.join(other.split('.')[:2]) for other in others)
    # The root itself imports lazily, and `from diception_ros import __version__` is no cycle.
    found.pop(PACKAGE, None)
    return {name: others - {name, PACKAGE} for name, others in found.items()}


def measure(files: dict[str, str]) -> tuple[dict[str, str], list[list[str]]]:
    """The table's numbers of one tree, and its import cycles."""
    lines = [text.count('\n') for text in files.values()]
    known = {module_name(path) for path in files}
    graph = {
        module_name(path): imported(ast.parse(text), known - {module_name(path)})
        for path, text in files.items()
    }
    at_root = [
        path
        for path in files
        if path.count('/') == 1 and not path.endswith(('__init__.py', '__main__.py'))
    ]
    found = cycles(graph)
    return {
        'product files': str(len(files)),
        'median lines of a file': f'{statistics.median(lines):g}',
        'longest file': str(max(lines)),
        'lines of the package': str(sum(lines)),
        'modules at the package root': str(len(at_root)),
        'import cycles of modules': str(len(found)),
        'import cycles of packages': str(len(cycles(between_packages(graph)))),
    }, found


def main() -> None:
    """Print the measures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('revisions', nargs='*', metavar='REV', help=f'default: {BEFORE}')
    columns = {name: commit(name) for name in parser.parse_args().revisions or [BEFORE]}
    columns['working tree'] = working_tree()
    results = {name: measure(files) for name, files in columns.items()}
    print('| measure |', ' | '.join(results), '|')
    print('|---' * (len(results) + 1) + '|')
    for row in next(iter(results.values()))[0]:
        print('|', row, '|', ' | '.join(numbers[row] for numbers, _ in results.values()), '|')
    for name, (_, groups) in results.items():
        for group in groups:
            print(f'cycle in {name}:', ', '.join(group))


if __name__ == '__main__':
    main()
