# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write the ONNX graphs of a model folder, so that ONNX Runtime runs it without torch.

The graphs read the weights out of the folder's own files. Their output images are compared with
those of torch. Needs the packages onnx and onnxscript: pip install diception_ros[export].
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.core import settings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.export import ExportConfig, export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    settings.add_arguments(parser, ExportConfig)


def main(args: argparse.Namespace) -> int:
    """Export."""
    result = export(settings.from_arguments(ExportConfig, args), ConsoleProgress())
    size = sum(result.sizes.values()) / 1e6
    print(f'wrote {", ".join(result.sizes)} ({size:.1f} MB) to {result.model}', file=sys.stderr)
    return 0
