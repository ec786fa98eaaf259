# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Predictor on the tiny random network: answers do not depend on their company."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.labels import Disparity, Mask
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.model import sampler
from diception_ros.model.folder import find_device
from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.model.sampler import STAGES
from diception_ros.perception.predictor import Predictor

DEPTH, NORMAL = Prompt('depth'), Prompt('normal')
POINTED = Prompt('segmentation', points=(Point(3, 4), Point(20, 11)))
ALL = [
    DEPTH, NORMAL, POINTED, Prompt('entity'), Prompt('pose'), Prompt('semantic', 'person'),
    Prompt('semantic', 'chair'),
]  # fmt: skip


def frame(height=40, width=60, seed=0, **header):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Frame(image, **header)


def predictor(tiny, **settings):
    return Predictor(
        tiny, PredictSettings(**{'num_inference_steps': 2, 'guidance_scale': 2.0, **settings})
    )


def same(one, other, atol=0.0):
    assert type(one) is type(other)
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, np.ndarray) and first.dtype.kind == 'f':
            np.testing.assert_allclose(first, second, atol=atol)
        else:
            np.testing.assert_array_equal(first, second)


@pytest.fixture
def packed(tiny, monkeypatch):
    """The points of every batch that the tiny model is asked."""
    seen = []
    pack = tiny.point_encoder.pack
    monkeypatch.setattr(
        tiny.point_encoder,
        'pack',
        lambda points, batch: (seen.append(points), pack(points, batch))[1],
    )
    return seen


def test_the_network_takes_no_intrinsics(tiny):
    """Normals and all else are the same for every field of view, so none has to be known."""
    prompts = ALL[:2]
    plain = predictor(tiny).predict([frame()], prompts)
    for focal in (10.0, 1000.0):
        calibrated = frame(intrinsics=Intrinsics(focal, focal, 29.5, 19.5))
        for one, other in zip(plain, predictor(tiny).predict([calibrated], prompts), strict=True):
            same(one.label, other.label)


def test_predictions_come_frame_by_frame_with_header_and_size_of_each(tiny):
    frames = [frame(40, 60, stamp_ns=5, frame_id='front'), frame(30, 20, 1, stamp_ns=6)]
    prompts = [DEPTH, NORMAL]
    found = predictor(tiny).predict(frames, prompts)
    assert [(p.stamp_ns, p.frame_id, p.prompt) for p in found] == [
        (5, 'front', DEPTH), (5, 'front', NORMAL), (6, '', DEPTH), (6, '', NORMAL)
    ]  # fmt: skip
    assert [p.label.size for p in found] == [(40, 60)] * 2 + [(30, 20)] * 2
    assert all(isinstance(p.label, tasks.get(p.prompt.task).label) for p in found)
    assert predictor(tiny).predict([], prompts) == predictor(tiny).predict(frames, []) == []


