# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded bags in, results out: every frame, the same messages as the node's."""
