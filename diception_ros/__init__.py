# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DICEPTION, one diffusion model for six perception tasks, as a ROS 2 package."""

__version__ = '0.1.0'
