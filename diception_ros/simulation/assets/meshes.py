# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Furniture and people as meshes, read from libraries of Sweet Home 3D (`*.sh3f`).

Debian's package `sweethome3d-furniture` holds five such libraries with 820 models in real sizes.
It is unpacked, not installed: `apt-get download sweethome3d-furniture`, `dpkg -x FILE.deb FOLDER`.
Nothing of it is part of this package; `FurnitureLibrary.credits` lists whom licences require to
name.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass, field
import functools
import hashlib
import os
from pathlib import Path, PurePosixPath
import re
from typing import Any
import zipfile

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.simulation.assets.primitives import Placement, SceneObject, Surface
from diception_ros.system import files, safe_load

_Floats = NDArray[np.float32]

_MOST_READ = 45000  # triangles of a model in its file; larger ones take a second to read
# Triangles that are drawn of a large and of a small model: with more, drawing them takes most of
# the time of a view. Vertices in one cell of a grid become one.
_MOST_DRAWN, _SMALL, _MOST_OF_SMALL = 3000, 0.45, 1500
_MOST_PIECES = 6  # materials of a model; the smallest are joined
_VERSION = 4  # of what the cache holds
_TEXTURE = 256  # side of the largest texture, pixels

# The name of a model in the catalogue, in lower case, to a category of
# `diception_ros.simulation.assets`. The first match counts. None leaves a model out: it
# does not belong in a room, or it is a set of several things that would count as one.
_CATEGORIES: tuple[tuple[str, str | None], ...] = (
    (r'sitting|lying|mannequin|holding|doll', None),  # people in the air; nobody
    (r'^(female|male|boy|girl)$', 'person'),
    (r'cutlery|living room|with flowers|ryokan|chess|pool table|island|changing', None),
    (r'table tennis|tennis|football|game|piano bench|children table|dressing|card', None),
    (r'high chair|child chair|class seat|armchair|rattan armchair|stool|chair', 'chair'),
    (r'ottoman|puff', 'object'),
    (r'sofa|couch', 'couch'),
    (r'bedside|dresser|drawers|cabinet|wardrobe|cupboard|chest$|locker|tv stand', 'cabinet'),
    (r'vanity|filing|trunck', 'cabinet'),
    (r'bench|wood bank|little bank', 'bench'),
    (r'coffee table|bar table', 'table'),
    (r'desk lamp', 'lamp'),
    (r'technical table|desk', 'desk'),
    (r'table fan', 'object'),
    (r'table', 'dining table'),
    (r'baby bed|air mattress|mezzanine|bunk|crib|hospital', None),
    (r'\bbed\b|futon', 'bed'),
    (r'bookcase|shelves|shelf', 'shelf'),
    (r'tv remote', 'remote'),
    (r'tv 16|flat tv|^tv$|imac|^screen$', 'tv'),
    (r'ibook|laptop', 'laptop'),
    (r'mobile phone|iphone', 'cell phone'),
    (r'wine bottle|beer bottle|^bottle$|oil servers|^milk|flacon|spray bottle', 'bottle'),
    (r'cocktail glass', 'wine glass'),
    (r'^cup|mug|coffee cup|plastic cup|^glass$|beer glass', 'cup'),
    (r'^bowl', 'bowl'),
    (r'^apples$', 'apple'),
    (r'^book$', 'book'),
    (r'christmas|plant box|flower box', None),
    (r'plant|ficus|bonsai|bamboo|yucca|spathi|tulip|lily|cactus|orchid|succulent|flowers',
     'potted plant'),
    (r'vase', 'vase'),
    (r'clock$', 'clock'),
    (r'fridge|refrigerator', 'refrigerator'),
    (r'microwave', 'microwave'),
    (r'small oven|oven|cooker|stove', 'oven'),
    (r'backpack', 'backpack'),
    (r'suitcase', 'suitcase'),
    (r'handbag|briefcase', 'handbag'),
    (r'ball$', 'sports ball'),
    (r'teddy', 'teddy bear'),
    (r'^umbrella$', 'umbrella'),
    (r'^toilets unit', 'toilet'),
    (r'scissors', 'scissors'),
    (r'^(cat|siamese cat)$', 'cat'),
    (r'^(dog|bulldog)$', 'dog'),
    (r'^bike$|bicycle', 'bicycle'),
    (r'cake', 'cake'),
    (r'keyboard', 'object'),
    (r'box$|crate', 'box'),
    (r'street|park|porch|outdoor|post|light|hanging|pendant|chandelier|ceiling', None),
    (r'lamp', 'lamp'),
)  # fmt: skip
_CATALOGUE = (
    'Living room', 'Kitchen', 'Bedroom', 'Office', 'Miscellaneous', 'Bathroom', 'Lights',
    'Characters', 'Exterior',
)  # fmt: skip
# Of these catalogue categories only what has a name above is taken: the rest is no thing of rooms.
_NAMED_ONLY = ('Exterior', 'Characters', 'Lights', 'Vehicles')
# What stands on floors beside the furniture.
_ON_FLOORS = ('object', 'toilet', 'bicycle', 'dog', 'cat', 'box', 'handbag', 'umbrella')
_NO_OBJECT = re.compile(
    r'radiator|carpet|rug|fireplace|projector|frame|curtain|blind|switch|plug|socket|detector|'
    r'railing|hood|chimney|mat$|tatami|upper|corner|tool$|bath|shower|stall|basin|island|container|barnum|pallet|'
    r'furnace|aquarium|sign|heater|conditioning|thermometer|hanger|clothes|bill|cctv|camera$|doll'
)


