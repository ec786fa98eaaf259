# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m diception_ros` is the command `diception`."""

import sys

from diception_ros.cli.main import main

sys.exit(main())
