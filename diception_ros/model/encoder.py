# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frozen, pretrained image encoders: EfficientNet-Lite0 (ImageNet) and MoveNet (human pose).

Batch normalisation is folded into the convolutions. `bench/encoder.py` converts the weights of the
published packages and compares the outputs with those of the original networks.

Sources: M. Tan, Q. V. Le, "EfficientNet", arXiv 1905.11946, in the Lite variant of its authors
(github.com/tensorflow/tpu, models/official/efficientnet/lite): ReLU6, no squeeze-and-excitation.
MoveNet SinglePose Lightning (Google, Apache-2.0): MobileNetV2 (arXiv 1801.04381), a feature
pyramid and the heads of CenterNet (arXiv 1904.07850), as its published graph has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
import torch
from torch import nn
from torch.nn import functional

# Repeats, kernel, stride, expansion, channels. Source: the authors' efficientnet_lite_builder.py.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32  # channels
_FOLDED = 1e-3  # epsilon of the batch normalisation
# Stages after which the stride is 4, 8, 16 and 32 for the last time.
_STRIDE_4, _STRIDE_8, _STRIDE_16, _STRIDE_32 = 1, 2, 4, 6
# Length of a feature vector: 2 x 2 vectors of stride 8, one of stride 16, one of stride 32.
FEATURES = 4 * _STAGES[_STRIDE_8][4] + _STAGES[_STRIDE_16][4] + _STAGES[_STRIDE_32][4]
FINE_CELLS = 4  # vectors of stride 4 along a side of a cell
FINE = FINE_CELLS**2 * _STAGES[_STRIDE_4][4]  # numbers of stride 4 of a cell

# MoveNet; the stages as above. Source: the graph of MoveNet SinglePose Lightning.
_POSE_STEM = 32
POSE_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (3, 3, 2, 6, 32),
    (4, 3, 2, 6, 64),
    (3, 3, 1, 6, 96),
    (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
)
# Stages whose outputs enter the pyramid, strides 4, 8 and 16; widths of its levels 4, 8, 16, 32.
_LEVELS, _LEVEL_WIDTHS = (1, 2, 3), (24, 32, 64, 64)
_PYRAMID = (32, 24, 24)  # widths of the pyramid's outputs at strides 16, 8 and 4
_PYRAMID_TOP, _HEAD = 1280, 96
_MAPS = 18  # logits: of 17 joints in COCO's order, and of a person's centre
_POSE_CELLS = 3  # vectors of a map along a side of a cell
# MoveNet reads images of 3/4 of the sides: cells of 12 x 12 pixels, 3 x 3 vectors of stride 4.
# 192 px, its own size, find the joints of photographs as well as 256 px do.
POSE = sum(_PYRAMID) + _POSE_CELLS**2 * _MAPS  # numbers of a cell
# Of a feature vector; all but the first have the numbers of stride 4, at its end.
LENGTHS = (FEATURES, FEATURES + FINE, FEATURES + POSE + FINE)