@dataclass(frozen=True, eq=False)
class MeshPart:
    """The triangles of one material.

    Attributes:
        vertices: (N, 3) float32, metres, in the frame of things: x to the front, z up.
        normals: (N, 3) float32, unit, of the shading; the label is the triangle's own.
        uvs: (N, 2) float32 places in the texture, or None.
        faces: (F, 3) int32; seen from both sides.
        color: RGB in [0, 1].
        shine: strength of highlights, [0, 1].
        texture: (H, W, 3) uint8 RGB, or None.
    """

    vertices: _Floats
    normals: _Floats
    uvs: _Floats | None
    faces: NDArray[np.int32]
    color: tuple[float, float, float]
    shine: float
    texture: NDArray[np.uint8] | None


@dataclass(frozen=True)
class CatalogEntry:
    """A model in a library, not read yet.

    Attributes:
        key: unique name, library first.
        name: what the catalogue calls it.
        category: a name of `diception_ros.simulation.assets`.
        size: metres, along x (depth), y (width) and z (height).
        library: the `.sh3f` file.
        path: of the OBJ file in it.
        rotation: (3, 3) of the model in its own frame, or None.
        creator: who is to be named.
        licence: of the library.
    """

    key: str
    name: str
    category: str
    size: tuple[float, float, float]
    library: Path
    path: str
    rotation: tuple[float, ...] | None
    creator: str
    licence: str


@dataclass(frozen=True, eq=False)
class MeshModel:
    """A model that was read."""

    entry: CatalogEntry
    pieces: tuple[MeshPart, ...]
    top: float = 0.0  # share of its footprint that lies flat at its full height


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """A model in a room: number of its instance, from 1, and where it stands."""

    model: MeshModel
    place: Placement
    instance: int


@dataclass
class MeshObject(SceneObject):
    """A thing that is a mesh instead of primitives."""

    model: MeshModel | None = field(default=None)


