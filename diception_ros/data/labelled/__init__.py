# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What people have labelled themselves, in the formats that labelling tools write.

`read` finds out which format a place has. A format is one file here; it makes `Item`s, and what
holds for every format (sizes, counts, one class only) is checked once, in `reading`.
"""

from __future__ import annotations

from diception_ros.data.labelled.item import KINDS
from diception_ros.data.labelled.reading import Labelled, read

__all__ = ['KINDS', 'Labelled', 'read']
