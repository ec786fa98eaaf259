# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a frame to labels and messages, the same in the node and in a replay."""
