#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# MuJoCo 4.0.0, Python 3.11, Linux x86-64.
# `MjModel.from_xml_string(xml, assets)` takes files from a dictionary. Two meshes that lie in
# different folders but have the same file name, as catalogues of models have them
# (chair/model.obj, table/model.obj), cannot be told apart: folders are stripped from the keys of
# the dictionary, and loading raises ValueError "Repeated file name in assets dict: model.obj",
# although the XML names both by their full relative paths, which load from a disk.
#
# Prints what both ways give, and fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'mujoco==4.0.0' 'numpy==2.4.6'
cd "$folder"
cat > try.py <<'PY'
from pathlib import Path

import mujoco

# A tetrahedron of the given size.
OBJ = 'v 0 0 0\nv {0} 0 0\nv 0 {0} 0\nv 0 0 {0}\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n'
FILES = {'chair/model.obj': OBJ.format(1), 'table/model.obj': OBJ.format(2)}
XML = """
<mujoco>
  <asset>
    <mesh name="chair" file="chair/model.obj"/>
    <mesh name="table" file="table/model.obj"/>
  </asset>
  <worldbody>
    <geom type="mesh" mesh="chair"/>
    <geom type="mesh" mesh="table" pos="5 0 0"/>
  </worldbody>
</mujoco>
"""
for name, text in FILES.items():
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
Path('scene.xml').write_text(XML)
print('mujoco', mujoco.__version__)
print('from a disk:', mujoco.MjModel.from_xml_path('scene.xml').nmesh, 'meshes')
try:
    model = mujoco.MjModel.from_xml_string(XML, {k: v.encode() for k, v in FILES.items()})
    print('from a dictionary:', model.nmesh, 'meshes')
except ValueError as error:
    print('from a dictionary:', type(error).__name__, str(error).strip())
PY
venv/bin/python try.py | tee seen.txt
grep -qx 'from a disk: 2 meshes' seen.txt
grep -q 'from a dictionary: ValueError .*Repeated file name in assets dict: model.obj' seen.txt
