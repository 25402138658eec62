"""What a checkpoint's tensors cannot tell (heads, groups, prediction type), from the file's surroundings.

One `LdmConfig` comes from, in this order: the `<stem>.yaml` beside the file, as A1111 takes it; the safetensors
metadata key `ldm_config`, the same structure as JSON; nothing, which leaves every question to the family's defaults.
Sizes that tensors do tell always come from the tensors; `check` turns a contradiction into an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from modules.errors import ModelFileBroken
from modules.models.header import Header

Params = Mapping[str, Any]


@dataclass(frozen=True)
class LdmConfig:
    """LDM's `model.params` and its parts, as far as given; `source` names where they came from, for messages."""

    source: str | None = None
    params: Params = field(default_factory=dict)  # linear_start, parameterization, scale_factor, image_size …
    unet: Params = field(default_factory=dict)  # unet_config.params
    autoencoder: Params = field(default_factory=dict)  # first_stage_config.params.ddconfig
    text: Params = field(default_factory=dict)  # a transformers-like text config, resolved from version or arch
    text_2: Params = field(default_factory=dict)  # the same for SDXL's second text encoder
    text_is_cut: bool = False  # the text encoder has no layer behind the one whose states are used (diffusers' SD 2)
    text_target: str = ""  # the class in cond_stage_config.target

    @property
    def prediction(self) -> str | None:
        """ "v" or "epsilon" when the configuration says so."""
        stated = self.params.get("parameterization")
        return {"v": "v", "eps": "epsilon"}.get(stated) if stated else None

    def with_surroundings_of(self, base: LdmConfig) -> LdmConfig:
        """This configuration for the UNet and its schedule, and `base`'s for the text encoders and the autoencoder."""
        scale = {"scale_factor": base.params["scale_factor"]} if "scale_factor" in base.params else {}
        return replace(
            self,
            params={**self.params, **scale},
            autoencoder=base.autoencoder,
            text=base.text,
            text_2=base.text_2,
            text_is_cut=base.text_is_cut,
            text_target=base.text_target,
        )

    def check(self, section: str, key: str, actual: object) -> None:
        """Raise ModelFileBroken when the configuration states another value than the tensors show."""
        stated = getattr(self, section).get(key)
        if isinstance(stated, list):
            stated = tuple(stated)
        if stated is not None and stated != actual:
            raise ModelFileBroken(
                f"{self.source}: says {key} is {stated}, the tensors say {actual}; correct that file or take it away"
            )


def resolve_config(header: Header) -> LdmConfig:
    """The configuration of the checkpoint that `header` describes.

    Raises ModelFileBroken when the yaml or the metadata cannot be read, or is no LDM configuration.
    """
    sidecar = header.path.with_suffix(".yaml")
    if sidecar.is_file():
        return _from_tree(_read_yaml(sidecar), str(sidecar), header.path)
    if (stored := header.metadata.get("ldm_config")) is not None:
        source = f'{header.path}, metadata "ldm_config"'
        try:
            return _from_tree(json.loads(stored), source, header.path)
        except ValueError as error:
            raise ModelFileBroken(f"{source}: not valid JSON ({error})") from error
    return LdmConfig()


def _read_yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelFileBroken(f"{path}: cannot be read as YAML ({error}); correct it or take it away") from error


def _from_tree(tree: object, source: str, checkpoint: Path) -> LdmConfig:
    params = _section(tree, source, "model", "params")
    unet = _section(params, source, "unet_config", "params")
    first_stage = _section(params, source, "first_stage_config", "params")
    text_stage = params.get("cond_stage_config") or {}
    text_params = (text_stage.get("params") or {}) if isinstance(text_stage, dict) else {}
    return LdmConfig(
        source=source,
        params=params,
        unet=unet,
        autoencoder=first_stage.get("ddconfig") or {},
        text=_text_config(text_params, checkpoint),
        text_target=str(text_stage.get("target", "")) if isinstance(text_stage, dict) else "",
    )


def _section(tree: object, source: str, *names: str) -> dict[str, Any]:
    for name in names:
        tree = (tree.get(name) if isinstance(tree, dict) else None) or {}
    if not isinstance(tree, dict):
        raise ModelFileBroken(f"{source}: {'.'.join(names)} is not a mapping; this is no LDM configuration")
    return tree


def _text_config(params: Mapping[str, Any], checkpoint: Path) -> Mapping[str, Any]:
    if isinstance(stated := params.get("text_config"), dict):
        return stated
    for key, file in (("version", "{}/config.json"), ("arch", "{}.json")):
        if (name := params.get(key)) and (found := _text_encoder_file(checkpoint, file.format(name))):
            return _as_transformers(json.loads(found.read_text(encoding="utf-8")))
    return {}


def _text_encoder_file(checkpoint: Path, name: str) -> Path | None:
    """`text-encoder/<name>` in a folder above the checkpoint: it stands in for the Hub and for OpenCLIP's list."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        return None
    folders = checkpoint.absolute().parents
    candidates = (folder / "text-encoder" / name for folder in list(folders)[:4])
    return next((path for path in candidates if path.is_file()), None)


def _as_transformers(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenCLIP's `text_cfg` in transformers' words; anything else unchanged."""
    if "text_cfg" not in config:
        return config
    inner = config["text_cfg"]
    names = {
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "layers": "num_hidden_layers",
        "vocab_size": "vocab_size",
        "context_length": "max_position_embeddings",
    }
    return {ours: inner[theirs] for theirs, ours in names.items() if theirs in inner}
