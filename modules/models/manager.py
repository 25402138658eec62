"""The one owner of loaded models: loads, keeps several in RAM under a byte budget, moves one to the device.

`with manager.use(ref, vae_ref, options) as model` is how anybody gets a model. A load that fails leaves every model
that was there as it was.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from modules.errors import ModelError
from modules.generation.plan import ModelRef, VaeRef
from modules.models.adapters.patch import Adapter, AdapterReport, applied
from modules.models.approximations import Approximations
from modules.models.device import DeviceChoice, DevicePolicy, choose, has_float8
from modules.models.folders import stamp
from modules.models.loader import Precision, load_checkpoint, load_vae
from modules.models.memory import release_unused
from modules.models.model import Model
from modules.networks.attention import BACKENDS, WIDTHS, choose_backend, head_widths, use_kernel
from modules.settings.stable_diffusion import GenerationOptions

logger = logging.getLogger(__name__)

FileKey = tuple[str, int, int, str]
"""Path, size, mtime, and what about the settings changes the weights themselves."""


@dataclass(frozen=True)
class KeptModel:
    """A line of the memory report."""

    name: str
    bytes: int
    device: str
    in_use: bool
    family: str = ""
    vae: str = ""  # a file used instead of the checkpoint's own
    attention: str = ""
    attention_reasons: tuple[str, ...] = ()  # why this backend, and why not those tried first
    notes: tuple[str, ...] = ()  # what else there is to know: tensors not used, precision changed on the way
    placement: str = ""
    networks: tuple[tuple[str, int, int], ...] = ()  # LoRAs and hypernetworks that act on it now: name, applied, total


class ModelManager:
    """Owns every loaded checkpoint and VAE of this process."""

    def __init__(
        self,
        policy: DevicePolicy | None = None,
        *,
        choice: DeviceChoice | None = None,
        approximations: Approximations | None = None,
    ) -> None:
        self.policy = policy or DevicePolicy()
        self.choice = choice or choose(self.policy)
        if self.choice.device.type in ("cuda", "xpu"):  # for kernels that name no device
            torch.get_device_module(self.choice.device).set_device(self.choice.device)
        self.approximations = approximations or Approximations()
        self.budget_bytes = self.policy.ram_budget_bytes or _half_of_memory()
        self._models: OrderedDict[FileKey, Model] = OrderedDict()  # least recently used first
        self._vaes: OrderedDict[FileKey, AutoencoderKL] = OrderedDict()
        self._in_use: list[FileKey] = []
        self._lock = threading.RLock()

    @contextmanager
    def use(
        self, ref: ModelRef, vae_ref: VaeRef | None = None, options: GenerationOptions | None = None
    ) -> Iterator[Model]:
        """The model of a checkpoint, on the device, with the VAE asked for; loaded if it is not kept.

        Uses may be nested (a refiner within a job): the inner model is moved to the device, the outer one moved back
        in at its end. Raises ModelError and its kinds, FileNotFoundError.
        """
        options = options or GenerationOptions()
        key = _model_key(ref, options)
        model = self._acquire(key, ref, vae_ref, options)
        with self._lock:
            self._in_use.append(key)
        try:
            self._prepare(model, vae_ref)
            yield model
        finally:
            with self._lock:
                self._in_use.remove(key)
                if self._in_use:
                    self._to_device(self._models[self._in_use[-1]])
                self._evict(options.sd_checkpoints_limit + options.sd_checkpoint_cache)

    def adapters(self, model: Model, adapters: Sequence[Adapter]) -> AbstractContextManager[tuple[AdapterReport, ...]]:
        """While open, these LoRAs act on the model; the reports say how much of each applied."""
        return applied(model, adapters)

    def is_loaded(self, ref: ModelRef, options: GenerationOptions | None = None) -> bool:
        """Whether `use` would find the model in memory."""
        return Path(ref.path).exists() and _model_key(ref, options or GenerationOptions()) in self._models

    def device_for(self, part: str) -> torch.device:
        """The device of a part by A1111's name ("esrgan", "gfpgan" …): the CPU where `--use-cpu` names it."""
        return torch.device("cpu") if part in self.policy.use_cpu else self.choice.device

    def unload(self) -> None:
        """Let go of every model that is not in use."""
        self._drop_unused()
        self._vaes.clear()
        release_unused(self.choice.device)

    def _drop_unused(self) -> bool:
        with self._lock:
            unused = [key for key in self._models if key not in self._in_use]
            for key in unused:
                del self._models[key]
        return bool(unused)

    def report(self) -> tuple[KeptModel, ...]:
        """What is in memory, least recently used first."""
        return tuple(
            KeptModel(
                name=model.ref.name,
                bytes=model.weight_bytes(),
                device=str(model.device),
                in_use=key in self._in_use,
                family=model.family,
                vae=model.vae_ref.name if model.vae_ref else "",
                attention=model.attention,
                attention_reasons=model.attention_reasons,
                notes=tuple(model.notes),
                placement=model.placement.description,
                networks=tuple((one.name, one.applied, one.total) for one in model.networks),
            )
            for key, model in tuple(self._models.items())
        )

    def _acquire(self, key: FileKey, ref: ModelRef, vae_ref: VaeRef | None, options: GenerationOptions) -> Model:
        with self._lock:
            if (model := self._models.get(key)) is None:
                choice = self.choice
                precision = Precision(choice.unet_dtype, choice.text_dtype, choice.vae_dtype)
                parts = load_checkpoint(
                    ref.path,
                    precision,
                    base=ref.base,
                    vae=vae_ref.path if vae_ref is not None else None,
                    prediction=ref.prediction,
                    with_t5=options.sd3_enable_t5,
                )
                model = Model(ref, parts, policy=self.policy, options=options)
                if _wants_fp8(options, model.family) and has_float8(choice.device):
                    model.store_in_fp8()
                if self.policy.opt_channelslast:
                    model.use_channels_last()
                model.approximations = self.approximations
                me, it = weakref.ref(self), weakref.ref(model)  # no cycle: a dropped model is gone at once
                model.make_room = lambda: me()._make_room(it())
                self._models[key] = model
            self._models.move_to_end(key)
            model.ref, model.options = ref, options
            return model

    def _choose_attention(self, model: Model) -> None:
        """Give the UNet the attention that settings and flags ask for; what cannot be had is noted once a model."""
        asked, upcast = model.options.cross_attention_optimization, model.options.upcast_attn
        if model.attention_asked == (asked, upcast):
            return
        dtype = torch.float32 if upcast else self.choice.unet_dtype
        widths = head_widths(model.unet) or WIDTHS
        name, tried = choose_backend(asked, self.policy.attention, self.choice.device, dtype, widths)
        for refused in tried[:-1]:
            logger.info("attention %s is not used: %s", refused.name, refused.reason)
        refusals = (f"attention {one.name} is not used: {one.reason}" for one in tried[:-1])
        chosen = f"attention {name}: the first choice for {self.choice.device.type} that passes a small test"
        model.attention_reasons = (*refusals, chosen)
        use_kernel(model.unet, BACKENDS.get(name).make(self.choice.device), upcast=upcast)
        model.attention, model.attention_asked = name, (asked, upcast)

    def _prepare(self, model: Model, vae_ref: VaeRef | None) -> None:
        with self._lock:
            model.begin_job()
            if _wants_fp8(model.options, model.family) and not has_float8(self.choice.device):
                model.say(f"FP8 weights are asked for, which Apple's GPUs do not know: they stay {_word(model.dtype)}")
            if vae_ref is None and model.parts.vae_file is not None:
                raise ModelError(f"{model.ref.path}: has no VAE of its own; choose one, as when it was loaded")
            model.use_vae(model.parts.vae if vae_ref is None else self._vae(vae_ref, model), vae_ref)
            self._choose_attention(model)
            self._to_device(model)

    def _vae(self, ref: VaeRef, model: Model) -> AutoencoderKL:
        if ref.path == model.parts.vae_file:
            return model.parts.vae
        key = _file_key(ref.path)
        if (vae := self._vaes.get(key)) is None:
            vae = load_vae(ref.path, self.choice.vae_dtype)
            if self.policy.opt_channelslast:
                vae.to(memory_format=torch.channels_last)
            self._vaes[key] = vae
        _check_fits(vae, ref, model)
        self._vaes.move_to_end(key)
        while len(self._vaes) > max(2, model.options.sd_vae_checkpoint_cache):
            self._vaes.popitem(last=False)
        return vae

    def _to_device(self, model: Model) -> None:
        """Bring a model to the device; others leave, unless `sd_checkpoints_keep_in_cpu` is off and few are there."""
        if self.choice.has_own_memory:
            options = model.options
            staying = 0 if options.sd_checkpoints_keep_in_cpu else options.sd_checkpoints_limit - 1
            there = [one for one in self._models.values() if one is not model and one.device == self.choice.device]
            for other in there[: len(there) - staying] if staying else there:
                other.leave_device()
        model.enter_device(self.choice.device)

    def _make_room(self, model: Model) -> bool:
        """Let every other model leave the device; whether there were any.

        Where the device has no memory of its own they are dropped, but for those in use.
        """
        with self._lock:
            if not self.choice.has_own_memory:
                made = self._drop_unused()
            else:
                others = [one for one in self._models.values() if one is not model and one.device == model.device]
                for other in others:
                    other.leave_device()
                made = bool(others)
        if made:
            release_unused(self.choice.device)
        return made

    def _evict(self, most: int) -> None:
        """Drop the least recently used models above the budget, or above `most` where that is more than the usual 1.

        Those in use and the latest stay.
        """
        total = sum(model.weight_bytes() for model in self._models.values())
        dropped = 0
        for key in list(self._models)[:-1]:
            if total <= self.budget_bytes and (most <= 1 or len(self._models) <= most):
                break
            if key not in self._in_use:
                total -= self._models.pop(key).weight_bytes()
                dropped += 1
        if dropped:
            release_unused(self.choice.device)


