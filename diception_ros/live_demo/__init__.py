# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a simulated camera, the node and a recorder in three processes."""
