# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points as tokens."""

import pytest
import torch

from diception_ros.model import DiceptionPointEncoder

POINTS = [[(0.25, 0.75)], [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8), (1.0, 0.0)], []]


@pytest.fixture
def encoders():
    """Two encoders of the same weights, one for each order."""
    torch.manual_seed(0)
    first = DiceptionPointEncoder(16, 8, 12, point_order='xy')
    torch.nn.init.normal_(first.used)
    torch.nn.init.normal_(first.unused)
    second = DiceptionPointEncoder(16, 8, 12, point_order='yx')
    second.load_state_dict(first.state_dict())
    return first.eval(), second.eval()


def test_order_is_one_switch(encoders):
    swapped = [[(y, x) for x, y in points] for points in POINTS]
    xy, yx = (
        encoder(*encoder.pack(points, 3))
        for encoder, points in zip(encoders, (POINTS, swapped), strict=True)
    )
    assert torch.equal(xy, yx)
    same = encoders[1](*encoders[1].pack(POINTS, 3))
    assert (same - xy).abs().max() > 0.01


def test_tokens_by_hand(encoders):
    encoder = encoders[0]
    tokens = encoder(*encoder.pack(POINTS, 3))
    phase = 2 * torch.pi * (torch.tensor([[-0.5, 0.5], [-1, -1]]) @ encoder.gaussian)
    used, origin = encoder.mlp(torch.cat([phase.sin(), phase.cos()], dim=-1))
    assert torch.allclose(tokens[0, 0], used + encoder.used, atol=1e-6)
    # Unused slots are the point (0, 0) plus 'unused', not zero.
    assert torch.allclose(tokens[0, 1:], (origin + encoder.unused).expand(4, -1), atol=1e-6)
    assert torch.allclose(tokens[2], (origin + encoder.unused).expand(5, -1), atol=1e-6)


def test_no_points_are_empty_lists(encoders):
    for one, other in zip(encoders[0].pack(None, 2), encoders[0].pack([[], []], 2), strict=True):
        assert torch.equal(one, other)


def test_bfloat16_features_round_the_coordinates(encoders):
    exact = encoders[0](*encoders[0].pack(POINTS, 3))
    encoders[0].register_to_config(fourier_dtype='bfloat16')
    rounded = encoders[0](*encoders[0].pack(POINTS, 3))
    assert rounded.dtype == exact.dtype
    assert 1e-4 < (rounded - exact).abs().max() < 0.5


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="point_order is 'rowcol'"):
        DiceptionPointEncoder(16, 8, 12, point_order='rowcol')
    with pytest.raises(ValueError, match="fourier_dtype is 'int8'"):
        DiceptionPointEncoder(16, 8, 12, fourier_dtype='int8')
