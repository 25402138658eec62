"""From a model file to networks with its weights, by a family's blueprint: strict, and without a second copy.

Networks are made on the meta device (no memory), then every weight is assigned as it comes out of the memory-mapped
file. What needs no conversion stays the file's own pages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, VQModel
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from modules.errors import ModelError, ModelFileBroken, ModelUnsupported
from modules.generation.plan import StatedPrediction
from modules.models.bert import BertTower, build_bert_network
from modules.models.families.ldm import SCHEDULE_BUFFERS
from modules.models.family import UNET, identify
from modules.models.header import Header
from modules.models.layouts.autoencoder import IGNORED, autoencoder_part, autoencoder_prefix
from modules.models.layouts.blueprint import Blueprint, Part, Prediction, Source, TowerPart
from modules.models.ldm_config import resolve_config
from modules.models.passages import T5Tower, build_t5_network, finished_t5
from modules.models.towers import ClipTower, build_text_network
from modules.models.weights import ViewWeights, Weights, open_weights
from modules.networks.mmdit import build_mmdit
from modules.networks.unet import build_unet
from modules.networks.unet2d import build_plain_unet
from modules.prompts.tokenizer import clip_tokenizer
from modules.sampling.prediction import rescale_to_zero_terminal_snr

logger = logging.getLogger(__name__)

GUIDANCE_OF_LCM = f"{UNET}time_embed.cond_proj.weight"
"""LCM's first models are told the guidance scale; nobody feeds it here, and without it they run like their base."""

NETWORKS: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "unet": build_unet,
    "plain-unet": build_plain_unet,
    "mmdit": build_mmdit,
}
"""How each class of denoising network is built (`Part.network`)."""


@dataclass(frozen=True)
class Precision:
    """The types in which the three kinds of networks keep their weights and compute."""

    unet: torch.dtype = torch.float32
    text: torch.dtype = torch.float32
    vae: torch.dtype = torch.float32


@dataclass
class LoadedParts:
    """The networks of one checkpoint, on the CPU, and what is known about them; `notes` are words for the page."""

    blueprint: Blueprint
    unet: UNet2DConditionModel
    vae: AutoencoderKL | VQModel
    towers: tuple[ClipTower | BertTower, ...]
    alphas_cumprod: Tensor
    prediction: Prediction
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    passage_towers: tuple[T5Tower, ...] = ()
    vae_file: str | None = None  # the file that lent `vae`, where it was chosen because the checkpoint has none


def load_checkpoint(
    path: str | Path,
    precision: Precision,
    *,
    base: str | None = None,
    vae: str | None = None,
    prediction: StatedPrediction | None = None,
    with_t5: bool = False,
) -> LoadedParts:
    """Load every network of a checkpoint: a file, or a folder as diffusers saves it.

    What the file lacks beside its UNet comes from the checkpoint `base`, a lacking VAE from the file `vae` if given.
    `prediction` overrules whatever the file says about that. T5, SD 3's third text encoder, takes twice the memory of
    the rest and is loaded only `with_t5`.

    Raises ModelUnsupported for files of no known family and for those that stay incomplete, ModelFileBroken when
    tensors are missing, superfluous inside a network, or of the wrong shape, ModelFileUnsafe for pickles with code.
    """
    with ViewWeights(Path(path), base=base, vae=vae) as weights:
        header = weights.header
        try:
            family, match = identify(header)
            blueprint = family.blueprint(header, weights.view.config, match)
        except ModelError as error:
            if base is None:
                raise
            raise type(error)(f"{error} (what it lacks was taken from {base})") from error
        if prediction is not None:
            blueprint = overruled(blueprint, prediction)
        notes = (*weights.view.notes, *_check_leftovers(header, blueprint))
        build = NETWORKS[blueprint.unet.network]
        unet = _fill(lambda: build(blueprint.unet.config), blueprint.unet, weights, precision.unet)
        vae = _autoencoder(blueprint.autoencoder, weights, precision.vae)
        towers = tuple(_tower(part, weights, precision.text) for part in blueprint.towers if part.network != "t5")
        passages = [part for part in blueprint.towers if part.network == "t5"]
        if passages and not with_t5:
            notes += ("its text encoder T5 is left out; the setting “Use the T5 text encoder of SD3” brings it in",)
        return LoadedParts(
            blueprint=blueprint,
            unet=unet,
            vae=vae,
            towers=towers,
            alphas_cumprod=_alphas_cumprod(blueprint, weights),
            prediction=blueprint.prediction or probe_prediction(unet),
            metadata=header.metadata,
            notes=notes,
            vae_file=weights.view.vae_file,
            passage_towers=tuple(_passage_tower(part, weights, precision.text) for part in passages if with_t5),
        )


