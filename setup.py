# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Installs the package: `pip install -e .` beside ROS, `colcon build` inside a ROS workspace."""

from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup

NAME = 'diception_ros'
HERE = Path(__file__).resolve().parent
# The version stands there, and once more in package.xml, since ROS reads it; a test compares them.
VERSION = re.search(r"^__version__ = '(.+)'", (HERE / NAME / '__init__.py').read_text(), re.M)

# Lower bounds are the oldest release that has what is used, or the one that a supported ROS ships.
# Upper bounds stop at the next major release that has not been tried.
INSTALL_REQUIRES = [
    'numpy >=1.26, <3',  # 1.26 is what Ubuntu 24.04 (Jazzy) ships
    'opencv-python >=4.8, <6',  # 4.8: first with wheels for all of Python 3.10 to 3.12
    'pillow >=9.1',  # 9.1 brought Image.Resampling
    'scipy >=1.10',  # ndimage and linear_sum_assignment; 1.10 has Python 3.11 wheels
    'scikit-image >=0.22',  # first that runs with numpy 2 and with 1.26
    'torch >=2.5, <3',  # 2.5: enable_gqa in attention, which diffusers uses
    'diffusers >=0.38, <1',  # 0.38: weights of several adapters in subclasses of its networks
    'transformers >=4.57, <6',  # 4.57: the oldest tried, with Python 3.10 and diffusers 0.38
    'accelerate >=1.0',  # loads big text encoders layer by layer (`diception convert`)
    'safetensors >=0.4.3',  # safe_open().get_slice and bfloat16 in numpy-free form
    'sentencepiece >=0.2',  # T5 tokenizer of SD3
    'protobuf >=4.22',  # T5 tokenizer conversion; images of Foxglove, for GetMessageClass
    'onnxruntime >=1.20',  # runs models without torch; 1.20 knows opset 20 and numpy 2
    'peft >=0.13',  # load_lora_weights
    'tqdm >=4.60',  # progress bars
    'shtab >=1.13',  # `diception completion`; the oldest tried that writes for fish
    'jinja2 >=3.1',  # the report of a replay
    'pyyaml >=6',  # settings files
    'rosbags >=0.11',  # bags without ROS; 0.11 opens single .mcap files
    'mcap >=1.2, <2',  # records of MCAP; 1.2 is the oldest tried
    'lz4 >=4',  # compressed chunks of bags
    'backports.zstd >=1; python_version < "3.14"',  # likewise
]

EXTRAS_REQUIRE = {
    # Real rclpy and Fast DDS from PyPI, for machines without a ROS installation.
    'ros': [
        'ros-rclpy[fastrtps]',
        'ros-sensor-msgs',
        'ros-geometry-msgs',
        'ros-rosgraph-msgs',
        'ros-diagnostic-msgs',
        'ros-std-srvs',
    ],
    'dev': [
        'pytest >=8',
        'pytest-xdist >=3.7',
        'hypothesis >=6.100',
        'psutil >=5.9',
        'ruff >=0.9',
        'mypy >=1.13',
        'build >=1.2',  # make dist
    ],
    # Simulated rooms; 3.5 is the oldest tried. Needs a GL library: libegl1 libegl-mesa0
    # libgl1-mesa-dri of Debian and Ubuntu.
    'sim': ['mujoco >=3.5'],
    # `diception view`; 3.0 brought the root of run_with, 3.18 tried.
    'view': ['nicegui >=3.0, <4'],
    # `diception replay --view`; 0.41 tried.
    'rerun': ['rerun-sdk >=0.20'],
    # `--engine ray` of replay, predict and evaluate; 2.60 tried.
    'ray': ['ray >=2.9'],
    # `make docs`
    'docs': [
        'mkdocs-material >=9.5, <10',
        'mkdocstrings[python] >=0.26',
        'mkdocs-gen-files >=0.5',
        'mkdocs-literate-nav >=0.6',
    ],
    # `diception export`: torch's exporter and the tool it simplifies graphs with.
    'export': ['onnx >=1.17', 'onnxscript >=0.5'],
    # COCO metrics (AP, AR).
    'evaluate': ['pycocotools >=2.0.7'],
}

setup(
    name=NAME,
    version=VERSION.group(1),
    description='DICEPTION, one diffusion model for six perception tasks, as a ROS 2 package',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author='The diception_ros authors',
    maintainer='The diception_ros authors',
    maintainer_email='maintainers@users.noreply.github.com',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/config', glob('config/*')),
        (f'share/{NAME}/launch', glob('launch/*.launch.py')),
        (f'share/{NAME}/rviz', glob('rviz/*')),
    ],
    package_data={
        f'{NAME}.model': ['builtin/*', 'builtin/*/*'],
        f'{NAME}.reporting': ['templates/*'],
    },
    zip_safe=False,  # the built-in model is read as a folder
    install_requires=INSTALL_REQUIRES,
    extras_require={**EXTRAS_REQUIRE, 'test': EXTRAS_REQUIRE['dev']},  # `colcon test` reads 'test'
    entry_points={
        'console_scripts': [
            'diception = diception_ros.cli.main:main',
            'perception = diception_ros.cli.node:perception',  # ros2 run diception_ros perception
        ]
    },
)
