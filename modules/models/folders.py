"""Folders as diffusers saves them: a `model_index.json`, and a folder for each network. No torch.

Which of the weight files in them are used, what their small JSON files say in LDM's words, and what identifies such a
folder as though it were one file. Folders of the Hub's cache are the same with links in place of files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.ldm_config import LdmConfig

INDEX = "model_index.json"

TEXT_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")

_STEM = r"(?:diffusion_pytorch_model|pytorch_model|model)"
_WEIGHTS = re.compile(_STEM + r"(?:\.(?P<variant>\w+))?\.(?P<kind>safetensors|bin)")
_SHARDS = re.compile(_STEM + r"(?:\.(?P<before>\w+))?\.(?P<kind>safetensors|bin)\.index(?:\.(?P<after>\w+))?\.json")
_CACHED = re.compile(r"(?:^|(?<=/))models--(.+?)/snapshots/([^/]+)$")


@dataclass(frozen=True)
class Candidate:
    """Files that together are the weights of one network; `variant` is "fp16" …, "" for the plain ones."""

    files: tuple[Path, ...]
    variant: str
    is_pickle: bool

    @property
    def missing(self) -> tuple[Path, ...]:
        return tuple(file for file in self.files if not file.is_file())

    @property
    def rank(self) -> tuple[object, ...]:
        """What is taken first: complete, no pickle, the plain variant, then fp16 and bf16, one file before shards."""
        order = {"": 0, "fp16": 1, "bf16": 2}.get(self.variant, 3)
        return bool(self.missing), self.is_pickle, order, self.variant, len(self.files)


def is_model_folder(path: str | Path) -> bool:
    """Whether diffusers would take this folder for a pipeline."""
    return os.path.isfile(os.path.join(path, INDEX))


def weight_files(folder: Path, part: str) -> tuple[Path, ...]:
    """The weights of one network of a folder, () when it has no such network.

    Raises ModelFileBroken when none of the sets of files that are there is complete.
    """
    candidates = sorted(_candidates(folder / part), key=lambda candidate: candidate.rank)
    if not candidates:
        return ()
    if missing := candidates[0].missing:
        raise ModelFileBroken(f'{folder}: the file "{part}/{missing[0].name}" is missing; the download is incomplete')
    return candidates[0].files


def stamp(path: str | Path) -> tuple[int, int]:
    """(size, mtime in ns) that tell whether a model changed: a file's own; for a folder those of all its weights.

    What is broken in a folder counts for nothing here; it is told when it is read. Raises OSError when there is no such
    file.
    """
    stat = os.stat(path)
    if not is_model_folder(path):
        return stat.st_size, stat.st_mtime_ns
    size, newest = 0, 0
    for part in sorted(entry.name for entry in os.scandir(path) if entry.is_dir()):
        try:
            files = {file for candidate in _candidates(Path(path) / part) for file in candidate.files}
        except ModelFileBroken:
            files = set()
        for stat in (file.stat() for file in files if file.is_file()):
            size, newest = size + stat.st_size, max(newest, stat.st_mtime_ns)
        for file in (Path(path) / part).glob("*config.json"):
            newest = max(newest, file.stat().st_mtime_ns)
    return size, newest


def hashed_files(path: str | Path) -> tuple[Path, ...]:
    """The files whose bytes a model's hash is made of: the file itself; of a folder the weights of its UNet.

    Raises FileNotFoundError for a folder without them.
    """
    path = Path(path)
    if not is_model_folder(path):
        return (path,)
    try:
        files = weight_files(path, "unet")
    except ModelFileBroken as error:
        raise FileNotFoundError(str(error)) from error
    if not files:
        raise FileNotFoundError(f'{path}: there are no weights in "unet"')
    return files


def listed_name(name: str) -> str:
    """How a folder is called: a folder of the Hub's cache by its repository, "owner/name@revision"; others as it is."""
    match = _CACHED.search(name)
    if match is None:
        return name
    return f"{name[: match.start()]}{match[1].replace('--', '/')}@{match[2][:7]}"


def read_index(folder: Path) -> dict[str, Any]:
    """`model_index.json`; raises ModelFileBroken."""
    return _read_json(folder / INDEX)


