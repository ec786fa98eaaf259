# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How things and people are painted as colours, and found again in a painted picture.

Things: `palette` paints, `colours` finds, with `modes` for what colours there are. People:
`skeleton` paints, `joints` finds (`unsure` where little is clear), and `figures` makes some up.
Arrays in, arrays out; which task wants what is known to `tasks`.
"""