class _Convolution(nn.Conv2d):
    """A convolution with the paddings of TensorFlow's SAME for sides that the stride divides."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0, groups=groups)
        before, all_ = (kernel - stride) // 2, kernel - stride
        self.around = (before, all_ - before) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(x, self.around) if any(self.around) else x)


class _Block(nn.Module):
    """Expand, convolve each channel by itself, project; with the input added where that fits."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _Convolution(inputs, wide, 1, 1, 1) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, kernel, stride, wide)
        self.project = _Convolution(wide, outputs, 1, 1, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.expand is None else functional.relu6(self.expand(x))
        inner = self.project(functional.relu6(self.depthwise(inner)))
        return x + inner if self.skips else inner


def _stages(inputs: int, stages: tuple[tuple[int, ...], ...]) -> nn.ModuleList:
    """Stages of blocks, as the constants describe them."""
    built = nn.ModuleList()
    for repeats, kernel, stride, expansion, outputs in stages:
        blocks = []
        for repeat in range(repeats):
            blocks.append(_Block(inputs, outputs, kernel, 1 if repeat else stride, expansion))
            inputs = outputs
        built.append(nn.Sequential(*blocks))
    return built


class _Separable(nn.Sequential):
    """A 3 x 3 convolution of each channel by itself, a projection, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1),
            nn.ReLU(),
        )


class MoveNet(nn.Module):
    """Feature pyramid and heat maps of MoveNet SinglePose Lightning.

    The maps hold the joints of every person; what chooses one person is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _POSE_STEM, 3, 2, 1)
        self.stages = _stages(_POSE_STEM, POSE_STAGES)
        self.top = nn.Conv2d(POSE_STAGES[-1][4], _PYRAMID_TOP, 1)
        widths = [*(POSE_STAGES[number][4] for number in _LEVELS), _PYRAMID_TOP]
        self.lateral = nn.ModuleList(
            nn.Conv2d(width, level, 1) for width, level in zip(widths, _LEVEL_WIDTHS, strict=True)
        )
        self.smooth = nn.ModuleList(
            _Separable(level, out)
            for level, out in zip(_LEVEL_WIDTHS[2::-1], _PYRAMID, strict=True)
        )
        self.joints = nn.Sequential(
            _Separable(_PYRAMID[-1], _HEAD), nn.Conv2d(_HEAD, _MAPS - 1, 1)
        )
        self.centre = nn.Sequential(_Separable(_PYRAMID[-1], _HEAD), nn.Conv2d(_HEAD, 1, 1))

    def layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The pyramid's outputs and the heat maps, as the original network has them.

        Args:
            images: (B, 3, H, W) in [-1, 1], RGB; sides are multiples of 32.

        Returns:
            (B, 32, H / 16, W / 16), (B, 24, H / 8, W / 8) and (B, 24, H / 4, W / 4);
            (B, 18, H / 4, W / 4) logits of 17 joints and of a person's centre.
        """
        x = functional.relu6(self.stem(images))
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _LEVELS:
                levels.append(x)
        levels.append(functional.relu6(self.top(x)))
        sides = [project(level) for project, level in zip(self.lateral, levels, strict=True)]
        x = sides.pop()
        pyramid = []
        for smooth in self.smooth:
            x = functional.interpolate(x, scale_factor=2.0, mode='bilinear') + sides.pop()
            x = smooth(x)
            pyramid.append(x)
        return [*pyramid, torch.cat([self.joints(x), self.centre(x)], dim=1)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of cells of 16 x 16 pixels.

        Args:
            images: as for `layers`; read at 3/4 of their sides, rounded up to multiples of 32.

        Returns:
            (B, POSE, H / 16, W / 16).
        """
        h, w = images.shape[-2:]
        small = [(3 * (side // 32) + 3) // 4 * 32 for side in (h, w)]
        rows, columns = h // 16, w // 16
        *pyramid, maps = self.layers(_resized(images, small[0], small[1]))
        found = [_resized(level, rows, columns) for level in pyramid]
        maps = _resized(maps, _POSE_CELLS * rows, _POSE_CELLS * columns)
        return torch.cat([*found, functional.pixel_unshuffle(maps, _POSE_CELLS)], dim=1)


def _resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.interpolate(x, size=(height, width), mode='bilinear')


class EfficientNetLite(ModelMixin, ConfigMixin):
    """Features of an image, normalised by fixed means and standard deviations; frozen.

    Args:
        features: length of a vector: `FEATURES`; with `POSE` more those of MoveNet, with `FINE`
            more those of stride 4, last.
    """

    @register_to_config
    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        if features not in LENGTHS:
            raise ValueError(
                f'features is {features}; expected {FEATURES}, {FEATURES + FINE} with stride 4, '
                f'or {FEATURES + POSE + FINE} with MoveNet and stride 4'
            )
        self.stem = _Convolution(3, _STEM, 3, 2, 1)
        self.stages = _stages(_STEM, _STAGES)
        self.pose = MoveNet() if features == LENGTHS[2] else None
        # Parameters, as the file and a change of precision treat all alike.
        self.mean = nn.Parameter(torch.zeros(features))
        self.deviation = nn.Parameter(torch.ones(features))
        self.requires_grad_(False)

    @property
    def pose_features(self) -> slice:
        """Which numbers of a vector are MoveNet's."""
        return slice(FEATURES, FEATURES if self.pose is None else FEATURES + POSE)

    def layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The last outputs at strides 4, 8, 16 and 32, as the original network has them.

        Args:
            images: (B, 3, H, W) in [-1, 1], RGB; sides are multiples of 32.

        Returns:
            (B, 24, H / 4, W / 4), (B, 40, H / 8, W / 8), (B, 112, H / 16, W / 16) and
            (B, 320, H / 32, W / 32).
        """
        # The network was trained on (v - 127) / 128 of bytes v.
        x = functional.relu6(self.stem((images * 127.5 + 0.5) / 128))
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in (_STRIDE_4, _STRIDE_8, _STRIDE_16, _STRIDE_32):
                found.append(x)
        return found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of cells of 16 x 16 pixels of images as `layers` takes them.

        Returns:
            (B, features, H / 16, W / 16) in float32, of mean 0 and deviation 1 over what the
            means were taken of.
        """
        coarse, *fine = self.parts(images)
        return torch.cat([coarse, *(functional.pixel_unshuffle(x, FINE_CELLS) for x in fine)], 1)

    def parts(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`forward` with those of stride 4, where there are any, on their own grid.

        Returns:
            (B, features or features - FINE, H / 16, W / 16); (B, 24, H / 4, W / 4).
        """
        images = images.to(self.stem.weight)
        finest, fine, middle, coarse = self.layers(images)
        folded = functional.pixel_unshuffle(fine, 2)
        wide = functional.interpolate(coarse, scale_factor=2.0, mode='nearest')
        found = [folded, middle, wide]
        if self.pose is not None:
            found.append(self.pose(images))
        x = torch.cat(found, dim=1).float()
        mean, deviation = (one.float()[None, :, None, None] for one in (self.mean, self.deviation))
        count = x.shape[1]
        coarse = (x - mean[:, :count]) / deviation[:, :count]
        if self.config.features == FEATURES:
            return (coarse,)
        rows, columns = x.shape[-2:]
        # Each place in a cell has a mean of its own.
        mean, deviation = (
            functional.pixel_shuffle(one[:, count:], FINE_CELLS).repeat(1, 1, rows, columns)
            for one in (mean, deviation)
        )
        return coarse, (finest.float() - mean) / deviation

    @torch.no_grad()
    def normalise(self, images: torch.Tensor) -> EfficientNetLite:
        """Take means and deviations from some hundred images as `layers` takes them.

        Returns:
            itself.
        """
        nn.init.zeros_(self.mean)
        nn.init.ones_(self.deviation)
        found = torch.cat([self(part) for part in images.split(16)])
        self.mean.copy_(found.mean(dim=(0, 2, 3)))
        self.deviation.copy_(found.std(dim=(0, 2, 3)).clamp(min=1e-3))
        return self


def folded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the package efficientnet-lite-pytorch under the names here.

    Args:
        state: its state dict; the classifier in it is left out.

    Returns:
        all weights but means and deviations.

    Raises:
        KeyError: it is of another network.
    """
    out: dict[str, torch.Tensor] = {}

    def take(name: str, theirs: str, norm: str) -> None:
        gain = state[f'{norm}.weight'] / (state[f'{norm}.running_var'] + _FOLDED).sqrt()
        out[f'{name}.weight'] = state[f'{theirs}.weight'] * gain[:, None, None, None]
        out[f'{name}.bias'] = state[f'{norm}.bias'] - state[f'{norm}.running_mean'] * gain

    take('stem', '_conv_stem', '_bn0')
    number = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(_STAGES):
        for repeat in range(repeats):
            here, there = f'stages.{stage}.{repeat}', f'_blocks.{number}'
            if expansion > 1:
                take(f'{here}.expand', f'{there}._expand_conv', f'{there}._bn0')
            take(f'{here}.depthwise', f'{there}._depthwise_conv', f'{there}._bn1')
            take(f'{here}.project', f'{there}._project_conv', f'{there}._bn2')
            number += 1
    return out