class FurnitureLibrary:
    """The models of a folder that rooms can hold.

    Args:
        folder: somewhere below it are `.sh3f` files, as `dpkg -x` leaves them.

    Raises:
        FileNotFoundError: there are none.
        ValueError: one of them cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        libraries = sorted(Path(folder).rglob('*.sh3f'))
        if not libraries:
            raise FileNotFoundError(
                f'furniture models: expected *.sh3f files below {str(folder)!r}, got none; unpack '
                "Debian's sweethome3d-furniture there with dpkg -x"
            )
        self.entries = [entry for library in libraries for entry in _entries(library)]
        self.by_category: dict[str, list[CatalogEntry]] = {}
        for entry in self.entries:
            self.by_category.setdefault(entry.category, []).append(entry)
        self.small = [
            e for e in self.by_category.get('object', [])
            if max(e.size) < _SMALL and min(e.size) > 0.01
        ]  # fmt: skip
        self.large = [
            e for e in self.entries
            if e.category in _ON_FLOORS
            and max(e.size) >= 0.3 and max(e.size[:2]) < 1.6 and e.size[2] < 2.2
        ]  # fmt: skip

    def substitute(self, rng: np.random.Generator, thing: SceneObject) -> SceneObject:
        """A model of a thing's category that needs about as much room, or the thing itself."""
        options = [
            entry for entry in self.by_category.get(thing.category, ())
            if 0.35 < entry.size[2] / max(thing.height, 0.01) < 2.2
            and 0.35 < max(entry.size[:2]) / (2 * max(*thing.half, 0.01)) < 1.8
        ]  # fmt: skip
        if not options:
            return thing
        return self.thing(rng, options[int(rng.integers(len(options)))]) or thing

    def sample(self, rng: np.random.Generator, entries: list[CatalogEntry]) -> SceneObject | None:
        """One of several models; None where it cannot be used."""
        return self.thing(rng, entries[int(rng.integers(len(entries)))]) if entries else None

    def thing(self, rng: np.random.Generator, entry: CatalogEntry) -> SceneObject | None:
        """A model as a thing; None where it has too many triangles, or none."""
        model = _read(entry)
        if model is None:
            return None
        depth, width, height = entry.size
        thing = MeshObject(entry.category, (depth / 2, width / 2), height, model=model)
        if model.top > 0.6 and entry.category in ('dining table', 'desk', 'table', 'cabinet'):
            thing.surfaces.append(Surface(0, 0, height, depth * 0.42, width * 0.42, 1.0))
        return thing

    def credits(self) -> Iterator[str]:
        """One line for every creator and licence."""
        seen: dict[tuple[str, str], list[str]] = {}
        for entry in self.entries:
            seen.setdefault((entry.creator, entry.licence), []).append(entry.name)
        for (creator, licence), names in sorted(seen.items()):
            yield f'{creator} ({licence}): {", ".join(sorted(set(names)))}'


@functools.lru_cache(maxsize=4)
def load_library(folder: str) -> FurnitureLibrary:
    """The models of a folder, read once per process; see `FurnitureLibrary`."""
    return FurnitureLibrary(folder)


# ---- the catalogue -------------------------------------------------------------------------


def _entries(library: Path) -> Iterator[CatalogEntry]:
    try:
        with zipfile.ZipFile(library) as archive:
            text = archive.read('PluginFurnitureCatalog.properties').decode('latin-1')
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f'furniture models: {library} cannot be read ({error})') from error
    licence = re.search(r'^license=(.*)$', text, re.MULTILINE)
    items: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r'^(\w+)#(\d+)=(.*)$', text, re.MULTILINE):
        items.setdefault(int(number), {})[key] = value.strip()
    for item in items.values():
        category = _category(item)
        if category is None or float(item.get('elevation', 0)) > 0:
            continue
        size = tuple(float(item[key]) / 100 for key in ('depth', 'width', 'height'))
        rotation = item.get('modelRotation')
        yield CatalogEntry(
            f'{library.stem}{item["model"]}', item['name'], category, (size[0], size[1], size[2]),
            library, item['model'].lstrip('/'),
            tuple(map(float, rotation.split())) if rotation else None,
            item.get('creator', library.stem),
            licence[1].strip() if licence else 'see the package',
        )  # fmt: skip


def _category(item: dict[str, str]) -> str | None:
    if item.get('category') not in _CATALOGUE or item.get('doorOrWindow') == 'true':
        return None
    name = item['name'].lower()
    for pattern, category in _CATEGORIES:
        if re.search(pattern, name):
            return category
    if item['category'] in _NAMED_ONLY or _NO_OBJECT.search(name):
        return None
    return 'object'