def text_encoder_kind(folder: Path) -> str:
    """Which family's text encoders a folder has: "clip" (SD 1), "open_clip" (SD 2), "both" (SDXL), "big" (its refiner).

    Raises ModelUnsupported, naming the pipeline, for folders of other families.
    """
    index = read_index(folder)
    pipeline = index.get("_class_name", "an unknown pipeline")
    present = [name for name in ("text_encoder", "text_encoder_2") if _class_of(index, name) is not None]
    foreign = [_class_of(index, name) for name in present if _class_of(index, name) not in TEXT_ENCODERS]
    if _class_of(index, "unet") is None or "text_encoder_3" in index or not present or foreign:
        why = f" (its text encoder is {foreign[0]})" if foreign else ""
        raise ModelUnsupported(f"{folder}: is a folder for {pipeline}{why}, a family that is not supported as a folder")
    if "text_encoder_2" in present:
        return "both" if "text_encoder" in present else "big"
    # both are CLIPTextModel; OpenCLIP's towers are told by their activation
    activation = _optional(folder / "text_encoder" / "config.json").get("hidden_act", "quick_gelu")
    return "clip" if activation == "quick_gelu" else "open_clip"


def folder_config(folder: Path) -> LdmConfig:
    """What the folder's JSON files say, in LDM's words.

    Raises ModelUnsupported for noise schedules that no LDM model has.
    """
    unet, vae = _optional(folder / "unet" / "config.json"), _optional(folder / "vae" / "config.json")
    params: dict[str, Any] = _schedule(folder)
    if isinstance(scale := vae.get("scaling_factor"), (int, float)):
        params["scale_factor"] = scale
    if isinstance(size := unet.get("sample_size"), int):
        params["image_size"] = size
    heads = unet.get("num_attention_heads") or unet.get("attention_head_dim")  # diffusers means heads by both
    return LdmConfig(
        source=str(folder),
        params=params,
        unet={
            key: value
            for key, value in {
                "num_heads": tuple(heads) if isinstance(heads, list) else heads,
                "norm_num_groups": unet.get("norm_num_groups"),
                "upcast_attention": unet.get("upcast_attention"),
            }.items()
            if value is not None
        },
        autoencoder={"norm_num_groups": vae["norm_num_groups"]} if vae.get("norm_num_groups") else {},
        text=_text(folder / "text_encoder" / "config.json") or _text(folder / "text_encoder_2" / "config.json"),
        text_2=_text(folder / "text_encoder_2" / "config.json"),
        text_is_cut=True,
    )


def folder_metadata(folder: Path) -> dict[str, str]:
    """What `model_index.json` says about the folder as a whole."""
    index, keys = read_index(folder), ("_class_name", "_diffusers_version", "_name_or_path")
    return {key.lstrip("_"): str(index[key]) for key in keys if key in index}


def _schedule(folder: Path) -> dict[str, Any]:
    stated = _optional(folder / "scheduler" / "scheduler_config.json")
    prediction = stated.get("prediction_type", "epsilon")
    betas = stated.get("beta_schedule", "scaled_linear")
    if prediction not in ("epsilon", "v_prediction") or betas != "scaled_linear" or stated.get("trained_betas"):
        what = f"{stated.get('_class_name', 'its scheduler')} with {prediction} and {betas} betas"
        raise ModelUnsupported(f"{folder}: its noise schedule ({what}) is none of Stable Diffusion's")
    names = {"beta_start": "linear_start", "beta_end": "linear_end", "num_train_timesteps": "timesteps"}
    params: dict[str, Any] = {ours: stated[theirs] for theirs, ours in names.items() if theirs in stated}
    if stated:
        params["parameterization"] = "v" if prediction == "v_prediction" else "eps"
        params["zero_terminal_snr"] = bool(stated.get("rescale_betas_zero_snr"))
    return params


def _text(path: Path) -> Mapping[str, Any]:
    stated = _optional(path)
    return stated.get("text_config", stated)


def _candidates(folder: Path) -> list[Candidate]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        if match := _WEIGHTS.fullmatch(name):
            found.append(Candidate((folder / name,), match["variant"] or "", match["kind"] == "bin"))
        elif match := _SHARDS.fullmatch(name):
            shards = _read_json(folder / name).get("weight_map")
            if not isinstance(shards, dict):
                raise ModelFileBroken(f'{folder / name}: has no "weight_map"; the download may be incomplete')
            files = tuple(folder / file for file in sorted({Path(str(file)).name for file in shards.values()}))
            found.append(Candidate(files, match["before"] or match["after"] or "", match["kind"] == "bin"))
    return found


def _class_of(index: Mapping[str, Any], part: str) -> str | None:
    entry = index.get(part)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 and entry[1] else None


def _optional(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file (Any: whatever JSON its keys hold)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ModelFileBroken(f"{path}: is not valid JSON ({error}); the download may be incomplete") from error
    if not isinstance(content, dict):
        raise ModelFileBroken(f"{path}: is no JSON object; the download may be incomplete")
    return content