@pytest.mark.parametrize('guidance', [1.0, 2.0])
def test_a_prediction_does_not_depend_on_its_batch(tiny, guidance):
    frames = [frame(), frame(50, 50, 1)]
    prompts = [DEPTH, NORMAL, POINTED]
    company = predictor(tiny, guidance_scale=guidance, batch_size=4).predict(frames, prompts)
    for i, found in enumerate(company):
        (alone,) = predictor(tiny, guidance_scale=guidance).predict(
            [frames[i // 3]], [prompts[i % 3]]
        )
        if isinstance(found.label, Disparity):
            same(found.label, alone.label, atol=1e-4)
        elif i % 3 == 1:
            first, second = found.label.vectors, alone.label.vectors
            assert (np.isfinite(first) == np.isfinite(second)).mean() > 0.99
            both = np.isfinite(first) & np.isfinite(second)
            away = np.abs(first - second)[both]
            assert np.quantile(away, 0.99) < 0.01
        else:
            # A pixel at the threshold may fall to either side by rounding.
            assert (found.label.values != alone.label.values).mean() < 0.002


def test_every_task_predicts(tiny):
    found = predictor(tiny).predict([frame()], ALL)
    assert len(found) == len(ALL)
    for prediction in found:
        assert prediction.label.size == (40, 60)
        assert prediction.label.preview(frame().image).shape == (40, 60, 3)
        assert prediction.uncertainty is None


def test_equals_pipeline_and_task_by_hand(tiny):
    image = frame(64, 64)
    (found,) = predictor(tiny, num_inference_steps=3, seed=9).predict([image], [DEPTH])
    square, fit = images.resize(image.image, 64)
    out = tiny(
        torch.from_numpy(square.copy()).permute(2, 0, 1)[None] / 127.5 - 1, ['[[image2depth]]'],
        num_inference_steps=3, guidance_scale=2.0, generator=torch.Generator().manual_seed(9),
    )  # fmt: skip
    by_hand = tasks.get('depth').decode(out.images[0]).to_image_size(fit)
    same(found.label, by_hand, atol=1e-5)


@pytest.mark.parametrize('batch_size', [1, 3, 8])
def test_shifted_predictions_are_those_of_the_pipeline_blended(tiny, batch_size):
    view = frame(64, 64)
    mine = predictor(
        tiny,
        num_inference_steps=2,
        guidance_scale=1.0,
        seed=9,
        tta_shifts=4,
        batch_size=batch_size,
    )
    places = sampler.shift_offsets(4, 16)
    alone = []
    for place in places:
        square = torch.from_numpy(sampler.shift(view.image, place).copy()).permute(2, 0, 1)
        out = tiny(
            square[None] / 127.5 - 1, ['[[image2depth]]'], num_inference_steps=2,
            guidance_scale=1.0, generator=torch.Generator().manual_seed(9),
        )  # fmt: skip
        alone.append(out.images[0])
    by_hand = sampler.blend(alone, places)
    np.testing.assert_allclose(mine.generate(view, '[[image2depth]]'), by_hand, atol=1e-5)
    # And in company: another task before it, another frame after it.
    found = mine.predict([view, frame(seed=1)], [NORMAL, DEPTH])
    same(found[1].label, tasks.get('depth').decode(by_hand), atol=1e-4)
    assert np.abs(by_hand - alone[0]).max() > 0.01


def test_model_config_gives_the_default_of_tta_shifts(tiny, tmp_path):
    assert predictor(tiny).tta_shifts == tiny.config.shifts == 1
    tiny.save_pretrained(tmp_path / 'model')
    index = tmp_path / 'model' / 'model_index.json'
    index.write_text(index.read_text().replace('"shifts": 1', '"shifts": 3'))
    pipe = DiceptionPipeline.from_pretrained(tmp_path / 'model')
    assert predictor(pipe).tta_shifts == 3
    assert predictor(pipe, tta_shifts=1).tta_shifts == 1
    index.write_text(index.read_text().replace('"shifts": 3,', ''))  # as those of before
    assert predictor(DiceptionPipeline.from_pretrained(tmp_path / 'model')).tta_shifts == 1


def test_more_shifts_than_a_token_has_pixels_are_refused(tiny, monkeypatch):
    monkeypatch.setattr(type(tiny), 'token', 8)
    assert predictor(tiny, tta_shifts=8).tta_shifts == 8
    with pytest.raises(
        ValueError, match='tta_shifts is 9; a token of this model is 8 pixels wide'
    ):
        predictor(tiny, tta_shifts=9)
    with pytest.raises(
        ValueError, match='tta_shifts is 9; a token of this model is 8 pixels wide'
    ):
        predictor(tiny).check([DEPTH], PredictSettings(tta_shifts=9))


def test_a_shifted_image_without_the_point_is_not_asked(tiny, packed):
    corner, middle = (Prompt('segmentation', points=(Point(x, y),)) for x, y in [(0, 0), (30, 30)])
    predictor(tiny, tta_shifts=4).predict([frame(64, 64)], [corner, middle])
    # Each of the others cuts off the upper or the left rim.
    assert [point for batch in packed for (point,) in batch] == [
        (0, 0),
        *(
            (30 / 64 - right / 64, 30 / 64 - down / 64)
            for down, right in sampler.shift_offsets(4, 16)
        ),
    ]


def test_points_reach_the_model_as_shares_of_the_frame(tiny, packed):
    predictor(tiny).predict([frame(40, 60)], [POINTED, DEPTH])
    assert packed == [[[(3 / 60, 4 / 40), (20 / 60, 11 / 40)], []]]


@pytest.mark.parametrize(('number', 'batch_size'), [(1, 2), (4, 3)])
def test_each_frame_is_encoded_once_for_each_shift(tiny, number, batch_size):
    sizes = []
    handle = tiny.vae.encoder.register_forward_hook(
        lambda m, args, out: sizes.append(len(args[0]))
    )
    try:
        predictor(tiny, batch_size=batch_size, tta_shifts=number).predict(
            [frame(), frame(seed=1)], [DEPTH, NORMAL, POINTED]
        )
    finally:
        handle.remove()
    # A frame's last prediction needs all of its shifts, so they stay until then and no longer.
    assert sum(sizes) == 2 * number


def test_what_frames_share_is_shared_in_their_seconds_too(tiny):
    found = predictor(tiny).predict([frame(), frame(seed=1)], [DEPTH, NORMAL])
    for prediction in found:
        assert tuple(prediction.seconds) == STAGES
        assert all(seconds >= 0 for seconds in prediction.seconds.values())
        assert prediction.seconds['denoise'] > 0
        assert prediction.seconds['fit'] > 0
    # One encode per frame, shared by its two predictions.
    assert found[0].seconds['encode'] == found[1].seconds['encode'] > 0


def test_results_depend_on_the_seed_and_not_on_global_random_state(tiny):
    torch.manual_seed(1)
    one = predictor(tiny, seed=3).predict([frame()], [DEPTH])[0]
    torch.manual_seed(2)
    again = predictor(tiny, seed=3).predict([frame()], [DEPTH])[0]
    other = predictor(tiny, seed=4).predict([frame()], [DEPTH])[0]
    same(one.label, again.label)
    assert np.abs(one.label.values - other.label.values).max() > 0.01


@pytest.mark.parametrize('size', [(1, 1), (1, 200), (301, 7), (64, 64)])
def test_any_size_and_aspect_gets_a_prediction_of_its_size(tiny, size):
    for prediction in predictor(tiny, num_inference_steps=1, ensemble_size=2).predict(
        [frame(*size)], [DEPTH, NORMAL]
    ):
        assert prediction.label.size == size
        assert prediction.uncertainty.shape == size


def test_an_8k_frame_gets_a_prediction_of_its_size(tiny):
    big = Frame(np.zeros((4320, 7680, 3), np.uint8))
    (found,) = predictor(tiny, num_inference_steps=1).predict([big], [DEPTH])
    assert found.label.size == (4320, 7680)


def test_ensemble_is_the_merge_of_its_seeds(tiny):
    from diception_ros.core.ensembling import merge

    together = predictor(tiny, ensemble_size=3, seed=5).predict([frame()], ALL)
    each = [predictor(tiny, seed=5 + i).predict([frame()], ALL) for i in range(3)]
    for i, prediction in enumerate(together):
        merged, spread = merge([predictions[i].label for predictions in each])
        assert prediction.uncertainty.dtype == np.float32
        if isinstance(merged, Disparity):
            same(prediction.label, merged, atol=1e-3)
            np.testing.assert_allclose(prediction.uncertainty, spread, atol=1e-3)
    assert together[0].uncertainty.max() > 0


# ---- questions with settings of their own -----------------------------------------------------


def asked(prompt, image, **settings):
    chosen = PredictSettings(**{'num_inference_steps': 2, 'guidance_scale': 2.0, **settings})
    return image, prompt, chosen


def infer(one, queries, **more):
    return one.infer(*map(list, zip(*queries, strict=True)), **more)


def test_each_prompt_is_predicted_by_its_own_settings(tiny):
    one, other = frame(), frame(50, 50, 1)
    questions = [
        asked(DEPTH, one, seed=1), asked(DEPTH, other, num_inference_steps=1),
        asked(NORMAL, one, guidance_scale=1),
        asked(DEPTH, one, processing_resolution=32), asked(DEPTH, one, ensemble_size=2, seed=1),
        asked(POINTED, one, seed=1),
        asked(DEPTH, one, num_inference_steps=3, reuse_last_velocity=True),
    ]  # fmt: skip
    # The predictor's own settings have no say.
    own = predictor(tiny, num_inference_steps=5, seed=9, batch_size=1, ensemble_size=3)
    together = infer(own, questions)
    assert [p.prompt for p in together] == [prompt for _, prompt, _ in questions]
    for (image, prompt, chosen), found in zip(questions, together, strict=True):
        alone = Predictor(tiny, chosen).predict([image], [prompt])
        if not isinstance(found.label, Mask):  # one at the threshold may fall to either side
            same(found.label, alone[0].label, atol=1e-4)
        assert (found.uncertainty is None) == (chosen.ensemble_size == 1)


def test_batch_size_one_gives_results_independent_of_other_prompts_bit_for_bit(tiny):
    frames = [frame(), frame(50, 50, 1)]
    company = [asked(prompt, one, batch_size=1) for one in frames for prompt in ALL]
    together = infer(predictor(tiny), [*company, asked(DEPTH, frames[0], num_inference_steps=1)])
    for question, found in zip(company, together, strict=False):
        same(found.label, infer(predictor(tiny), [question])[0].label)


def test_batches_hold_what_is_denoised_alike(tiny, monkeypatch):
    calls, denoise = [], tiny.denoise
    monkeypatch.setattr(
        tiny,
        'denoise',
        lambda image, texts, points, steps, *a, **k: (
            calls.append((steps, len(texts))),
            denoise(image, texts, points, steps, *a, **k),
        )[1],
    )
    shown = frame()
    infer(
        predictor(tiny),
        [asked(DEPTH, shown, num_inference_steps=steps) for steps in (1, 2, 1, 2, 1)],
    )
    assert calls == [(1, 3), (2, 2)]


def test_predictions_at_the_size_of_the_model(tiny):
    image = frame()
    (square,) = infer(predictor(tiny), [asked(DEPTH, image)], at_model_size=True)
    (camera,) = infer(predictor(tiny), [asked(DEPTH, image)])
    assert square.label.size == (64, 64)
    same(square.label.to_image_size(images.ResizeTransform(image.size, 64)), camera.label)
    (small,) = infer(
        predictor(tiny), [asked(DEPTH, image, processing_resolution=32)], at_model_size=True
    )
    assert small.label.size == (32, 32)


def test_a_resolution_that_does_not_suit_is_refused_before_any_work(tiny):
    with pytest.raises(
        ValueError, match='processing_resolution is 60; this model takes multiples of 16'
    ):
        infer(
            predictor(tiny),
            [asked(DEPTH, frame()), asked(DEPTH, frame(), processing_resolution=60)],
        )


def test_checking_runs_no_network(bare, tiny, monkeypatch):
    monkeypatch.setattr(bare.pipe, 'denoise', None)
    bare.check([DEPTH, Prompt('semantic', 'dog'), POINTED], PredictSettings())
    for prompts, settings, message in (
        ([Prompt('semantic', 'dor')], {}, "did you mean '.*dog'"),
        ([Prompt('dept')], {}, "did you mean 'depth'"),
        ([Prompt('semantic')], {}, 'needs a category'),
        ([DEPTH], {'processing_resolution': 20}, 'multiples of 16'),
        ([DEPTH], {'processing_resolution': 1024}, 'up to 512'),
    ):
        with pytest.raises(ValueError, match=message):
            bare.check(prompts, PredictSettings(**settings))
    # With text encoders any category can be asked, and none is encoded for a check.
    monkeypatch.setattr(tiny, 'encode_texts', None)
    predictor(tiny).check([Prompt('semantic', 'a word that nobody knows')], PredictSettings())


# ---- memory -------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_batch_and_goes_on(tiny, monkeypatch):
    calls = []
    denoise = tiny.denoise

    def limited(image_latents, texts, *args, **kwargs):
        calls.append(len(texts))
        if len(texts) > 2:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return denoise(image_latents, texts, *args, **kwargs)

    expected = predictor(tiny).predict([frame(), frame(seed=1)], [DEPTH, NORMAL])
    monkeypatch.setattr(tiny, 'denoise', limited)
    tight = predictor(tiny)
    with pytest.warns(RuntimeWarning, match='continuing with 2') as warned:
        found = tight.predict([frame(), frame(seed=1)], [DEPTH, NORMAL])
    assert calls == [4, 2, 2]
    assert len(warned) == 1
    for one, other in zip(found[::2], expected[::2], strict=True):
        same(one.label, other.label, atol=1e-4)
    calls.clear()
    tight.predict([frame()], [DEPTH, NORMAL])
    assert calls == [2]  # it has adapted to the memory

    monkeypatch.setattr(
        tiny,
        'denoise',
        lambda *a, **k: (_ for _ in ()).throw(torch.OutOfMemoryError('CUDA out of memory')),
    )
    with pytest.raises(RuntimeError, match='use a smaller processing_resolution'):
        predictor(tiny).predict([frame()], [DEPTH])


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('prompt', 'message'),
    [
        (Prompt('dept'), "no task 'dept'; did you mean 'depth'"),
        (Prompt('segmentation'), 'needs 1 to 5 points'),
        (Prompt('semantic'), 'category'),
        (Prompt('depth', 'person'), 'takes no category'),
        (Prompt('normal', points=(Point(1, 1),)), 'takes no points'),
        (Prompt('segmentation', points=(Point(60, 1),)), 'lies outside the frame of 60 x 40'),
    ],
)
def test_wrong_prompts_are_named(tiny, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor(tiny).predict([frame()], [DEPTH, prompt])


def test_missing_embedding_error_names_the_category(bare):
    with pytest.raises(ValueError, match=r"semantic\]\] dor'; did you mean .*dog"):
        bare.predict([frame()], [Prompt('semantic', 'dor')])


def test_a_loaded_model_predicts_as_the_saved_one(tiny_folder, tiny):
    loaded = Predictor.load(tiny_folder, num_inference_steps=2, guidance_scale=1, seed=3)
    assert loaded.pipe.transformer.dtype == torch.float32
    same(
        loaded.predict([frame()], [DEPTH])[0].label,
        predictor(tiny, guidance_scale=1.0, seed=3).predict([frame()], [DEPTH])[0].label,
        atol=1e-5,
    )
    assert Predictor.load(tiny_folder, dtype='bfloat16').pipe.transformer.dtype == torch.bfloat16
    with pytest.raises(TypeError, match='stpes'):
        Predictor.load(tiny_folder, stpes=2)
    with pytest.raises(FileNotFoundError, match='no such model folder'):
        Predictor.load(tiny_folder / 'none')
    with pytest.raises(
        ValueError, match='processing_resolution is 60; this model takes multiples of 16'
    ):
        Predictor.load(tiny_folder, processing_resolution=60)


def test_another_resolution_is_another_prediction_of_the_same_size(tiny):
    coarse, fine = (
        predictor(tiny, processing_resolution=side).predict([frame()], [DEPTH])[0].label
        for side in (32, 64)
    )
    assert coarse.size == fine.size == (40, 60)
    assert np.abs(coarse.values - fine.values).max() > 0.01


def test_a_device_that_is_not_there_is_refused_with_what_to_do():
    assert find_device('cpu').type == 'cpu'
    for name in ('gpu', 'meta', 'cuda:x'):
        with pytest.raises(ValueError, match='expected cpu, cuda or cuda:N'):
            find_device(name)
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not there .* set device to cpu"):
        find_device('cuda:99')
