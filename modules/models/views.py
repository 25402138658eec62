"""One checkpoint seen as one file in LDM's layout, whatever it is made of. No torch.

A folder of diffusers, a file that holds a UNet alone (its text encoders and VAE come from a base checkpoint), names
without LDM's prefixes or in diffusers' spelling, averaged weights: each becomes a `View`, a header in LDM's names that
says for every tensor in which file and under which names it is. Families, loader and adapters know only that header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from modules.errors import ModelFileBroken
from modules.models import companions, folders
from modules.models.family import UNET
from modules.models.header import Header, TensorInfo, read_header
from modules.models.layouts.autoencoder import autoencoder_prefix
from modules.models.layouts.names import BARE_UNET, averaged_name, open_clip_names, unet_names
from modules.models.ldm_config import LdmConfig, resolve_config

AVERAGED = "model_ema.diffusion_model"
VAE = "first_stage_model."
TEXT = ("cond_stage_model.", "conditioner.", "text_encoders.")
BESIDE = (*TEXT, "embedder.", "noise_augmentor.", "depth_model.")
"""What of a base checkpoint serves a UNet of another file, besides the VAE."""

AUTOENCODER = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

_WITHOUT_PREFIX = ("", "diffusion_model.", "unet.")
_TEXT_PREFIXES = {
    "clip": {"text_encoder": "cond_stage_model.transformer."},
    "open_clip": {"text_encoder": "cond_stage_model.model."},
    "both": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "big": {"text_encoder_2": "conditioner.embedders.0.model."},
}

HeaderOf = Callable[[Path], Header]
"""Reads a file's header; the worker's also opens pickles."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a tensor is: one tensor of a file, or several put below each other; `swapped` exchanges its two sides."""

    places: tuple[tuple[Path, str], ...]
    swapped: bool = False


@dataclass(frozen=True)
class View:
    """A checkpoint in LDM's names. `pieces` has an entry for every tensor of `header`."""

    header: Header
    pieces: dict[str, Piece]
    config: LdmConfig = field(default_factory=LdmConfig)
    notes: tuple[str, ...] = ()  # words for the page
    vae_file: str | None = None  # the file that lent a VAE because it was chosen

    @property
    def has_unet(self) -> bool:
        return any(key.startswith(UNET) for key in self.header)

    @property
    def has_text(self) -> bool:
        return any(key.startswith(TEXT) for key in self.header)

    @property
    def has_vae(self) -> bool:
        return autoencoder_prefix(self.header) is not None


def view_checkpoint(
    path: str | Path,
    header_of: HeaderOf = read_header,
    *,
    base: str | Path | None = None,
    vae: str | Path | None = None,
) -> View:
    """The view of a checkpoint: a file or a folder.

    Text encoders and VAE that it lacks are taken from `base`, another checkpoint; a lacking VAE first of all from the
    file `vae`, if that is given. Whether it is whole then is for its family to say. Raises ModelError, OSError.
    """
    path = Path(path)
    view = _view_folder(path, header_of) if folders.is_model_folder(path) else _view_file(path, header_of(path))
    if not view.has_unet:
        return view
    view = _with_companions(view, header_of)
    if not view.has_vae and vae is not None:
        view = _with_vae(view, view_checkpoint(vae, header_of))
    if not (view.has_text and view.has_vae) and base is not None:
        view = _with_base(view, view_checkpoint(base, header_of))
    return view


# Files


def _view_file(path: Path, header: Header) -> View:
    """A single file; its UNet under LDM's names wherever it can be understood."""
    names, notes = _unet_in(header)
    tensors, pieces, origins = {}, {}, {}
    for key, info in header.tensors.items():
        name = names.get(key, key)
        tensors[name] = info
        pieces[name] = Piece(((path, key),))
        if name != key:
            origins[name] = key
    view = Header(path, tensors, header.metadata, header.data_offset, origins)
    return View(view, pieces, resolve_config(header), notes)


def _unet_in(header: Header) -> tuple[dict[str, str], tuple[str, ...]]:
    """LDM's names of a file's UNet where it has others, and what is worth saying about it."""
    if f"{UNET}input_blocks.0.0.weight" in header:
        return {}, ()
    if any(key.startswith(AVERAGED) for key in header):
        names = {key: UNET + averaged_name(key.removeprefix(AVERAGED)) for key in header if key.startswith(AVERAGED)}
        return names, ("the averaged weights (EMA) are used; the file has no others",)
    for prefix in _WITHOUT_PREFIX:
        if f"{prefix}input_blocks.0.0.weight" in header:
            bare = tuple(prefix + start for start in BARE_UNET)
            return {key: UNET + key.removeprefix(prefix) for key in header if key.startswith(bare)}, ()
        if f"{prefix}conv_in.weight" in header and f"{prefix}down_blocks.0.resnets.0.conv1.weight" in header:
            inside = unet_names(header.under(prefix))
            return {prefix + key: UNET + name for key, name in inside.items()}, ()
    return {}, ()


# Folders


