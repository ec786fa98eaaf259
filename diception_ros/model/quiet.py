# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the libraries' own bars and notes out of what a command or the node prints."""

import diffusers.utils.logging
import transformers.utils.logging


def hush() -> None:
    """For this process: no bars of theirs, and of their messages only errors."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
