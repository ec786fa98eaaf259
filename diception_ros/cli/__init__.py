# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `diception`: one file per verb.

A verb's file has a docstring (its help), `add_arguments(parser)` and `main(args) -> exit code`.
It imports heavy things inside `main`, so that every `--help` answers at once.
"""
