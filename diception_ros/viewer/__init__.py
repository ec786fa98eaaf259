# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `diception view`: sources of images, a worker that predicts, and the page itself."""
