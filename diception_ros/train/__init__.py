# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learning: one loop for a model from scratch, for SD3's weights, and for going on with a model.

The files of this package load torch, except `settings` and `mixture`.
"""
