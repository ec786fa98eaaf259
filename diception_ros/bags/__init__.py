# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: one reader, one writer, the frames of a camera in them."""
