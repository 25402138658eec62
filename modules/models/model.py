"""A loaded Stable Diffusion checkpoint: the networks of `loader` behind the face of `loaded.LoadedModel`."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from modules.errors import NotANumber
from modules.generation.plan import ModelRef, VaeRef
from modules.models.approximations import Approximations
from modules.models.bert import BertTower
from modules.models.depth import DepthEstimator, load_depth_estimator
from modules.models.device import DevicePolicy, has_bfloat16
from modules.models.ladder import LOADING_RUNGS, NETWORK_RUNGS, TILE_SHARE, VAE_RUNGS, Ladder, Means, Run, tile_for
from modules.models.layouts.blueprint import Prediction, Variant
from modules.models.loaded import Conditioning
from modules.models.loader import LoadedParts
from modules.models.memory import free_bytes, in_words
from modules.models.passages import T5Tower
from modules.models.placement import AllOnDevice, PieceByPiece, placement_for
from modules.models.towers import ClipTower
from modules.models.vision import ImageEncoder, load_image_encoder
from modules.networks.attention import sliced_attention
from modules.networks.tiles import in_tiles
from modules.networks.tiling import wrap_around
from modules.settings.stable_diffusion import GenerationOptions

logger = logging.getLogger(__name__)

FEATURE_MAPS = 10
"""How many feature maps of the first width at full size the VAE has in memory at once, about."""

MOST_CELLS_ON_MPS = 2**15
"""Of latents that the VAE decodes at once (1448 x 1448 pixels): its attention may not take more than 4 GB of scores
there, which would end the process (pytorch/pytorch#149261)."""

Spread = Callable[[Callable[[Tensor], Tensor], Tensor, int], Tensor]
"""Runs a network over a tensor, whole or in tiles that begin at multiples of a number of pixels."""

VaeRun = Callable[[AutoencoderKL, Spread], Tensor]


class NetworkReport(Protocol):
    """A LoRA or hypernetwork by name, and how many of its modules (or widths of context) the model has."""

    @property
    def name(self) -> str: ...
    @property
    def applied(self) -> int: ...
    @property
    def total(self) -> int: ...


class Model:
    """A checkpoint ready to run; see `modules.models.loaded.LoadedModel` for what each member promises."""

    def __init__(self, ref: ModelRef, parts: LoadedParts, *, policy: DevicePolicy, options: GenerationOptions) -> None:
        self.ref = ref
        self.vae_ref: VaeRef | None = None
        self.options = options
        self.parts = parts
        self.unet = parts.unet
        self.vae: AutoencoderKL = parts.vae
        self.towers: tuple[ClipTower | BertTower, ...] = parts.towers
        self.passage_towers: tuple[T5Tower, ...] = parts.passage_towers
        self.family: str = parts.blueprint.family
        self.variant: Variant = parts.blueprint.variant
        self.prediction: Prediction = parts.prediction
        self.alphas_cumprod = parts.alphas_cumprod
        self.latent_channels: int = parts.blueprint.latent_channels
        self.in_channels: int = parts.unet.config.in_channels
        self.native_size: int = parts.blueprint.native_size
        self.scale_factor: float = parts.blueprint.scale_factor
        self.shift_factor: float = parts.blueprint.shift_factor
        self.flow_shift: float = parts.blueprint.flow_shift
        self.metadata = parts.metadata
        self.notes: list[str] = list(parts.notes)  # what holds for as long as the model is loaded
        self.networks: tuple[NetworkReport, ...] = ()  # those that act on it now
        self.news: list[str] = []  # what has been said since somebody last took it
        self.approximations = Approximations()  # the manager's
        self.make_room: Callable[[], bool] = lambda: False  # the manager lets other models leave the device
        self.attention = "sdp"  # diffusers' own; the manager chooses
        self.attention_asked: tuple[str, bool] | None = None
        self.attention_reasons: tuple[str, ...] = ()  # why this backend, and why not those tried first
        self.device = torch.device("cpu")
        self.dtype: torch.dtype = next(parts.unet.parameters()).dtype
        self.checks_numbers = not policy.disable_nan_check
        networks = [parts.unet, parts.vae, *(tower.network for tower in self.all_towers)]
        self.placement = placement_for(policy, self.family, networks, parts.unet)
        me = weakref.ref(self)  # whoever drops a model gets its memory back at once: nothing in it may hold it
        for tower in self.all_towers:
            tower.before_run = lambda network: me()._bring(network)
        self._depth: DepthEstimator | None = None  # both are loaded when they are first needed
        self._pictures: ImageEncoder | None = None
        self.loading_ladder = Ladder(LOADING_RUNGS)
        self.network_ladder = Ladder(NETWORK_RUNGS)
        self.vae_ladder = Ladder(VAE_RUNGS)

    @torch.no_grad()
    def predict(self, x: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's answer for x (B, C, h, w) at timesteps (B,), fractional ones too, in x's type.

        Short of memory it is computed with less at a time (`ladder`), with the same result but for rounding.
        """

        def attempt(means: Means) -> Tensor:
            self.placement.enter(self.unet)
            count = means.rows or len(x)
            with sliced_attention(self.unet) if means.sliced else nullcontext():
                return torch.cat(
                    [
                        self._network(
                            x[start : start + count], timestep[start : start + count], conditioning.rows(start, count)
                        )
                        for start in range(0, len(x), count)
                    ]
                )

        size = len(x) * x.shape[-2] * x.shape[-1]
        return self.network_ladder.run(self, attempt, Run("a step", rows=len(x), size=size))

    def _network(self, x: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        dtype, device = self.dtype, self.device
        sample = x.to(device, dtype)
        if conditioning.concat is not None:
            sample = torch.cat([sample, conditioning.concat.to(device, dtype)], dim=1)
        context = conditioning.crossattn.to(device, dtype)
        timestep = timestep.to(device, torch.float32)
        answer = self.unet(sample, timestep, context, return_dict=False, **self._vector(conditioning, device, dtype))[0]
        return answer.to(x.dtype)

    @torch.no_grad()
    def encode(self, pixels: Tensor, *, sample: bool = True) -> Tensor:
        """Latents (B, C, H/8, W/8), scaled, float32, of pixels (B, 3, H, W) in -1…1; `sample=False` takes the mean."""

        def run(vae: AutoencoderKL, spread: Spread) -> Tensor:
            dtype = vae.encoder.conv_in.weight.dtype
            moments = spread(
                lambda part: vae.encode(part).latent_dist.parameters.float(),
                pixels.to(self.device, dtype),
                self.vae_factor,
            )
            posterior = DiagonalGaussianDistribution(moments)
            return posterior.sample() if sample else posterior.mean

        encoded = self._run_vae(run, "encoding the picture", size=tuple(pixels.shape[-2:]))
        return (encoded - self.shift_factor) * self.scale_factor

    @torch.no_grad()
    def encode_source(self, pixels: Tensor) -> Tensor:
        """As `encode` without sampling, or by TAESD's encoder where `sd_vae_encode_method` says so.

        Raises ModelUnsupported when its file is not there.
        """
        if self.options.sd_vae_encode_method != "TAESD":
            return self.encode(pixels, sample=False)
        pixels = pixels.to(self.device, self.dtype)
        return self.approximations.needed_taesd(self.family, "encoder", pixels)(pixels).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, 8h, 8w) around -1…1, float32, of scaled latents.

        One picture at a time: the result does not depend on the batch, and memory stays small (A1111 does the same).
        By TAESD's decoder where `sd_vae_decode_method` says so; raises ModelUnsupported when its file is not there.
        """
        if self.options.sd_vae_decode_method == "TAESD":
            latents = latents.to(self.device, self.dtype)
            decoder = self.approximations.needed_taesd(self.family, "decoder", latents)
            return torch.cat([decoder(one[None]) for one in latents]).float()
        unscaled = latents.to(self.device, torch.float32) / self.scale_factor + self.shift_factor

        def run(vae: AutoencoderKL, spread: Spread) -> Tensor:
            dtype = vae.decoder.conv_in.weight.dtype
            decode = lambda part: vae.decode(part, return_dict=False)[0].float()  # noqa: E731 - one expression
            return torch.cat([spread(decode, one[None].to(dtype), 1) for one in unscaled])

        height, width = (length * self.vae_factor for length in latents.shape[-2:])
        return self._run_vae(run, "decoding the latents", size=(height, width))

    @contextmanager
    def tiled(self) -> Iterator[None]:
        """While open, every convolution of UNet and VAE wraps around at the edges."""
        with wrap_around(self.unet), wrap_around(self.vae):
            yield

    @contextmanager
    def networks_noted(self, reports: Sequence[NetworkReport]) -> Iterator[None]:
        """While open, these networks are among those that are said to act on the model."""
        before, self.networks = self.networks, (*self.networks, *reports)
        try:
            yield
        finally:
            self.networks = before

    @property
    def vae_factor(self) -> int:
        """How many pixels a latent is wide."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def all_towers(self) -> tuple[ClipTower | BertTower | T5Tower, ...]:
        """Every text encoder, of whatever kind."""
        return (*self.towers, *self.passage_towers)

    @property
    def context_width(self) -> int:
        """How many numbers the network is told of each token."""
        config = self.unet.config
        return config.get("joint_attention_dim") or config["cross_attention_dim"]

    def weight_bytes(self) -> int:
        """What the networks take in memory."""
        helpers = (helper.network for helper in (self._depth, self._pictures) if helper is not None)
        modules = (self.unet, self.parts.vae, *(tower.network for tower in self.all_towers), *helpers)
        return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())

    def use_vae(self, vae: AutoencoderKL, ref: VaeRef | None) -> None:
        """Decode and encode with this VAE from now on; one of another file that was used before leaves the device."""
        if self.vae is not vae and self.vae is not self.parts.vae:
            self.placement.remove(self.vae)
        self.vae, self.vae_ref = vae, ref
        self.placement.add(vae)

    def enter_device(self, device: torch.device) -> None:
        """Become the model in use on `device`; one that is larger than its memory goes there network by network."""
        self.device = device
        self._move("moving the model to the device", lambda: self.placement.load(device))

    def _bring(self, network: nn.Module) -> None:
        """A text encoder is about to run."""
        self._move("moving a text encoder to the device", lambda: self.placement.enter(network))

    def _move(self, doing: str, move: Callable[[], None]) -> None:
        advice = "choose a smaller model, or close other programs"
        self.loading_ladder.run(self, lambda means: move(), Run(doing, rows=1, size=0, advice=advice))

    def leave_device(self) -> None:
        """Give way to another model: everything goes to main memory."""
        self.placement.unload()
        self.device = torch.device("cpu")

    def place(self, kind: type[AllOnDevice]) -> None:
        """Keep the networks elsewhere from now on: what the ladder does when memory runs out."""
        networks = self.placement.networks
        self.placement.unload()
        self.placement = kind(networks, self.unet) if issubclass(kind, PieceByPiece) else kind(networks)
        self.placement.load(self.device)

    def say(self, message: str) -> None:
        """Something about this model's run that the person should know; the engine passes it on."""
        logger.warning("%s: %s", self.ref.name, message)
        self.news.append(message)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether its networks are moved in and out of the device."""
        return type(self.placement) is not AllOnDevice

    def take_news(self) -> tuple[str, ...]:
        """What was said since this was last asked."""
        news, self.news = tuple(self.news), []
        return news

    def begin_job(self) -> None:
        """Whatever is said from here on is said to somebody new."""
        self.news = []
        self.loading_ladder.begin_job()
        self.network_ladder.begin_job()
        self.vae_ladder.begin_job()

    def depth_of(self, pixels: Tensor, places: Sequence[Path]) -> Tensor:
        """See `LoadedModel.depth_of`."""
        if self._depth is None:
            self._depth = load_depth_estimator(self.ref.path, places, base=self.ref.base)
        return self._depth.estimate(pixels, self.device)

    def embed_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `LoadedModel.embed_pictures`."""
        if self._pictures is None:
            self._pictures = load_image_encoder(self.ref.path, self.dtype, base=self.ref.base)
        return self._pictures.encode(pixels, self.device), self._pictures.mean, self._pictures.std

    def use_channels_last(self) -> None:
        """Keep the convolutions' weights with channels innermost (--opt-channelslast): quicker on some devices."""
        self.unet.to(memory_format=torch.channels_last)
        self.vae.to(memory_format=torch.channels_last)

    def store_in_fp8(self) -> None:
        """Keep the UNet's convolutions and linear layers as 8-bit floats, widened layer by layer when they run."""
        self.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=self.dtype)

    def _vector(self, conditioning: Conditioning, device: torch.device, dtype: torch.dtype) -> dict[str, object]:
        """The vector beside the text: zeros where the network wants the embedding of a picture and there is none."""
        width = self.unet.config.get("projection_class_embeddings_input_dim")
        if conditioning.vector is None and width is None:
            return {}
        if conditioning.vector is None:
            return {"class_labels": torch.zeros(len(conditioning.crossattn), width, device=device, dtype=dtype)}
        if self.unet.config.get("num_class_embeds"):  # classes by number: the x4 upscaler's levels of noise
            return {"class_labels": conditioning.vector.to(device, torch.long)}
        return {"class_labels": conditioning.vector.to(device, dtype)}

    def _run_vae(self, run: VaeRun, doing: str, *, size: tuple[int, int]) -> Tensor:
        """Run the VAE for pictures of (height, width) pixels; in tiles when memory runs out, in more precision on NaN.

        The precision that worked is kept.
        """
        result = self._in_memory(run, doing, size)
        if not self.checks_numbers or _is_finite(result):
            return result
        stored = self.vae.decoder.conv_in.weight.dtype
        ladder = [torch.bfloat16] if self.options.auto_vae_precision_bfloat16 and has_bfloat16(self.device) else []
        ladder += [torch.float32] if self.options.auto_vae_precision else []
        for dtype in ladder:
            if dtype == stored or stored == torch.float32:
                continue
            logger.warning("%s: %s gave NaN in %s; trying %s", self.ref.name, doing, _word(stored), _word(dtype))
            self.vae.to(dtype)
            result = self._in_memory(run, doing, size)
            if _is_finite(result):
                note = f"the VAE gave NaN in {_word(stored)} and runs in {_word(dtype)} now"
                self.notes.append(note)
                self.say(note)
                return result
        raise NotANumber(
            f"{doing} with the VAE of {self.ref.name} gave NaN in {_word(self.vae.decoder.conv_in.weight.dtype)}; "
            + ("choose another VAE" if stored == torch.float32 else "choose another VAE, or start with --no-half-vae")
        )

    def _in_memory(self, run: VaeRun, doing: str, size: tuple[int, int]) -> Tensor:
        """Run the VAE whole, or in overlapping tiles if the device has too little memory for that.

        Where memory is the system's, what is free is looked at first: taking too much ends the program (CPU), or the
        system begins to swap (MPS).
        """

        def attempt(means: Means) -> Tensor:
            self.placement.enter(self.vae)
            tile = means.tile or enough
            return run(self.vae, _whole if tile is None else self._tiled_by(tile))

        cells = size[0] * size[1] // self.vae_factor**2
        wanted = Run(doing, rows=1, size=cells, side=max(size), bytes_for=self._vae_bytes)
        enough: int | None = None
        if self.device.type == "mps" and cells > MOST_CELLS_ON_MPS:
            enough = tile_for(wanted, free_bytes(self.device))
        elif self.device.type in ("cpu", "mps"):
            needed, free = self._vae_bytes((size[0] * size[1]) ** 0.5), free_bytes(self.device)
            enough = tile_for(wanted, free) if needed > free * TILE_SHARE else None
            if enough is not None:
                self.say(
                    f"{doing} was done in tiles of {enough} pixels: at once it takes about {in_words(int(needed))}, "
                    f"{in_words(free)} are free"
                )
        return self.vae_ladder.run(self, attempt, wanted)

    def _vae_bytes(self, side: float) -> float:
        """About what the VAE takes for a picture of side × side pixels, its weights aside."""
        first = self.vae.config.block_out_channels[0]
        return side * side * first * FEATURE_MAPS * self.vae.decoder.conv_in.weight.element_size()

    def _tiled_by(self, side: int) -> Spread:
        def spread(run: Callable[[Tensor], Tensor], x: Tensor, step: int) -> Tensor:
            tile = side if step > 1 else side // self.vae_factor
            return in_tiles(run, x, tile=tile, overlap=tile // 4 // step * step, step=step)

        return spread


def _whole(run: Callable[[Tensor], Tensor], x: Tensor, step: int) -> Tensor:
    return run(x)


def _is_finite(result: Tensor) -> bool:
    return bool(torch.isfinite(result).all())


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
