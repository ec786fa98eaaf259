# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Outlines become the pixels whose centres they contain; run lengths are COCO's own."""

from hypothesis import given, settings
from hypothesis import strategies as st
import labelled_files as files
import numpy as np
import pytest

from diception_ros.datasets import annotation

SIZE = (23, 31)
coordinates = st.floats(-8, 40, allow_nan=False, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=3))
def test_a_triangle_is_the_centres_on_the_inner_side_of_its_edges(corners):
    points = np.array(corners, np.float64)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    sides = []
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        sides.append((x1 - x0) * (rows - y0) - (y1 - y0) * (columns - x0))
    stack = np.stack(sides)
    # Centres that lie on an edge may go to either side.
    clear = (np.abs(stack) > 1e-6).all(axis=0)
    inside = (stack > 0).all(axis=0) | (stack < 0).all(axis=0)
    np.testing.assert_array_equal(annotation.polygon(points, SIZE)[clear], inside[clear])


@settings(deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4), st.booleans())
def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none(corners, turned):
    """For either direction of the edge."""
    a, b, c, d = (np.array(corner, np.float64) for corner in corners)
    other = [a, c, d] if turned else [d, c, a]
    whole = annotation.polygon(np.array([a, b, c, d]), SIZE)
    one, two = (
        annotation.polygon(np.array([a, b, c]), SIZE),
        annotation.polygon(np.array(other), SIZE),
    )
    # Even-odd: what both halves of a folded quadrilateral cover, it does not.
    np.testing.assert_array_equal(whole, one ^ two)


def test_integer_pixels_are_measured_from_their_corners():
    found = annotation.polygon(np.array([(2, 3), (5, 3), (5, 7), (2, 7)], np.float64), SIZE)
    expected = np.zeros(SIZE, np.bool_)
    expected[3:7, 2:5] = True
    np.testing.assert_array_equal(found, expected)


def test_a_circle_is_the_polygon_of_many_corners():
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    centre, radius = np.array([14.2, 10.9]), 7.3
    many = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    rim = (centre[0], centre[1] + radius)
    np.testing.assert_array_equal(
        annotation.circle(centre.tolist(), rim, SIZE), annotation.polygon(many, SIZE)
    )


@pytest.mark.parametrize('seed', range(20))
def test_polygons_are_those_of_coco_within_a_pixel_of_the_boundary(seed):
    coco = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(seed)
    size = (120, 160)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    far = rng.uniform(15, 55, 9)
    points = np.stack([80 + far * np.cos(angle), 60 + far * np.sin(angle)], axis=-1)
    (encoded,) = coco.frPyObjects([points.ravel().tolist()], *size)
    theirs = coco.decode(encoded).astype(bool)
    ours = annotation.polygon(points, size)
    assert far_from_edges(points, size)[ours != theirs].max(initial=0) <= 1
    # A shift of half a pixel would show.
    for one, other in zip(np.nonzero(ours), np.nonzero(theirs), strict=True):
        assert abs(one.mean() - other.mean()) < 0.25


def far_from_edges(points, size):
    """(H, W): how far the centre of each pixel is from a polygon's boundary."""
    places = np.moveaxis(np.mgrid[: size[0], : size[1]] + 0.5, 0, -1)[..., ::-1]
    distances = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = end - start
        share = np.clip((places - start) @ along / (along @ along), 0, 1)
        distances.append(np.linalg.norm(places - start - share[..., None] * along, axis=-1))
    return np.min(distances, axis=0)


@pytest.mark.parametrize('seed', range(30))
def test_run_lengths_are_those_of_coco(seed):
    coco = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 200, 2).tolist())
    coarse = rng.random((rng.integers(1, 9), rng.integers(1, 9))) < rng.random()
    values = np.kron(coarse, np.ones((200, 200), np.bool_))[: size[0], : size[1]].astype(np.bool_)
    if seed % 3 == 0:
        values = rng.random(size) < rng.random()
    encoded = coco.encode(np.asfortranarray(values.astype(np.uint8)))
    packed = encoded['counts'].decode()
    np.testing.assert_array_equal(annotation.run_lengths(packed, size), values)
    np.testing.assert_array_equal(annotation.run_lengths(files.runs(values), size), values)
    assert annotation.unpacked(packed) == files.runs(values)


@pytest.mark.parametrize(
    'counts', [[3, -1, 18], [3, 4], [20, 20], ['3', 17], 7, 'é', 'p', '\x00', 'd0P']
)
def test_invalid_run_lengths_raise(counts):
    with pytest.raises(ValueError, match='run lengths'):
        annotation.run_lengths(counts, (4, 5))
