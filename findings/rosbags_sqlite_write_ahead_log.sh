#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# rosbags 0.11.9, Python 3.11, Linux x86-64.
# rosbag2's storage profile `resilient` records SQLite bags with a write-ahead log, NAME.db3-wal.
# When the recorder or the robot dies, the last messages are in that file alone. rosbags opens
# bags with SQLite's `immutable=1`, which leaves the log out: it reads the bag without them and
# without a word, while its metadata.yaml says how many there are. SQLite reads all of them,
# with the log's index beside the bag (`mode=ro`), or in memory and nothing written at all
# (`mode=ro&vfs=unix-none` with `PRAGMA locking_mode=EXCLUSIVE`).
#
# Prints how many messages each way gives, and fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'rosbags==0.11.9'
cd "$folder"
cat > try.py <<'PY'
from importlib.metadata import version
from pathlib import Path
import shutil
import sqlite3

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

store = get_typestore(Stores.ROS2_JAZZY)
String = store.types['std_msgs/msg/String']
with Writer(Path('bag'), version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
    connection = writer.add_connection('/words', String.__msgtype__, typestore=store)
    for k in range(10):
        writer.write(connection, k, store.serialize_cdr(String(f'{k}'), String.__msgtype__))
(file,) = Path('bag').glob('*.db3')

# The same bag as a killed recorder leaves it: the last four messages are in the log.
killed = Path('killed')
killed.mkdir()
base = sqlite3.connect(file)
last = base.execute('SELECT * FROM messages ORDER BY id').fetchall()[6:]
base.execute('PRAGMA journal_mode=WAL')
base.executemany('DELETE FROM messages WHERE id = ?', [row[:1] for row in last])
base.commit()
base.execute('PRAGMA wal_checkpoint(TRUNCATE)')
marks = ', '.join('?' for _ in last[0])
base.executemany(f'INSERT INTO messages VALUES ({marks})', last)
base.commit()
for path in Path('bag').iterdir():
    if not path.name.endswith('-shm'):
        shutil.copy(path, killed / path.name)
base.close()

print('rosbags', version('rosbags'))
with AnyReader([killed]) as reader:
    print('metadata.yaml:', reader.message_count)
    print('rosbags:', len([*reader.messages()]))
address = (killed / file.name).absolute().as_uri()
memory = sqlite3.connect(f'{address}?mode=ro&vfs=unix-none', uri=True)
memory.execute('PRAGMA locking_mode=EXCLUSIVE')
print('sqlite3, index in memory:', memory.execute('SELECT count(*) FROM messages').fetchone()[0])
memory.close()
print('files:', *sorted(path.suffix for path in killed.iterdir()))
plain = sqlite3.connect(f'{address}?mode=ro', uri=True)
print('sqlite3, mode=ro:', plain.execute('SELECT count(*) FROM messages').fetchone()[0])
print('files:', *sorted(path.suffix for path in killed.iterdir()))
PY
venv/bin/python try.py | tee seen.txt
cat > expected.txt <<'TXT'
rosbags 0.11.9
metadata.yaml: 10
rosbags: 6
sqlite3, index in memory: 10
files: .db3 .db3-wal .yaml
sqlite3, mode=ro: 10
files: .db3 .db3-shm .db3-wal .yaml
TXT
diff expected.txt seen.txt