def _view_folder(path: Path, header_of: HeaderOf) -> View:
    builder = _Builder(path, header_of)
    kind = folders.text_encoder_kind(path)
    unet = builder.read("unet")
    builder.rename(unet, {key: UNET + name for key, name in unet_names(unet).items()})
    vae = builder.read("vae", needed=False)
    builder.rename(vae, {key: VAE + key for key in vae})
    for part, prefix in _TEXT_PREFIXES[kind].items():
        tower = builder.read(part)
        if prefix.endswith(".transformer."):
            builder.rename(tower, {key: prefix + key for key in tower})
        else:
            builder.join(tower, {prefix + name: keys for name, keys in open_clip_names(tower).items()})
    header = Header(path, builder.tensors, folders.folder_metadata(path), origins=builder.origins)
    return View(header, builder.pieces, folders.folder_config(path))


class _Builder:
    """The tensors of a folder under their new names."""

    def __init__(self, folder: Path, header_of: HeaderOf) -> None:
        self.folder, self._header_of = folder, header_of
        self.tensors: dict[str, TensorInfo] = {}
        self.pieces: dict[str, Piece] = {}
        self.origins: dict[str, str] = {}
        self._files: dict[str, dict[str, Path]] = {}

    def read(self, part: str, *, needed: bool = True) -> Header:
        """All tensors of one network, from as many files as there are; raises ModelFileBroken when it has none."""
        files = folders.weight_files(self.folder, part)
        if not files and needed:
            raise ModelFileBroken(f'{self.folder}: there are no weights in "{part}"; the download may be incomplete')
        tensors: dict[str, TensorInfo] = {}
        where: dict[str, Path] = {}
        for file in files:
            found = self._header_of(file).tensors
            tensors |= found
            where |= dict.fromkeys(found, file)
        header = Header(self.folder / part, tensors)
        self._files[part] = where
        return header

    def rename(self, header: Header, names: dict[str, str]) -> None:
        """Take over tensors of a network, old name → new."""
        self.join(header, {name: (key,) for key, name in names.items()})

    def join(self, header: Header, names: dict[str, tuple[str, ...]]) -> None:
        """Take over tensors of a network, new name → the old ones that make it together."""
        part = header.path.name
        where = self._files[part]
        for name, keys in names.items():
            infos = [header.tensors[key] for key in keys]
            swapped = name.endswith(".text_projection") and keys[0].endswith(".weight")
            shape = infos[0].shape[::-1] if swapped else infos[0].shape
            if len(keys) > 1:
                shape = (sum(info.shape[0] for info in infos), *shape[1:])
            self.tensors[name] = TensorInfo(shape, infos[0].dtype)
            self.pieces[name] = Piece(tuple((where[key], key) for key in keys), swapped)
            self.origins[name] = f"{part}: {keys[0]}"


# What a file lacks, from another


def _with_base(view: View, donor: View) -> View:
    """`view` with the text encoders and the VAE that it lacks from another checkpoint."""
    taken, what, config = {}, [], view.config
    if not view.has_text:
        taken |= {key: key for key in donor.header if key.startswith(BESIDE)}
        config = config.with_surroundings_of(donor.config)
        what.append("text encoder")
    if not view.has_vae:
        taken |= _vae_names(donor.header)
        what.append("VAE")
    return _joined(view, donor, taken, config, note=f"{' and '.join(what)} from {donor.header.path.name}")


def _with_companions(view: View, header_of: HeaderOf) -> View:
    """`view` with the text encoders that lie beside it as files of their own."""
    for prefix, file in companions.missing(view.header):
        donor = _view_file(file, header_of(file))
        taken = {key: prefix + key for key in donor.header}
        view = _joined(view, donor, taken, view.config, note=f"text encoder {file.name}")
    return view


def _with_vae(view: View, donor: View) -> View:
    """`view` with the VAE of a VAE file, or of another checkpoint."""
    config = replace(view.config, autoencoder=donor.config.autoencoder)
    joined = _joined(view, donor, _vae_names(donor.header), config, note=f"VAE from {donor.header.path.name}")
    return replace(joined, vae_file=str(donor.header.path) if joined.has_vae else None)


def _vae_names(header: Header) -> dict[str, str]:
    """LDM's names for the tensors of a file's autoencoder; {} when it has none."""
    prefix = autoencoder_prefix(header)
    if prefix is None:
        return {}
    inside = (key.removeprefix(prefix) for key in header if key.startswith(prefix))
    return {prefix + key: VAE + key for key in inside if key.startswith(AUTOENCODER)}


def _joined(view: View, donor: View, taken: dict[str, str], config: LdmConfig, *, note: str) -> View:
    """`view` and some of a donor's tensors, old name → new; unchanged when there are none."""
    if not taken:
        return view
    header, given = view.header, donor.header
    tensors = {**header.tensors, **{name: given.tensors[key] for key, name in taken.items()}}
    origins = {name: f"{given.path.name}: {given.told(key)}" for key, name in taken.items()}
    whole = Header(header.path, tensors, header.metadata, header.data_offset, {**header.origins, **origins})
    pieces = {**view.pieces, **{name: donor.pieces[key] for key, name in taken.items()}}
    return View(whole, pieces, config, (*view.notes, note))
