# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept from frame to frame: the numbers of things, and when all is forgotten."""

import numpy as np
import pytest

from diception_ros.core.frame import Frame
from diception_ros.core.geometry import ScaleShift
from diception_ros.core.labels import Instances
from diception_ros.perception.tracking import MAX_MISSED_FRAMES, Memory, Tracks

SIZE = (60, 200)


def boxes(*places, names=None, scores=None, size=SIZE):
    """Things of 20 x 20 pixels with their left edge at these columns, numbered as they come."""
    ids = np.zeros(size, np.int32)
    for number, x in enumerate(places, 1):
        ids[20:40, x : x + 20] = number
    names = names or [''] * len(places)
    scores = np.linspace(0.9, 0.5, len(places)) if scores is None else scores
    return Instances(ids, tuple(names), np.array(scores, np.float32))


def numbers_at(label, *places):
    return [int(label.ids[30, x + 10]) for x in places]


def test_the_first_prediction_stays_as_it_is():
    rng = np.random.default_rng(0)
    label = Instances(
        rng.integers(0, 5, SIZE, np.int32), ('a', 'b', 'a', 'c'), rng.random(4, np.float32)
    )
    out = Tracks().follow(label, 0.3)
    np.testing.assert_array_equal(out.ids, label.ids)
    np.testing.assert_array_equal(out.scores, label.scores)
    assert out.categories == label.categories


def test_ids_are_kept_for_any_order_of_predictions():
    tracks = Tracks()
    tracks.follow(boxes(0, 50, 100), 0.3)
    out = tracks.follow(boxes(102, 3, 49), 0.3)
    assert numbers_at(out, 102, 3, 49) == [3, 1, 2]
    # Score and category go with the thing.
    np.testing.assert_allclose(out.scores, [0.7, 0.5, 0.9])


def test_moving_objects_keep_their_ids():
    tracks, rng = Tracks(), np.random.default_rng(0)
    for t in range(12):
        places = [5 * t, 80 + 4 * t, 150 + 2 * t]
        order = rng.permutation(3) if t else range(3)
        out = tracks.follow(boxes(*(places[k] for k in order)), 0.3)
        assert numbers_at(out, *places) == [1, 2, 3]


def test_tracking_changes_ids_only():
    tracks, rng = Tracks(), np.random.default_rng(1)
    for _ in range(6):
        count = int(rng.integers(0, 8))
        label = Instances(
            rng.integers(0, count + 1, SIZE, np.int32),
            tuple(rng.choice(['a', 'b'], count)),
            rng.random(count, np.float32),
        )
        out, seen = tracks.follow(label, 0.3), label.present()
        np.testing.assert_array_equal(out.ids > 0, seen.ids > 0)
        pairs = set(zip(out.ids.ravel().tolist(), seen.ids.ravel().tolist(), strict=True))
        assert len(pairs - {(0, 0)}) == len(seen.scores)
        for new, old in pairs - {(0, 0)}:
            assert out.categories[new - 1] == seen.categories[old - 1]
            assert out.scores[new - 1] == seen.scores[old - 1]
        assert len(out.scores) == out.ids.max()


def test_the_sum_of_overlaps_decides_not_the_first_come():
    # The left of two takes what the right one overlaps most, if it may choose alone.
    tracks = Tracks()
    tracks.follow(boxes(0, 22), 0.1)
    out = tracks.follow(boxes(12, 34), 0.1)
    assert numbers_at(out, 12, 34) == [1, 2]


def test_small_overlap_starts_a_new_track():
    for place, expected in ((9, 1), (11, 2)):  # 11 or 9 of 29 or 31 columns: IoU 0.38 or 0.29
        tracks = Tracks()
        tracks.follow(boxes(0), 0.3)
        assert numbers_at(tracks.follow(boxes(place), 0.3), place) == [expected]


def test_another_category_starts_a_new_track():
    tracks = Tracks()
    tracks.follow(boxes(0, 50, names=['cat', 'dog']), 0.3)
    out = tracks.follow(boxes(0, 50, names=['dog', 'cat']), 0.3)
    assert numbers_at(out, 0, 50) == [3, 4]
    assert out.categories[2:] == ('dog', 'cat')


