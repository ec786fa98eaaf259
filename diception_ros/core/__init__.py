# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames, labels, geometry and settings: what all other parts build on. Numpy and OpenCV only."""
