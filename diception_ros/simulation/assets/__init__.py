# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Assets of simulated rooms: furniture, people, small objects, materials."""