def overruled(blueprint: Blueprint, prediction: StatedPrediction) -> Blueprint:
    """The blueprint with what its user says about the network's answer and its noisiest step."""
    return replace(
        blueprint,
        prediction="epsilon" if prediction == "epsilon" else "v",
        zero_terminal_snr=prediction == "v-zero-terminal-snr",
    )


def load_part(build: Callable[[], Any], part: Part, weights: Weights, dtype: torch.dtype) -> Any:
    """One network by itself, with every weight of it; what `build` makes (hence Any), on the CPU.

    Raises as `load_checkpoint`.
    """
    return _fill(build, part, weights, dtype)


def load_vae(path: str | Path, dtype: torch.dtype) -> AutoencoderKL:
    """Load the autoencoder of a VAE file, or the one inside a checkpoint, onto the CPU."""
    with open_weights(path) as weights:
        prefix = autoencoder_prefix(weights.header)
        if prefix is None:
            raise ModelFileBroken(f'{path}: there is no VAE in it (no "decoder.conv_in.weight")')
        groups = resolve_config(weights.header).autoencoder.get("norm_num_groups", 32)
        part = autoencoder_part(weights.header, prefix, groups=groups)
        if not prefix:
            used = {source.key for source in part.sources.values()}
            _refuse_unexpected(
                weights.header, [k for k in weights.header if k not in used and not k.startswith(IGNORED)]
            )
        return _fill(lambda: AutoencoderKL(**part.config), part, weights, dtype)


def probe_prediction(unet: UNet2DConditionModel) -> Prediction:
    """Epsilon or v, told from one run of the network (A1111, section 11.3, step 7).

    At the noisiest step an epsilon network answers about its input; a v network answers the negative of the picture.
    """
    weight = unet.conv_in.weight
    x = torch.full((1, unet.config.in_channels, 8, 8), 0.5, dtype=weight.dtype, device=weight.device)
    context = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        out = unet(x, torch.tensor([999.0], device=weight.device), context).sample
    return "v" if (out - x).float().mean().item() < -1 else "epsilon"


def _tower(part: TowerPart, weights: Weights, dtype: torch.dtype) -> ClipTower | BertTower:
    if part.network == "bert":
        bert = _fill(lambda: build_bert_network(part.config), Part(part.config, part.sources), weights, dtype)
        return BertTower(part.name, bert)
    network = _fill(lambda: build_text_network(dict(part.config)), Part(part.config, part.sources), weights, dtype)
    positions = torch.arange(part.config["max_position_embeddings"]).expand(1, -1)
    network.embeddings.position_ids = positions  # not in the file, and transformers keeps it outside the state
    projection = _read(weights, part.projection, dtype) if part.projection else None
    return ClipTower(
        part.name,
        network,
        pad_id=part.pad_id,
        layer=part.layer,
        final_norm=part.final_norm,
        projection=projection,
        pools=part.pools,
        tokenizer=clip_tokenizer() if part.tokenizer == "clip_l" else None,
    )


def _autoencoder(part: Part, weights: Weights, dtype: torch.dtype) -> AutoencoderKL | VQModel:
    if part.network == "vq":  # distances to the codebook are not computed in half precision
        return _fill(lambda: VQModel(**part.config), part, weights, torch.float32)
    return _fill(lambda: AutoencoderKL(**part.config), part, weights, dtype)


def _passage_tower(part: TowerPart, weights: Weights, dtype: torch.dtype) -> T5Tower:
    network = _fill(lambda: build_t5_network(part.config), Part(part.config, part.sources), weights, dtype)
    return T5Tower(part.name, finished_t5(network))


