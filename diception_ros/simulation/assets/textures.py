# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Textures with edges that are no geometry: prints, boards, tiles, posters, painted shadows.

Real surfaces have more contrast than the patterns of `diception_ros.simulation.assets.materials`.
These textures have the statistics of photographs (amplitudes that fall as 1 / f, occluding shapes
of all sizes: the dead leaves model) and the edges of print: text, pictures, joints, dirt, shadows.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import math
import string

import cv2
import numpy as np
from numpy.typing import NDArray

_Image = NDArray[np.float32]  # (H, W, 3) RGB, 0..255
_Field = NDArray[np.float32]  # (H, W), about -1..1
_Rng = np.random.Generator

# Pixels of a metre of wall or floor, and of a texture's longest side: about one pixel of a picture
# of 256 pixels that shows the surface from one to two metres.
_PER_METRE, _LONGEST = 128, 640
_SIDE = 160  # of textures of things, pixels
_LIBRARY, _FIELD = 24, 512  # how many fields and photographs there are, and pixels of a field


def paint(
    pattern: str, first: NDArray[np.float64], second: NDArray[np.float64], rng: _Rng,
    extent: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Paint one texture.

    Args:
        pattern: a name in `PAINTERS`.
        first: (3,) float64 RGB in [0, 1], the ground.
        second: (3,) float64 RGB in [0, 1], what is painted on it.
        rng: source of all randomness.
        extent: metres that the texture covers along its x and y; None for a square texture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    shape = (_SIDE, _SIDE)
    if extent is not None:
        scale = min(_PER_METRE, _LONGEST / max(extent))
        # Multiples of 4, as rows are aligned on graphics cards.
        shape = (
            4 * max(4, round(extent[1] * scale / 4)),
            4 * max(4, round(extent[0] * scale / 4)),
        )
    base, accent = (255 * np.asarray(color, np.float32) for color in (first, second))
    image = PAINTERS[pattern](rng, shape, base, accent)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


# ---- fields and photographs, drawn once per process from fixed seeds ----------------------------


@functools.lru_cache(maxsize=_LIBRARY)
def _noise(k: int) -> _Field:
    # A field whose amplitude falls as 1 / f ** power; it tiles.
    rng = np.random.Generator(np.random.PCG64(1000 + k))
    across, down = np.meshgrid(np.fft.rfftfreq(_FIELD), np.fft.fftfreq(_FIELD))
    frequency = np.maximum(np.hypot(across, down), 1 / _FIELD)
    phase = np.exp(2j * np.pi * rng.uniform(size=frequency.shape))
    field = np.fft.irfft2(phase / frequency ** (0.6 + 1.2 * k / (_LIBRARY - 1)))
    # Rounded: the last bits of a Fourier transform differ between machines.
    return np.asarray(np.clip(field / (2.5 * field.std()), -1, 1).round(3), np.float32)


@functools.lru_cache(maxsize=_LIBRARY)
def _leaves(k: int) -> NDArray[np.uint8]:
    # Dead leaves: shapes of all sizes, each before the ones drawn earlier, textured and shaded.
    rng = np.random.Generator(np.random.PCG64(2000 + k))
    side = 256
    hues = rng.uniform(size=(4, 3)) ** 1.2 * 255
    image = np.empty((side, side, 3), np.float32)
    image[:] = hues[0]
    image *= 1 + 0.4 * _crop(rng, (side, side))[..., None]
    for _ in range(160):
        radius = min(90.0, 5 / (1e-3 + rng.uniform()) ** 0.7)
        color = np.clip(hues[int(rng.integers(4))] + 30 * rng.standard_normal(3), 0, 255)
        mask = np.zeros((side, side), np.uint8)
        centre = rng.integers(0, side, 2)
        if rng.uniform() < 0.5:
            axes = (int(radius) + 1, int(radius * rng.uniform(0.3, 1)) + 1)
            cv2.ellipse(mask, centre.tolist(), axes, rng.uniform(0, 180), 0, 360, 255, -1, 16)
        else:
            count = int(rng.integers(3, 7))
            turns = np.sort(rng.uniform(0, 2 * math.pi, count))
            reach = radius * rng.uniform(0.5, 1.3, count)
            points = centre + np.stack([reach * np.cos(turns), reach * np.sin(turns)], axis=1)
            cv2.fillPoly(mask, [points.astype(np.int32)], 255, 16)
        left, top, wide, high = cv2.boundingRect(mask)
        if not wide:
            continue
        part = (slice(top, top + high), slice(left, left + wide))
        cover = mask[part].astype(np.float32)[..., None] / 255
        slope = np.linspace(-1, 1, wide)[None] * rng.uniform(-0.4, 0.4)
        slope = slope + np.linspace(-1, 1, high)[:, None] * rng.uniform(-0.4, 0.4)
        grain = rng.uniform(0, 0.3) * _crop(rng, (high, wide))
        painted = color * (1 + slope + grain)[..., None]
        image[part] = image[part] * (1 - cover) + painted * cover
    return np.asarray(np.clip(image, 0, 255).round(), np.uint8)


def _crop(rng: _Rng, shape: tuple[int, int], rough: float | None = None,
          stretch: float = 1.0) -> _Field:  # fmt: skip
    # A piece of a field: rough from 0 (soft clouds) to 1 (nearly white); stretched along y.
    k = int(rng.integers(_LIBRARY)) if rough is None else round((1 - rough) * (_LIBRARY - 1))
    field = _noise(k)
    longest = max(shape)
    scale = min(1.0, _FIELD / longest) * rng.uniform(0.5, 1)
    high = max(2, min(_FIELD, int(shape[0] * scale / stretch)))
    wide = max(2, min(_FIELD, int(shape[1] * scale)))
    top, left = int(rng.integers(_FIELD - high + 1)), int(rng.integers(_FIELD - wide + 1))
    piece = field[top : top + high, left : left + wide]
    return np.asarray(cv2.resize(piece, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def _photo(rng: _Rng, shape: tuple[int, int]) -> _Image:
    # A crop of a picture of the library, mirrored and recoloured.
    source = _leaves(int(rng.integers(_LIBRARY)))
    side = int(rng.integers(64, 257))
    top, left = rng.integers(0, 257 - side, 2).tolist()
    piece = source[top : top + side, left : left + side]
    if rng.uniform() < 0.5:
        piece = piece[:, ::-1]
    piece = piece[..., rng.permutation(3)]
    size = (shape[1], shape[0])
    out = cv2.resize(np.ascontiguousarray(piece), size, interpolation=cv2.INTER_AREA)
    return np.asarray(out, np.float32) * rng.uniform(0.6, 1.25)


# ---- what is laid over a surface -----------------------------------------------------------


def _ground(shape: tuple[int, int], color: NDArray[np.float32]) -> _Image:
    image = np.empty((*shape, 3), np.float32)
    image[:] = color
    return image


def _lit(image: _Image, share: _Field) -> _Image:
    image *= share[..., None]
    return image


def _ink(rng: _Rng, image: _Image) -> tuple[float, float, float]:
    # A colour that stands out from the picture's mean.
    dark = float(image.mean()) > 110
    level = rng.uniform(0, 90) if dark else rng.uniform(170, 255)
    red, green, blue = np.clip(level + rng.uniform(-70, 70, 3), 0, 255).tolist()
    return red, green, blue


def _write(rng: _Rng, image: _Image, lines: int, largest: float) -> None:
    # Lines of letters somewhere, all in one hand.
    high, wide = image.shape[:2]
    font, ink = int(rng.integers(0, 8)), _ink(rng, image)
    size = rng.uniform(0.25, 1) * largest
    x, y = rng.uniform(0, 0.6) * wide, rng.uniform(0.1, 0.7) * high
    letters = string.ascii_letters + string.digits + '  ..'
    thick = max(1, round(size * rng.uniform(0.8, 3)))
    mask = np.zeros((high, wide), np.uint8)  # OpenCV 5 writes on 8 bits only
    for _ in range(lines):
        text = ''.join(rng.choice(list(letters), int(rng.integers(2, 14))))
        cv2.putText(mask, text, (int(x), int(y)), font, size, 255, thick, cv2.LINE_AA)
        y += 26 * size
    share = mask[..., None].astype(np.float32) / 255
    image += share * (np.array(ink, np.float32) - image)


def _page(rng: _Rng, shape: tuple[int, int]) -> _Image:
    # A notice, a poster or a label: photograph, bands and letters on paper.
    paper = rng.uniform(150, 255, 3) if rng.uniform() < 0.6 else rng.uniform(0, 255, 3)
    image = _ground(shape, paper.astype(np.float32))
    high, wide = shape
    for _ in range(int(rng.integers(0, 4))):
        top, left = int(rng.integers(high)), int(rng.integers(wide))
        h, w = int(high * rng.uniform(0.1, 0.7)) + 1, int(wide * rng.uniform(0.2, 1)) + 1
        part = image[top : top + h, left : left + w]
        if rng.uniform() < 0.5:
            part[:] = _photo(rng, part.shape[:2])
        else:
            part[:] = rng.uniform(0, 255, 3)
    for _ in range(int(rng.integers(1, 4))):
        _write(rng, image, int(rng.integers(1, 6)), max(shape) / 110)
    return image


def _posters(rng: _Rng, image: _Image, count: int, least: float, most: float) -> None:
    # Sheets of paper and photographs; sizes are shares of the shorter side.
    short = min(image.shape[:2])
    for _ in range(count):
        high, wide = (int(short * rng.uniform(least, most)) + 4 for _ in range(2))
        top = int(rng.integers(max(1, image.shape[0] - high)))
        left = int(rng.integers(max(1, image.shape[1] - wide)))
        part = image[top : top + high, left : left + wide]
        shape = part.shape[:2]
        part[:] = _page(rng, shape) if rng.uniform() < 0.6 else _photo(rng, shape)
        if rng.uniform() < 0.5:
            corner = (left + shape[1] - 1, top + shape[0] - 1)
            cv2.rectangle(image, (left, top), corner, _ink(rng, image), int(rng.integers(1, 5)))


def _veils(rng: _Rng, image: _Image, count: int) -> None:
    # Shadows and patches of sun with straight or soft edges, at half the pixels to save time.
    high, wide = image.shape[0] // 2, image.shape[1] // 2
    share = np.ones((high, wide, 3), np.float32)
    for _ in range(count):
        middle = rng.uniform(0, 1, 2) * (wide, high)
        kind = rng.uniform()
        reach = rng.uniform(0.08, 0.6) * max(high, wide)
        if kind < 0.5:  # a window's light, or the shadow of something straight
            turn, lean = rng.uniform(0, math.pi), rng.uniform(-0.8, 0.8)
            along = np.array([math.cos(turn), math.sin(turn)]) * reach
            across = np.array([math.sin(turn + lean), -math.cos(turn + lean)])
            across *= reach * rng.uniform(0.1, 0.7)
            corners = [along + across, along - across, -along - across, across - along]
            points = middle + np.array(corners)
        else:
            count_ = int(rng.integers(4, 9))
            turns = np.sort(rng.uniform(0, 2 * math.pi, count_))
            far = reach * rng.uniform(0.3, 1, count_)
            points = middle + np.stack([far * np.cos(turns), far * np.sin(turns)], axis=1)
        mask = np.zeros((high, wide), np.float32)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1.0, cv2.LINE_AA)
        soft = rng.uniform(0, 6) if rng.uniform() < 0.7 else rng.uniform(6, 24)
        if soft > 0.7:
            size = 2 * int(soft) + 1
            mask = cv2.blur(cv2.blur(mask, (size, size)), (size, size))
        warm = rng.uniform(-0.1, 0.1)
        level = rng.uniform(0.35, 0.8) if rng.uniform() < 0.65 else rng.uniform(1.2, 2.0)
        tint = np.array([level * (1 + warm), level, level * (1 - warm)], np.float32)
        share *= 1 + mask[..., None] * (tint - 1)
    image *= cv2.resize(share, (image.shape[1], image.shape[0]))


def _lines(rng: _Rng, image: _Image, count: int) -> None:
    # Cables, cracks, strips, tape.
    high, wide = image.shape[:2]
    for _ in range(count):
        ink, thick = _ink(rng, image), int(rng.integers(1, 7))
        if rng.uniform() < 0.5:
            ends = rng.uniform(0, 1, (2, 2)) * (wide, high)
            if rng.uniform() < 0.6:
                ends[1, int(rng.integers(2))] = ends[0, int(rng.integers(2))]
            points = ends
        else:
            steps = np.cumsum(rng.standard_normal((24, 2)), axis=0)
            points = rng.uniform(0, 1, 2) * (wide, high) + steps * max(high, wide) * 0.03
            from scipy import ndimage  # for these lines alone

            points = ndimage.uniform_filter1d(points, 5, axis=0)
        cv2.polylines(image, [points.astype(np.int32)], False, ink, thick, cv2.LINE_AA)


def _tiled(rng: _Rng, shape: tuple[int, int], unit: _Image) -> _Image:
    # Copies of a unit from a corner of its own.
    high, wide = unit.shape[:2]
    rows, columns = shape[0] // high + 2, shape[1] // wide + 2
    top, left = int(rng.integers(high)), int(rng.integers(wide))
    return np.tile(unit, (rows, columns, 1))[top : top + shape[0], left : left + shape[1]].copy()


# ---- surfaces ------------------------------------------------------------------------------


def _joints(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # Tiles, bricks or slabs with joints, each of its own tone.
    size = int(rng.integers(10, 100))
    high, wide = size, int(size * (1 if rng.uniform() < 0.5 else rng.uniform(0.5, 3.5)))
    offset = wide // 2 if rng.uniform() < 0.4 else 0
    rows, columns = shape[0] // high + 1, shape[1] // wide + 2
    tones = 1 + rng.uniform(0, 0.35) * rng.uniform(-1, 1, (rows, columns, 1))
    colors = np.where(
        rng.uniform(size=(rows, columns, 1)) < rng.choice([0, 0, 0.1, 0.5]), second, first
    )
    if rng.uniform() < 0.15:
        chess = (np.arange(rows)[:, None] + np.arange(columns)) % 2
        colors = np.where(chess[..., None] > 0, first, second)
    row, column = np.arange(shape[0]), np.arange(shape[1])
    r = row // high
    shifted = column[None] + offset * (r[:, None] % 2)
    image = np.asarray(colors * tones, np.float32)[r[:, None], shifted // wide]
    joint = max(1, round(size * rng.uniform(0.02, 0.1)))
    gap = (row[:, None] % high < joint) | (shifted % wide < joint)
    image[gap] = second * rng.uniform(0.3, 1.3)
    return np.asarray(image)


def _boards(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # Planks with grain along x, y, or as parquet.
    high = int(rng.integers(12, 50))
    long = int(high * rng.uniform(4, 14))
    image = _ground(shape, first)
    rows, columns = shape[0] // high + 1, shape[1] // long + 2
    tones = 1 + rng.uniform(0.03, 0.3) * rng.uniform(-1, 1, (rows, columns))
    starts = rng.integers(0, long, rows)
    row, column = np.arange(shape[0]), np.arange(shape[1])
    r = row // high
    shifted = column[None] + starts[r][:, None]
    share = tones[r[:, None], shifted // long].astype(np.float32)
    share *= 1 + rng.uniform(0.05, 0.35) * _crop(rng, shape[::-1], 0.7, 8.0).T
    gap = (row[:, None] % high < 1 + (high > 30)) | (shifted % long < 2)
    share[gap] *= rng.uniform(0.3, 0.8)
    return _lit(image, share)


def _motif(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # Wallpaper and carpets: a mirrored unit, repeated.
    half = int(rng.integers(8, 56))
    unit = _ground((half, half), first)
    kind = rng.uniform()
    if kind < 0.35:
        unit = _photo(rng, (half, half)) * 0.5 + unit * 0.5
    elif kind < 0.7:
        for _ in range(int(rng.integers(1, 5))):
            middle = rng.integers(0, half, 2).tolist()
            axes = rng.integers(1, max(2, half // 2), 2).tolist()
            color = (second * rng.uniform(0.5, 1.5)).tolist()
            cv2.ellipse(unit, middle, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
    else:
        width = max(1, int(half * rng.uniform(0.1, 0.5)))
        unit[:width] = second
        if rng.uniform() < 0.5:
            unit[:, :width] = second * rng.uniform(0.6, 1.4)
        if rng.uniform() < 0.5:
            unit = unit.transpose(1, 0, 2)
    unit = np.concatenate([unit, unit[:, ::-1]], axis=1)
    return _tiled(rng, shape, np.concatenate([unit, unit[::-1]]))


def _plaster(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    image = _ground(shape, first)
    image = _lit(image, 1 + rng.uniform(0.02, 0.3) * _crop(rng, shape))
    if rng.uniform() < 0.3:  # painted in two colours, one above the other or side by side
        at = rng.uniform(0.2, 0.7)
        if rng.uniform() < 0.7:
            image[int(at * shape[0]) :] *= second / np.maximum(first, 1)
        else:
            image[:, int(at * shape[1]) :] *= second / np.maximum(first, 1)
    return image


def _carpet(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    image = _motif(rng, shape, first, second) if rng.uniform() < 0.5 else _ground(shape, first)
    grain = cv2.resize(
        rng.standard_normal((256, 256)).astype(np.float32), (shape[1], shape[0]),
        interpolation=cv2.INTER_NEAREST,
    )  # fmt: skip
    return _lit(image, 1 + rng.uniform(0.05, 0.25) * grain)


def _terrazzo(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    image = _plaster(rng, shape, first, second)
    chips = _crop(rng, shape, rng.uniform(0.6, 1))
    image[chips > rng.uniform(0.25, 0.6)] = second
    image[chips < -rng.uniform(0.25, 0.6)] = second * rng.uniform(0.3, 1.6)
    return image


def _finish(rng: _Rng, image: _Image, posters: int, lines: int, veils: int) -> _Image:
    if posters:
        _posters(rng, image, posters, 0.05, 0.35)
    if lines:
        _lines(rng, image, lines)
    _lit(image, 1 + rng.uniform(0, 0.25) * _crop(rng, image.shape[:2]))
    if veils:
        _veils(rng, image, veils)
    return image


def _choose(rng: _Rng, options: tuple[Callable[..., _Image], ...]) -> Callable[..., _Image]:
    return options[int(rng.integers(len(options)))]


def _wall(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    kinds = (_plaster, _plaster, _plaster, _motif, _motif, _joints, _boards)
    image = _choose(rng, kinds)(rng, shape, first, second)
    return _finish(rng, image, int(rng.integers(0, 7)), int(rng.integers(0, 4)),
                   int(rng.integers(0, 5)))  # fmt: skip


def _floor(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    kinds = (_boards, _boards, _joints, _joints, _carpet, _carpet, _terrazzo, _plaster)
    image = _choose(rng, kinds)(rng, shape, first, second)
    if rng.uniform() < 0.5:
        image = np.ascontiguousarray(np.rot90(image)) if shape[0] == shape[1] else image
    return _finish(rng, image, int(rng.integers(0, 4)) if rng.uniform() < 0.5 else 0,
                   int(rng.integers(0, 4)), int(rng.integers(0, 6)))  # fmt: skip


def _ceiling(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    image = _choose(rng, (_plaster, _plaster, _joints, _boards))(rng, shape, first, first * 0.8)
    return _finish(rng, image, 0, 0, int(rng.integers(0, 4)))


def _board(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # Wood: grain along y, knots, dirt.
    image = _ground(shape, first)
    grain = _crop(rng, shape, rng.uniform(0.4, 0.8), rng.uniform(4, 12))
    share = (0.5 + 0.5 * np.clip(1.6 * grain, -1, 1))[..., None]
    image = np.asarray(image * (1 - share) + second * share)
    return _lit(image, 1 + rng.uniform(0, 0.25) * _crop(rng, shape))


def _cloth(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    image = _choose(rng, (_motif, _motif, _carpet, _plaster, _print))(rng, shape, first, second)
    # Folds: dark and light bands of a soft field.
    folds = _crop(rng, shape, rng.uniform(0.0, 0.5), rng.uniform(1, 4))
    return _lit(image, 1 + rng.uniform(0.1, 0.5) * folds)


def _print(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # A box of cereals, a book, a shirt: colour, bands, a photograph, letters.
    image = _ground(shape, first)
    _posters(rng, image, int(rng.integers(1, 4)), 0.2, 0.9)
    for _ in range(int(rng.integers(1, 3))):
        _write(rng, image, int(rng.integers(1, 4)), 2.2)
    return image


def _worn(rng: _Rng, shape: tuple[int, int], first: _Image, second: _Image) -> _Image:
    # Paint, metal and plastic that was used: dirt, scratches, a sticker, reflections that stay.
    image = _ground(shape, first)
    _lit(image, 1 + rng.uniform(0.05, 0.35) * _crop(rng, shape))
    if rng.uniform() < 0.4:
        _posters(rng, image, int(rng.integers(1, 3)), 0.08, 0.4)
    if rng.uniform() < 0.3:
        _lines(rng, image, int(rng.integers(1, 4)))
    if rng.uniform() < 0.6:
        _veils(rng, image, int(rng.integers(1, 3)))
    return image


PAINTERS: dict[str, Callable[..., _Image]] = {
    'real wall': _wall,
    'real floor': _floor,
    'real ceiling': _ceiling,
    'real board': _board,
    'real cloth': _cloth,
    'real print': _print,
    'real paint': _worn,
    'real photograph': lambda rng, shape, first, second: _photo(rng, shape),
    'real page': lambda rng, shape, first, second: _page(rng, shape),
}
