# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated rooms: drawn from a seed, rendered with exact labels. See docs/simulation.md."""
