# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The components of a pipeline: networks, their folder, and the device they run on."""

from collections.abc import Iterable
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.loaders import SD3LoraLoaderMixin
from packaging.version import Version
import torch
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPTokenizerFast,
    T5EncoderModel,
    T5Tokenizer,
    T5TokenizerFast,
)

from diception_ros.model.component_configs import CELL
from diception_ros.model.encoder import EfficientNetLite
from diception_ros.model.folder import (
    apply_silence,
    check_folder,
    hidden_progress_bars,
    naming_folder,
    resolve,
    strip_origin,
)
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.text_embeddings import TABLE_FILE, PromptTable
from diception_ros.model.transformer import DiceptionTransformer2DModel

# No postponed annotations here: diffusers reads the components' classes off __init__.


if TYPE_CHECKING:
    from typing_extensions import Self

# The old name of from_pretrained's precision is deprecated, the new one unknown to older releases.
_DTYPE = 'dtype' if Version(diffusers.__version__) >= Version('0.40') else 'torch_dtype'


class Components(DiffusionPipeline, SD3LoraLoaderMixin):
    """The components of DICEPTION under the names of SD3; `pipeline.DiceptionPipeline` runs them.

    Args:
        vae: AutoencoderKL of SD3, or PcaAutoencoder.
        transformer: DiceptionTransformer2DModel.
        point_encoder: DiceptionPointEncoder.
        scheduler: FlowMatchEulerDiscreteScheduler of SD3.
        text_encoder: SD3's CLIP-L, or None: then only the texts of `prompt_table` can be used.
            CLIP-G is `text_encoder_2`, T5 `text_encoder_3`.
        tokenizer: of CLIP-L, or None; the others likewise.
        image_encoder: EfficientNetLite whose features the transformer reads, or None.
        resolution: S, side in pixels of the square images that the model was made for.
        shifts: default of tta_shifts, see `cycle_spinning`; above 1 for a model in whose output
            images the token grid is visible.
    """

    model_cpu_offload_seq = (
        'text_encoder->text_encoder_2->text_encoder_3->point_encoder->image_encoder'
        '->transformer->vae'
    )
    _optional_components = [  # noqa: RUF012 (diffusers' name and type)
        'image_encoder',
        'text_encoder',
        'text_encoder_2',
        'text_encoder_3',
        'tokenizer',
        'tokenizer_2',
        'tokenizer_3',
    ]

    def __init__(
        self,
        vae: AutoencoderKL | PcaAutoencoder,
        transformer: DiceptionTransformer2DModel,
        point_encoder: DiceptionPointEncoder,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text_encoder: CLIPTextModelWithProjection | None = None,
        text_encoder_2: CLIPTextModelWithProjection | None = None,
        text_encoder_3: T5EncoderModel | None = None,
        tokenizer: CLIPTokenizer | CLIPTokenizerFast | None = None,
        tokenizer_2: CLIPTokenizer | CLIPTokenizerFast | None = None,
        tokenizer_3: T5Tokenizer | T5TokenizerFast | None = None,
        image_encoder: EfficientNetLite | None = None,
        resolution: int = 768,
        shifts: int = 1,
    ) -> None:
        super().__init__()
        expected = getattr(transformer, 'config', {}).get('feature_channels', 0)
        given = image_encoder.config.features if image_encoder is not None else 0
        if expected != given:
            raise ValueError(
                f'the transformer reads {expected} features of an image encoder, got {given}; '
                'copy the model folder again, with its image_encoder'
            )
        self.register_modules(
            vae=vae,
            transformer=transformer,
            point_encoder=point_encoder,
            scheduler=scheduler,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            text_encoder_3=text_encoder_3,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            tokenizer_3=tokenizer_3,
            image_encoder=image_encoder,
        )
        if image_encoder is not None:
            # A CPU convolves twice as fast in this order (13 ms against 28 on two cores).
            image_encoder.to(memory_format=torch.channels_last)
        self.register_to_config(resolution=resolution, shifts=shifts)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.prompt_table = PromptTable()

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> 'Self':
        """Load a model folder that `save_pretrained` or `diception convert` wrote.

        Args:
            folder: a local folder, or 'builtin'. Nothing is downloaded.
            dtype: precision of all networks; None keeps that of each file.
            **kwargs: of diffusers' `from_pretrained`.

        Raises:
            FileNotFoundError: the folder does not exist, or is no model folder.
            ValueError: it is of another pipeline, names other classes, has a wrong value in its
                configuration, or its weights do not fit.
        """
        folder = resolve(folder)
        check_folder(folder)
        apply_silence()
        if dtype is not None:
            kwargs[_DTYPE] = dtype
        with naming_folder(folder), hidden_progress_bars():
            pipe = super().from_pretrained(str(folder), use_safetensors=True, **kwargs)
        if (folder / TABLE_FILE).is_file():
            pipe.prompt_table = PromptTable.load(folder / TABLE_FILE)
        return pipe

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Write weights, configuration and prompt table; `from_pretrained` reads them back."""
        super().save_pretrained(str(folder), **kwargs)
        strip_origin(Path(folder))
        if len(self.prompt_table):
            self.prompt_table.save(Path(folder) / TABLE_FILE)

    @property
    def device(self) -> torch.device:
        """Device of the networks.

        Diffusers looks for hooks of group offloading in every module of every network, twice per
        call, twenty calls per image: an eighth of the built-in model's time.
        """
        return _shared_device(self._networks()) or super().device

    @property
    def _execution_device(self) -> torch.device:
        """Device the networks run on; it differs from `device` with offloaded weights."""
        return _shared_device(self._networks()) or super()._execution_device

    @property
    def token(self) -> int:
        """Width of a token, pixels."""
        width: int = self.vae_scale_factor * self.transformer.config.patch_size
        return width

    @property
    def input_scale(self) -> int:
        """Side of the pipeline's input image divided by the side of its output."""
        return 1 if self.image_encoder is None else CELL // self.vae_scale_factor

    @property
    def latent_channels(self) -> int:
        """C, channels of the latents, without an image encoder's features."""
        channels: int = self.transformer.config.in_channels
        return channels

    def _networks(self) -> list[torch.nn.Module]:
        encoders = (self.text_encoder, self.text_encoder_2, self.text_encoder_3)
        found = (self.vae, self.transformer, self.point_encoder, self.image_encoder, *encoders)
        return [item for item in found if isinstance(item, torch.nn.Module)]


def _shared_device(networks: Iterable[torch.nn.Module]) -> torch.device | None:
    """The device that networks share; None if there are several, or weights are offloaded.

    Diffusers and accelerate attach a hook to modules whose weights they offload.
    """
    found = set()
    for network in networks:
        waiting = [network]
        # A loop, because the nested generators of `modules` take longer than all the rest.
        while waiting:
            module = waiting.pop()
            about = module.__dict__
            if '_diffusers_hook' in about or '_hf_hook' in about:
                return None
            waiting += [item for item in about['_modules'].values() if item is not None]
        first = next(itertools.chain(network.parameters(), network.buffers()), None)
        found.add(None if first is None else first.device)
    return found.pop() if len(found) == 1 else None
