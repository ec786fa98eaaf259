# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A new task from a few labelled pictures: the training loop on low-rank matrices."""