# ---- OBJ and MTL ---------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def _read(entry: CatalogEntry) -> MeshModel | None:
    # Reading text takes 0.2 s; what came of it is kept in the user's cache.
    cached = _cache(entry)
    if cached.exists():
        try:
            return _unpacked(entry, safe_load.npz_file(cached))
        except (OSError, ValueError, KeyError):
            pass  # written by something else, or cut off: read anew
    model = _parsed(entry)
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(cached) as part, part.open('wb') as file:
            np.savez(file, allow_pickle=False, **_packed(model))
    return model


def _cache(entry: CatalogEntry) -> Path:
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    file = entry.library.stat()
    seen = repr((_VERSION, entry.key, entry.size, entry.rotation, file.st_size, file.st_mtime_ns))
    return Path(
        base, 'diception', 'furniture', hashlib.sha256(seen.encode()).hexdigest()[:32] + '.npz'
    )


def _packed(model: MeshModel | None) -> dict[str, NDArray[Any]]:
    out: dict[str, NDArray[Any]] = {'top': np.array(model.top if model else -1.0)}
    for k, piece in enumerate(model.pieces if model else ()):
        for name in ('vertices', 'normals', 'uvs', 'faces', 'texture'):
            if getattr(piece, name) is not None:
                out[f'{k}/{name}'] = getattr(piece, name)
        out[f'{k}/look'] = np.array([*piece.color, piece.shine])
    return out


def _unpacked(entry: CatalogEntry, arrays: dict[str, NDArray[Any]]) -> MeshModel | None:
    pieces: list[MeshPart] = []
    while f'{len(pieces)}/look' in arrays:
        k = len(pieces)
        red, green, blue, shine = arrays[f'{k}/look'].tolist()
        pieces.append(MeshPart(
            arrays[f'{k}/vertices'], arrays[f'{k}/normals'], arrays.get(f'{k}/uvs'),
            arrays[f'{k}/faces'], (red, green, blue), shine, arrays.get(f'{k}/texture'),
        ))  # fmt: skip
    return MeshModel(entry, _drawable(pieces), float(arrays['top'])) if pieces else None


def _drawable(pieces: list[MeshPart]) -> tuple[MeshPart, ...]:
    # MuJoCo takes no mesh of less than 4 vertices.
    return tuple(piece for piece in pieces if len(piece.vertices) >= 4)


def _parsed(entry: CatalogEntry) -> MeshModel | None:
    with zipfile.ZipFile(entry.library) as archive:
        lines = archive.read(entry.path).decode('latin-1').splitlines()
        if sum(line.startswith('f ') for line in lines) > _MOST_READ:
            return None
        looks = _looks(archive, entry, lines)
    positions, uvs, normals = (_rows(lines, key, width) for key, width in
                               (('v ', 3), ('vt ', 2), ('vn ', 3)))  # fmt: skip
    corners = _corners(lines, len(positions), len(uvs), len(normals))
    used = np.unique(np.concatenate([c[:, 0] for c in corners.values()])) if corners else ()
    if not len(used):
        return None
    turn = np.eye(3) if entry.rotation is None else np.reshape(entry.rotation, (3, 3))
    positions, normals = positions @ turn.T, normals @ turn.T
    # Sweet Home 3D has y up and z to the front; its sizes are those of the box around the model.
    positions, normals = positions[:, [2, 0, 1]], normals[:, [2, 0, 1]]
    low, high = positions[used].min(axis=0), positions[used].max(axis=0)
    scale = np.array(entry.size) / np.maximum(high - low, 1e-9)
    positions = (positions - [*(low + high)[:2] / 2, low[2]]) * scale
    normals = normals / scale
    corners, positions = _thinned(
        corners, positions, _MOST_OF_SMALL if max(entry.size) < _SMALL else _MOST_DRAWN
    )
    pieces = [
        piece
        for name, index in _joined(corners, positions).items()
        if (piece := _piece(index, positions, uvs, normals, looks.get(name, _Look()))) is not None
    ]
    return MeshModel(entry, _drawable(pieces), _top(pieces, entry)) if pieces else None


