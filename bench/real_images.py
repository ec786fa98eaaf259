# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions for five photographs, which were chosen before them: the first image of README.

    pip download --no-deps viser==1.1.1 (unzip into PLACE)
    python bench/real_images.py --panoramas PLACE/viser/_assets/hdri --out docs/images/real.jpg

Three are views of rooms in panoramas of Poly Haven, two are of scikit-image, all CC0: see
docs/builtin_model_credits.md. Columns: the image with the point that is clicked on, depth,
normals, entities, the mask of the point, and a category.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

# Panorama, the camera's heading in degrees, the point as shares of width and height, category.
ROOMS = (
    ('st_fagans_interior_1k.jpg', 240.0, (0.75, 0.9), 'bench'),
    ('lebombo_1k.jpg', 300.0, (0.2, 0.5), 'refrigerator'),
    ('empty_warehouse_01_1k.jpg', 300.0, (0.5, 0.55), 'bench'),
)
PHOTOGRAPHS = (
    ('coffee.png', (0.55, 0.5), 'cup'),
    ('motorcycle_left.png', (0.5, 0.6), 'motorcycle'),
)
SIZE = 240, 320  # of the views
FOV_DEG, DOWN_DEG = 80.0, 12.0  # of a wide camera that looks a little down


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--panoramas', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()

    import cv2
    import numpy as np
    from skimage import data

    from diception_ros.core import images
    from diception_ros.core.frame import Frame
    from diception_ros.core.images import contact_sheet
    from diception_ros.core.labels import visualize
    from diception_ros.core.prompt import Point, Prompt
    from diception_ros.perception.predictor import Predictor

    predictor = Predictor.load(args.model)
    taken = [
        (view(images.read(args.panoramas / name), heading), *asked)
        for name, heading, *asked in ROOMS
    ]
    folder = Path(data.__file__).parent
    taken += [(images.read(folder / name), *asked) for name, *asked in PHOTOGRAPHS]
    cells, titles = [], []
    for image, (x, y), category in taken:
        image = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)
        image = np.ascontiguousarray(image)
        point = Point(x * SIZE[1], y * SIZE[0])
        prompts = [
            Prompt('depth'), Prompt('normal'), Prompt('entity'),
            Prompt('segmentation', points=(point,)), Prompt('semantic', category),
        ]  # fmt: skip
        clicked = image.copy()
        visualize.draw_points(clicked, np.array([point], np.float32))
        cells.append(clicked)
        titles.append('image, point')
        for found in predictor.predict([Frame(image)], prompts):
            cells.append(found.label.preview(image))
            titles.append(found.prompt.category or found.prompt.task)
    images.write(args.out, contact_sheet(cells, titles, columns=6))


def view(panorama: Any, heading: float) -> Any:
    """What a camera sees in an equirectangular panorama, (H, W, 3) uint8."""
    import cv2
    import numpy as np

    height, width = SIZE
    focal = width / 2 / np.tan(np.radians(FOV_DEG / 2))
    u, v = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    rays = np.stack([u, v, np.full_like(u, focal)], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    a, b = np.radians(DOWN_DEG), np.radians(heading)
    down = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x, y, z = np.moveaxis(rays @ down.T @ turn.T, -1, 0)
    across, along = panorama.shape[1], panorama.shape[0]
    columns = ((np.arctan2(x, z) / np.pi + 1) / 2 * across - 0.5) % across
    rows = (np.arcsin(y.clip(-1, 1)) / (np.pi / 2) + 1) / 2 * along - 0.5
    return cv2.remap(
        panorama, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip


if __name__ == '__main__':
    main()