@pytest.mark.parametrize('missed', range(1, MAX_MISSED_FRAMES + 1))
def test_briefly_missing_objects_keep_their_id(missed):
    tracks = Tracks()
    tracks.follow(boxes(0, 50), 0.3)
    for _ in range(missed):
        # Somebody new does not get the number that is kept.
        assert numbers_at(tracks.follow(boxes(50, 100), 0.3), 50, 100) == [2, 3]
    out = tracks.follow(boxes(150, 100, 2, 50), 0.3)
    assert numbers_at(out, 2, 50, 100, 150) == [1, 2, 3, 4]


def test_a_missed_thing_keeps_its_category():
    tracks = Tracks()
    tracks.follow(boxes(0, 50, 100, names=['cat', 'dog', 'cow']), 0.3)
    tracks.follow(boxes(50, names=['dog']), 0.3)
    out = tracks.follow(boxes(100, 0, names=['cow', 'cat']), 0.3)
    assert numbers_at(out, 0, 100) == [1, 3]


def test_long_missing_objects_are_dropped():
    tracks = Tracks()
    tracks.follow(boxes(0, 50), 0.3)
    for _ in range(MAX_MISSED_FRAMES + 1):
        tracks.follow(boxes(50), 0.3)
    # Its number is free again, and the next to come takes it, wherever it is.
    assert numbers_at(tracks.follow(boxes(50, 120), 0.3), 50, 120) == [2, 1]


def test_an_id_is_not_reused_while_its_object_is_missing():
    tracks = Tracks()
    tracks.follow(boxes(0, 50), 0.3)
    tracks.follow(boxes(50), 0.3)
    assert numbers_at(tracks.follow(boxes(50, 120), 0.3), 50, 120) == [2, 3]


def test_an_object_over_a_missed_one_replaces_it():
    tracks = Tracks()
    tracks.follow(boxes(0, names=['cat']), 0.3)
    tracks.follow(boxes(0, names=['dog']), 0.3)
    out = tracks.follow(boxes(0, names=['cat']), 0.3)
    # The cat's place is the dog's by now: nothing of it is left to overlap.
    assert numbers_at(out, 0) == [3]


def test_ids_stay_small():
    tracks, rng, largest = Tracks(), np.random.default_rng(2), 0
    for _ in range(200):
        places = rng.choice(np.arange(0, 180, 20), int(rng.integers(0, 6)), replace=False)
        out = tracks.follow(boxes(*places.tolist()), 0.3)
        assert len(np.unique(out.ids[out.ids > 0])) == len(places)
        largest = max(largest, len(out.scores))
    # At most 5 in each of the predictions that are remembered, though some 500 came and went.
    assert largest <= 5 * (MAX_MISSED_FRAMES + 1)


def test_a_prediction_without_instances_changes_no_number():
    tracks = Tracks()
    for label in (boxes(), boxes(0), boxes(), boxes(0), boxes()):
        out = tracks.follow(label, 0.3)
        assert numbers_at(out, 0) == [1 if len(label.scores) else 0]


def test_another_size_begins_anew():
    tracks = Tracks()
    tracks.follow(boxes(0, 50), 0.3)
    assert numbers_at(tracks.follow(boxes(50, size=(61, 200)), 0.3), 50) == [1]


# ---- when all is forgotten ----------------------------------------------------------------------


def frame(stamp_s, size=SIZE):
    return Frame(np.zeros((*size, 3), np.uint8), int(stamp_s * 1e9))


@pytest.mark.parametrize(
    ('stamp_s', 'size', 'kept'),
    [
        (10.1, SIZE, True),
        (10.0, SIZE, True),  # the same frame once more
        (12.0, SIZE, True),
        (12.1, SIZE, False),  # a gap
        (9.9, SIZE, False),  # a jump back
        (10.1, (30, 100), False),  # another size
    ],
)
def test_memory_is_of_frames_that_follow_one_another(stamp_s, size, kept):
    memory = Memory()
    memory.enter(frame(10), 2.0)
    memory.tracks['entity'], memory.scale_shift = Tracks(), ScaleShift(1, 0)
    memory.enter(frame(stamp_s, size), 2.0)
    assert ('entity' in memory.tracks, memory.scale_shift is not None) == (kept, kept)


def test_the_gap_is_to_the_last_frame():
    memory = Memory()
    memory.scale_shift = ScaleShift(1, 0)
    for stamp_s in range(10, 30):
        memory.enter(frame(stamp_s), 2.0)
    assert memory.scale_shift is not None