@dataclass
class _Look:
    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    shine: float = 0.1
    texture: NDArray[np.uint8] | None = None


def _looks(archive: zipfile.ZipFile, entry: CatalogEntry, lines: list[str]) -> dict[str, _Look]:
    folder, known = PurePosixPath(entry.path).parent, set(archive.namelist())
    out: dict[str, _Look] = {}
    look = _Look()
    for library in [line[7:].strip() for line in lines if line.startswith('mtllib ')]:
        if str(folder / library) not in known:
            continue
        for line in archive.read(str(folder / library)).decode('latin-1').splitlines():
            key, _, value = line.strip().partition(' ')
            value = value.strip()
            if key == 'newmtl':
                look = out[value] = _Look()
            elif key == 'Kd':
                red, green, blue = (min(1.0, max(0.0, float(part))) for part in value.split()[:3])
                look.color = (red, green, blue)
            elif key == 'Ks':
                look.shine = min(1.0, max(float(part) for part in value.split()[:3]))
            elif key == 'map_Kd' and str(folder / value) in known:
                look.texture = _texture(archive.read(str(folder / value)))
    return out


def _texture(content: bytes) -> NDArray[np.uint8] | None:
    try:
        image = images.decode(content, 'texture')
    except ValueError:
        return None
    high, wide = image.shape[:2]
    share = min(1.0, _TEXTURE / max(high, wide))
    # Multiples of 4, as rows are aligned on graphics cards.
    size = (max(4, round(wide * share / 4) * 4), max(4, round(high * share / 4) * 4))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _rows(lines: list[str], key: str, width: int) -> NDArray[np.float64]:
    rows = [line[len(key) :].split()[:width] for line in lines if line.startswith(key)]
    return np.array([row for row in rows if len(row) == width], np.float64).reshape(-1, width)


def _corners(
    lines: list[str], vertices: int, uvs: int, normals: int
) -> dict[str, NDArray[np.int64]]:
    # Of each material, (3 F, 3): numbers of position, texture place and normal, -1 for none.
    out: dict[str, list[tuple[int, int, int]]] = {}
    mine = out.setdefault('', [])
    counts = (vertices, uvs, normals)
    for line in lines:
        if line.startswith('usemtl'):
            mine = out.setdefault(line[6:].strip(), [])
        elif line.startswith('f '):
            face = []
            for token in line[2:].split():
                parts = (token + '//').split('/')[:3]
                numbers = [int(part) if part else 0 for part in parts]
                position, place, normal = (
                    n - 1 if n > 0 else n + count if n < 0 else -1
                    for n, count in zip(numbers, counts, strict=True)
                )
                face.append((position, place, normal))
            for k in range(1, len(face) - 1):
                mine += [face[0], face[k], face[k + 1]]
    return {name: np.array(indices, np.int64) for name, indices in out.items() if indices}


