# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers about several categories in one map: the higher score wins a pixel."""

import numpy as np
import pytest

from diception_ros.core.labels import Instances
from diception_ros.perception.perceiver import combine


def label(ids, names, scores):
    return Instances(np.array(ids, np.int32), tuple(names), np.array(scores, np.float32))


def random(rng, name, size=(20, 30), count=4):
    ids = rng.integers(0, count + 1, size, np.int32)
    return label(ids, [name] * count, rng.random(count))


def test_instances_without_pixels_are_removed():
    cats = label([[1, 1, 2, 0]], ['cat', 'cat'], [0.9, 0.4])
    dogs = label([[0, 1, 1, 0]], ['dog'], [0.6])
    both = combine([cats, dogs])
    np.testing.assert_array_equal(both.ids, [[1, 1, 2, 0]])
    # The second cat lost its one pixel to the dog and is gone.
    assert both.categories == ('cat', 'dog')
    np.testing.assert_allclose(both.scores, [0.9, 0.6])


def test_each_pixel_goes_to_the_highest_score():
    rng = np.random.default_rng(0)
    labels = [random(rng, name) for name in ('cat', 'dog', 'cow')]
    both = combine(labels)
    scores = np.stack([np.concatenate([[-1], one.scores])[one.ids] for one in labels])
    of = np.concatenate([[-1], both.scores])[both.ids]
    np.testing.assert_array_equal(of, scores.max(axis=0))
    names = np.array(['', *both.categories])[both.ids]
    expected = np.array(['cat', 'dog', 'cow'])[scores.argmax(axis=0)]
    np.testing.assert_array_equal(names[of >= 0], expected[of >= 0])


def test_the_order_matters_for_equals_only():
    rng = np.random.default_rng(1)
    cats, dogs = random(rng, 'cat'), random(rng, 'dog')
    one, other = combine([cats, dogs]), combine([dogs, cats])
    np.testing.assert_array_equal(
        np.array(['', *one.categories])[one.ids], np.array(['', *other.categories])[other.ids]
    )
    equal = [label([[1, 1, 0]], ['cat'], [0.5]), label([[0, 1, 1]], ['dog'], [0.5])]
    assert [combine(equal).ids.tolist(), combine(equal[::-1]).ids.tolist()] == [
        [[1, 1, 2]], [[2, 1, 1]]
    ]  # fmt: skip


def test_of_one_prediction_nothing_is_lost():
    one = random(np.random.default_rng(2), 'cat')
    both = combine([one, label(np.zeros((20, 30)), [], [])])
    for found in (combine([one]), both):
        np.testing.assert_array_equal(found.ids, one.ids)
        np.testing.assert_array_equal(found.scores, one.scores)


def test_a_thing_of_no_trust_is_more_than_nothing():
    nothing, cat = label([[0, 0]], [], []), label([[0, 1]], ['cat'], [0.0])
    for labels in ([cat, nothing], [nothing, cat]):
        np.testing.assert_array_equal(combine(labels).ids, [[0, 1]])


def test_sizes_must_agree():
    with pytest.raises(ValueError, match='expected labels of one size'):
        combine([label([[0, 1]], ['cat'], [0.5]), label([[0]], [], [])])
    with pytest.raises(ValueError, match='expected labels of one size'):
        combine([])
