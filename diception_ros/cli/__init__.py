# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `diception`: the options of its verbs, and what each prints.

A verb is a function with its help as docstring, declared by `verbs.verb`. These modules import
heavy things inside functions, so that every `--help` is printed at once.
"""
