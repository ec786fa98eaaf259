# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was found, whether it is well, and what to do if it is not."""

from __future__ import annotations

from dataclasses import dataclass

# BROKEN: what was asked for cannot run. WARN: it runs, but something is worse than it could be,
# or a part that not everybody needs is missing.
OK, WARN, BROKEN = 'OK', 'WARN', 'BROKEN'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what, in a word.
        verdict: OK, WARN or BROKEN.
        found: what there is.
        cure: what to do; empty where all is well.
    """

    about: str
    verdict: str
    found: str
    cure: str = ''

    def __str__(self) -> str:
        lines = [f'{self.verdict:<6}  {self.about:<10}  {self.found}']
        if self.cure:
            lines.append(f'{"":<20}-> {self.cure}')
        return '\n'.join(lines)
