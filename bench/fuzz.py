# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads mutated files of every kind; see test/fuzzing.py for the laws. CI runs 3000 of them.

python bench/fuzz.py --count 100000 --seed 1      about 15 minutes on a free core
python bench/fuzz.py --target coco --first 17 --count 1     one again
"""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

import fuzzing

if __name__ == '__main__':
    sys.exit(fuzzing.main())
