# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is done with one camera frame, the same for a running node and for a recorded bag."""
