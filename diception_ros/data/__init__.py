# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples, and where they lie: folders of files, and bags (through `rosbags`, without ROS)."""