def _check_fits(vae: AutoencoderKL, ref: VaeRef, model: Model) -> None:
    """Raise ModelError for a VAE whose latents are others than the model's, in channels or in size."""
    channels = [each.config.latent_channels for each in (vae, model.parts.vae)]
    factors = [2 ** (len(each.config.block_out_channels) - 1) for each in (vae, model.parts.vae)]
    if channels[0] != channels[1]:
        raise ModelError(
            f"{ref.path}: a VAE of {channels[0]} latent channels, {model.ref.name} needs {channels[1]}; choose another "
            "VAE"
        )
    if factors[0] != factors[1]:
        raise ModelError(
            f"{ref.path}: a VAE that shrinks pictures {factors[0]} times, {model.ref.name} needs {factors[1]}; choose "
            "another VAE"
        )


def _file_key(path: str, changes: str = "") -> FileKey:
    return (str(Path(path).resolve()), *stamp(path), changes)


def _model_key(ref: ModelRef, options: GenerationOptions) -> FileKey:
    t5 = " with T5" if options.sd3_enable_t5 else ""
    lent = _file_key(ref.base) if ref.base is not None else None
    return _file_key(ref.path, f"{options.fp8_storage}{t5} {ref.prediction} {lent}")


def _wants_fp8(options: GenerationOptions, family: str) -> bool:
    return options.fp8_storage == "Enable" or (options.fp8_storage == "Enable for SDXL" and family == "sdxl")


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _half_of_memory() -> int:
    import psutil

    return psutil.virtual_memory().total // 2
