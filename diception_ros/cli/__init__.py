# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `diception`: the options of its verbs, and what each prints.

A verb is a function with its help as docstring, declared by `verbs.verb`. These modules import
heavy things inside functions, so that every `--help` is printed at once.
"""

import os

# Before numpy is imported, and for child processes. The threads of OpenBLAS wait for each other:
# on two busy cores a product of 77 000 x 3 by 3 x 3 took 400 ms with two, and 0.4 with one. Torch
# and ONNX Runtime have threads of their own.
os.environ.setdefault('OPENBLAS_NUM_THREADS', os.environ.get('OMP_NUM_THREADS') or '1')