def _thinned(
    corners: dict[str, NDArray[np.int64]], positions: NDArray[np.float64], most: int
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.float64]]:
    # Vertices of one cell of a grid become their mean, with a grid just coarse enough.
    index = np.concatenate(list(corners.values()))[:, 0].reshape(-1, 3)
    low, extent = (
        positions[index].min(axis=(0, 1)),
        np.ptp(positions[index].reshape(-1, 3), axis=0),
    )
    cell, count = float(extent.max()) / 160, len(index)
    while count > most:
        keys = np.floor((positions - low) / cell + 0.5).astype(np.int64)
        _, place = np.unique(keys, axis=0, return_inverse=True)
        place = place.reshape(-1)
        triples = np.sort(place[index], axis=1)
        whole = (triples[:, 0] != triples[:, 1]) & (triples[:, 1] != triples[:, 2])
        _, first = np.unique(triples, axis=0, return_index=True)
        keep = np.zeros(len(index), np.bool_)
        keep[first] = True
        keep &= whole
        count = int(keep.sum())
        cell *= 1.2
    if count == len(index):
        return corners, positions
    total = np.zeros((place.max() + 1, 4))
    used = np.unique(index)
    np.add.at(
        total, place[used], np.concatenate([positions[used], np.ones((len(used), 1))], axis=1)
    )
    means = total[:, :3] / np.maximum(total[:, 3:], 1)
    ends = np.cumsum([len(c) // 3 for c in corners.values()])[:-1]
    thinned = {
        name: c.reshape(-1, 3, 3)[mine].reshape(-1, 3)
        for (name, c), mine in zip(corners.items(), np.split(keep, ends), strict=True)
        if mine.any()
    }
    return thinned, means[place]


def _joined(
    corners: dict[str, NDArray[np.int64]], positions: NDArray[np.float64]
) -> dict[str, NDArray[np.int64]]:
    # The largest materials as they are; all others look like the largest of the rest.
    by_area = sorted(corners, key=lambda name: -_areas(corners[name], positions).sum())
    pieces = {name: corners[name] for name in by_area[:_MOST_PIECES]}
    rest = [corners[name] for name in by_area[_MOST_PIECES:]]
    if rest:
        last = by_area[_MOST_PIECES - 1]
        pieces[last] = np.concatenate([pieces[last], *rest])
    return pieces


def _areas(index: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = positions[index[:, 0]].reshape(-1, 3, 3).transpose(1, 0, 2)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def _piece(
    index: NDArray[np.int64], positions: NDArray[np.float64], uvs: NDArray[np.float64],
    normals: NDArray[np.float64], look: _Look,
) -> MeshPart | None:  # fmt: skip
    triangles = index.reshape(-1, 3, 3)[_areas(index, positions) > 1e-9]
    if not len(triangles):
        return None
    a, b, c = positions[triangles[:, :, 0]].transpose(1, 0, 2)
    flat = np.cross(b - a, c - a)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    own = np.repeat(flat, 3, axis=0)
    corner = triangles.reshape(-1, 3)
    shading = own.copy()
    has_normal = corner[:, 2] >= 0
    if has_normal.any():
        shading[has_normal] = normals[corner[has_normal, 2]]
        length = np.linalg.norm(shading, axis=1, keepdims=True)
        shading = np.where(length > 1e-9, shading / np.maximum(length, 1e-9), own)
        # Triangles are wound either way; their shading says which side is the outer one.
        inner = (shading * own).sum(axis=1).reshape(-1, 3).sum(axis=1) < 0
        triangles[inner] = triangles[inner, ::-1]
        shading.reshape(-1, 3, 3)[inner] = shading.reshape(-1, 3, 3)[inner, ::-1]
        corner = triangles.reshape(-1, 3)
    has_place = look.texture is not None and bool((corner[:, 1] >= 0).all()) and len(uvs) > 0
    table = np.concatenate(
        [
            positions[corner[:, 0]],
            shading,
            uvs[corner[:, 1]] if has_place else np.zeros((len(corner), 2)),
        ],
        axis=1,
    ).astype(np.float32)
    rows, faces = np.unique(table, axis=0, return_inverse=True)
    numbers = np.asarray(faces.reshape(-1, 3), np.int32)
    places = np.ascontiguousarray(rows[:, 6:]) if has_place else None
    if places is not None:
        places[:, 1] = 1 - places[:, 1]
    return MeshPart(
        np.ascontiguousarray(rows[:, :3]), np.ascontiguousarray(rows[:, 3:6]), places, numbers,
        look.color, look.shine, look.texture if has_place else None,
    )  # fmt: skip


def _top(pieces: list[MeshPart], entry: CatalogEntry) -> float:
    # How much of the footprint is a level top: things can be put down there.
    flat = 0.0
    for piece in pieces:
        a, b, c = piece.vertices[piece.faces].transpose(1, 0, 2)
        across = np.cross(b - a, c - a)[:, 2] / 2
        high = np.minimum(np.minimum(a[:, 2], b[:, 2]), c[:, 2]) > entry.size[2] - 0.015
        flat += float(np.abs(across[high]).sum())
    return flat / (entry.size[0] * entry.size[1])
