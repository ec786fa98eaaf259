# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `diception` with all its verbs, which the modules imported here declare."""

from diception_ros.cli import node, tools, workflows
from diception_ros.cli.verbs import main, parser

__all__ = ['main', 'node', 'parser', 'tools', 'workflows']