def _fill(build: Callable[[], Any], part: Part, weights: Weights, dtype: torch.dtype) -> Any:
    # Any: the three network classes have no useful common base
    try:
        with torch.device("meta"), _NoInitialValues():
            network: nn.Module = build()
    except ValueError as error:  # what tensors do not tell was taken as usual, and does not fit
        raise ModelUnsupported(
            f"{weights.header.path}: no network can be built from its sizes ({error}); if it is an unusual model, put "
            "its .yaml beside it under the same name, with num_heads and norm_num_groups"
        ) from error
    wanted = {name.removeprefix("text_model."): (name, tensor) for name, tensor in network.state_dict().items()}
    missing = [name for name in wanted if name not in part.sources]
    header = weights.header
    if missing:
        raise ModelFileBroken(
            f"{header.path}: {len(missing)} tensors are missing, first {_in_file(missing[0], part, header)}; "
            "the download may be incomplete"
        )
    _refuse_unexpected(header, [source.key for name, source in part.sources.items() if name not in wanted])
    state = {}
    for name, (full_name, expected) in wanted.items():
        source = part.sources[name]
        tensor = _read(weights, source, dtype)
        if tensor.shape != expected.shape:
            raise ModelFileBroken(
                f'{header.path}: tensor "{header.told(source.key)}" has the shape {list(tensor.shape)}, '
                f"its network needs {list(expected.shape)}"
            )
        state[full_name] = tensor
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()


class _NoInitialValues(TorchFunctionMode):
    """While open, `torch.nn.init` does nothing: every weight comes from a file, and drawing numbers takes longer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _read(weights: Weights, source: Source, dtype: torch.dtype) -> Tensor:
    tensor = weights.converted(source.key, dtype)
    if source.third is not None:
        heads = tensor.unflatten(0, (source.heads, -1))
        tensor = heads.chunk(3, dim=1)[source.third].flatten(0, 1)
    if source.squeezed:
        tensor = tensor.flatten(1) if tensor.ndim > 1 else tensor
    if source.swapped:
        tensor = torch.cat(tensor.chunk(2)[::-1])
    return tensor.t() if source.transposed else tensor


def _in_file(name: str, part: Part, header: Header) -> str:
    """A missing weight under the name its neighbour suggests it has in the file, else under the network's own."""
    module, _, leaf = name.rpartition(".")
    neighbour = next((key for ours, key in part.sources.items() if ours.startswith(module + ".")), None)
    if neighbour is not None:
        return f'"{header.told(neighbour.key).rpartition(".")[0]}.{leaf}"'
    return f'"{name}" (in diffusers\' naming)'


def _check_leftovers(header: Header, blueprint: Blueprint) -> tuple[str, ...]:
    """Refuse tensors inside a network that nothing uses; note those outside."""
    used = {
        source.key
        for part in (blueprint.unet, blueprint.autoencoder, *blueprint.towers)
        for source in part.sources.values()
    }
    used |= {tower.projection.key for tower in blueprint.towers if tower.projection}
    left = [
        key
        for key in header
        if key not in used
        and key not in SCHEDULE_BUFFERS
        and not key.startswith(blueprint.ignored)
        and not key.endswith(("position_ids", ".num_batches_tracked"))
    ]
    inside = tuple({key.split(".")[0] + "." for key in used})
    inner = [key for key in left if key.startswith((UNET, "first_stage_model.")) and key != GUIDANCE_OF_LCM]
    _refuse_unexpected(header, inner)
    outside = [key for key in left if not key.startswith(inside)]
    if left == [GUIDANCE_OF_LCM]:
        return ("its embedding of the guidance scale (LCM) is not used, as in A1111",)
    if not left:
        return ()
    named = ", ".join(f'"{header.told(key)}"' for key in (outside or left)[:3])
    logger.info("%s: %d tensors are not used, first %s", header.path, len(left), named)
    return (f"{len(left)} tensors in the file are not used, first {named}",)


def _refuse_unexpected(header: Header, keys: list[str]) -> None:
    if keys:
        raise ModelFileBroken(
            f'{header.path}: {len(keys)} tensors do not belong into such a network, first "{header.told(keys[0])}"; '
            "it is a variant that is not supported, or damaged"
        )


def _alphas_cumprod(blueprint: Blueprint, weights: Weights) -> Tensor:
    """The file's own table where it has one (A1111 uses it too), else LDM's "linear" schedule of its betas' roots.

    Models that say they were trained down to no signal at all (the marker "ztsnr") have it rescaled to that.
    """
    if blueprint.stored_alphas and weights.header.shape(blueprint.stored_alphas) == (blueprint.timesteps,):
        alphas = weights.tensor(blueprint.stored_alphas).float().clone()
    else:
        roots = torch.linspace(
            blueprint.linear_start**0.5, blueprint.linear_end**0.5, blueprint.timesteps, dtype=torch.float64
        )
        alphas = torch.cumprod(1 - roots**2, dim=0).float()
    return rescale_to_zero_terminal_snr(alphas) if blueprint.zero_terminal_snr else alphas
