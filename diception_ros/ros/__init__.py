# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node: camera topics in, answers out. The only part that imports rclpy.

What is done with a frame, and what the messages are, is in `perceive` and `messages`; here is only
what a running node needs: parameters, topics, threads, states, and what it tells about itself.
"""
