# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples and labelled data: folders, COCO, LabelMe, bags, the data sets of the paper."""
