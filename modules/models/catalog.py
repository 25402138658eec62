"""Which model files there are, under which names, and which one a text means (A1111, 11.1, 11.2, 11.4). No torch."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from modules.errors import ModelError, UnknownName
from modules.generation.plan import ModelRef, StatedPrediction, VaeRef
from modules.models import sidecars
from modules.models.faces import CODEFORMER, GFPGAN, FaceFiles
from modules.models.faces import SUFFIXES as FACE_SUFFIXES
from modules.models.family import Family, Match, identify
from modules.models.files import (
    CHECKPOINT_SUFFIXES,
    EMBEDDING_SUFFIXES,
    HYPERNETWORK_SUFFIXES,
    LORA_SUFFIXES,
    UPSCALER_SUFFIXES,
    VAE_SUFFIXES,
    CheckpointFile,
    LoraFile,
    ModelFile,
    all_files,
    file_at,
    files_below,
    files_in,
    model_folder,
    model_folders_in,
    natural_order,
    path_order,
    unique,
)
from modules.models.folders import folder_config, folder_metadata, is_model_folder
from modules.models.hashes import (
    BackgroundHasher,
    FileFacts,
    known_network_hash,
    legacy_hash,
    network_hash,
    stored_metadata,
)
from modules.models.header import read_header
from modules.models.layouts.blueprint import Variant
from modules.models.places import ModelFolders, walk
from modules.models.views import View, view_checkpoint
from modules.registry import did_you_mean
from modules.settings.stable_diffusion import GenerationOptions

PREDICTIONS: dict[str, StatedPrediction] = {
    "epsilon": "epsilon",
    "v": "v",
    "v, zero terminal SNR": "v-zero-terminal-snr",
}
"""What can be said about a checkpoint's prediction in its notes ("prediction type")."""

_BUNDLED_VAE = re.compile(r"\.vae\.(ckpt|pt|safetensors)$", re.IGNORECASE)


class Catalog:
    """The model files of this installation. `refresh` looks again; everything else answers from memory."""

    def __init__(
        self, folders: ModelFolders, facts: FileFacts | None = None, *, hasher: BackgroundHasher | None = None
    ) -> None:
        self.folders = folders
        self.facts = facts or FileFacts()
        self.hasher = hasher
        self._lock = threading.RLock()
        self._checkpoints: tuple[CheckpointFile, ...] = ()
        self._vaes: dict[str, ModelFile] = {}
        self._loras: tuple[LoraFile, ...] | None = None
        self._lora_files: tuple[ModelFile, ...] = ()
        self.embeddings: tuple[ModelFile, ...] = ()
        self.hypernetworks: tuple[ModelFile, ...] = ()
        self.upscalers: dict[str, tuple[ModelFile, ...]] = {}
        self._face_files: tuple[ModelFile, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders again."""
        folders = self.folders
        found: list[ModelFile] = []
        folder_models: list[CheckpointFile] = []
        for folder in folders.checkpoints:
            places = list(walk(folder))
            found += files_in(places, folder, VAE_SUFFIXES)
            folder_models += model_folders_in(places, folder)
        found += [file_at(path, path.name) for path in folders.extra_checkpoints if path.is_file()]
        found = unique(found)
        folder_models += [model_folder(path, path.name) for path in folders.extra_checkpoints if is_model_folder(path)]
        checkpoints = [
            CheckpointFile(f.path, f.name, f.size, f.mtime_ns)
            for f in found
            if f.name.lower().endswith(CHECKPOINT_SUFFIXES) and not _BUNDLED_VAE.search(f.name)
        ]
        checkpoints = [self._with_hash(file) for file in sorted((*checkpoints, *unique(folder_models)), key=path_order)]
        vaes = [file for file in found if _BUNDLED_VAE.search(file.name)]
        vaes += [file for folder in folders.vaes for file in files_below(folder, VAE_SUFFIXES)]
        with self._lock:
            self._checkpoints = tuple(checkpoints)
            self._vaes = {file.path.name: file for file in sorted(vaes, key=lambda file: natural_order(file.path.name))}
            self._lora_files = all_files(folders.loras, LORA_SUFFIXES)
            self._loras = None
            self.embeddings = tuple(file for file in all_files(folders.embeddings, EMBEDDING_SUFFIXES) if file.size > 0)
            self.hypernetworks = all_files(folders.hypernetworks, HYPERNETWORK_SUFFIXES)
            self.upscalers = {kind: all_files(places, UPSCALER_SUFFIXES) for kind, places in folders.upscalers.items()}
            self._face_files = self._look_for_faces()

    @property
    def checkpoints(self) -> tuple[CheckpointFile, ...]:
        """In natural, case-insensitive order of their paths, with hashes as far as they are known now."""
        with self._lock:
            if any(file.sha256 is None for file in self._checkpoints):
                self._checkpoints = tuple(self._with_hash(file) for file in self._checkpoints)
            return self._checkpoints

    def titles(self) -> tuple[str, ...]:
        """What the drop-down of checkpoints shows."""
        return tuple(file.title for file in self.checkpoints)

    def find_checkpoint(self, text: str) -> ModelRef:
        """The checkpoint that `text` means: an alias, else the shortest title that contains it.

        The file is queued for hashing if its hash is not known. Raises UnknownName with suggestions.
        """
        file = self.find_checkpoint_file(text)
        if self.hasher and file.sha256 is None:
            self.hasher.hash_soon(file.path)
        return file.ref.model_copy(update=self.overrides(file))

    def find_checkpoint_file(self, text: str) -> CheckpointFile:
        """As `find_checkpoint`, with everything known about the file."""
        checkpoints = self.checkpoints
        text = text.strip()
        for file in checkpoints:
            if text in file.aliases():
                return file
        if match := re.fullmatch(r"(?:.* \[)?([0-9a-f]{8})\]?", text):
            for file in checkpoints:
                if self._legacy_hash_of(file) == match[1]:
                    return file
        without_hash = re.sub(r"\s*\[[^\]]*\]\s*$", "", text)
        for wanted in dict.fromkeys((text, without_hash)):
            for same in (str, str.casefold):
                near = [file for file in checkpoints if wanted and same(wanted) in same(file.title)]
                if near:
                    return min(near, key=lambda file: len(file.title))
        if not checkpoints:
            where = ", ".join(str(folder) for folder in self.folders.checkpoints)
            raise UnknownName(f'no checkpoint named "{text}": there are none in {where}', field="model.checkpoint")
        names = tuple(file.stem for file in checkpoints)
        raise UnknownName(f'no checkpoint named "{text}"{did_you_mean(without_hash, names)}', field="model.checkpoint")

    def legacy_hash(self, file: ModelFile) -> str:
        """A1111's eight-digit hash."""
        return self.facts.computed("legacy", file.path, legacy_hash)

    def _legacy_hash_of(self, file: CheckpointFile) -> str | None:
        try:
            return self.legacy_hash(file)
        except OSError:  # taken away meanwhile, or an incomplete folder
            return None

    def native_size(self, file: CheckpointFile) -> int:
        """The side in pixels that a checkpoint is made for: its metadata's resolution, else its family's."""
        if match := re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)\s*", self.metadata(file).get("modelspec.resolution", "")):
            return min(int(match[1]), int(match[2]))
        if file.is_folder and (side := self._stated_size(file)) is not None:
            return side
        return {"ldm": 256, "sd2": 768, "sdxl": 1024, "sd3": 1024}.get(self.family_of(file) or "", 512)

    def _stated_size(self, folder: CheckpointFile) -> int | None:
        try:
            size = folder_config(folder.path).params.get("image_size")
        except ModelError:
            return None
        return size * 8 if size else None

    def identified(self, file: CheckpointFile) -> tuple[Family, Match] | None:
        """The family and its claim, from headers alone; None for pickles and for files of no family."""
        if not file.is_header_readable:
            return None
        try:
            return identify(self.view(file).header)
        except (ModelError, UnknownName, OSError):
            return None

    def view(self, file: CheckpointFile) -> View:
        """The checkpoint in LDM's names, with what its base checkpoint lends; reads headers.

        Raises ModelError, UnknownName for a base checkpoint that is not there, OSError.
        """
        return view_checkpoint(file.path, base=self.overrides(file).get("base"))

    def is_whole(self, file: CheckpointFile) -> bool:
        """Whether a checkpoint has text encoders and a VAE of its own, as far as headers tell: pickles may have."""
        if not file.is_header_readable:
            return True
        try:
            view = view_checkpoint(file.path)
        except (ModelError, OSError):
            return True  # what is wrong with it is something else
        return not view.has_unet or (view.has_text and view.has_vae)

    def overrides(self, file: CheckpointFile) -> dict[str, Any]:
        """What its user says about a checkpoint, as fields of `ModelRef`; raises UnknownName for an unknown base."""
        notes = sidecars.user_metadata(file.path)
        stated: dict[str, Any] = {}
        if (prediction := PREDICTIONS.get(str(notes.get("prediction type")))) is not None:
            stated["prediction"] = prediction
        if isinstance(base := notes.get("base checkpoint"), str) and base:
            try:
                stated["base"] = str(self.find_checkpoint_file(base).path)
            except UnknownName as error:
                raise UnknownName(f"the base checkpoint of {file.name}: {error}", field="model.checkpoint") from error
        return stated

    def family_of(self, file: CheckpointFile) -> str | None:
        """The family's name, from the header alone; None for pickles and for files of no family."""
        found = self.identified(file)
        return None if found is None else found[0].name

    def variant_of(self, file: CheckpointFile) -> Variant | None:
        """What the UNet takes beside the latents, from the header alone; None where `family_of` knows nothing."""
        found = self.identified(file)
        return None if found is None else found[1].variant

    def metadata(self, file: ModelFile) -> dict[str, str]:
        """The strings in a safetensors header; {} for other files and for broken ones."""
        known = self.facts.get("metadata", file.path, file.size, file.mtime_ns)
        if known is None:
            known = _metadata_json(file.path)
            self.facts.put("metadata", file.path, file.size, file.mtime_ns, known)
        return stored_metadata(known)

    # VAEs

    @property
    def vaes(self) -> dict[str, ModelFile]:
        """By base name, which is what the setting holds; equal names in two folders: the last wins, as in A1111."""
        return dict(self._vaes)

    def find_vae(self, name: str) -> VaeRef:
        """The VAE with this file name, with or without its extension; raises UnknownName."""
        file = self._vaes.get(name) or next((f for f in self._vaes.values() if f.stem == name), None)
        if file is None:
            raise UnknownName(f'no VAE named "{name}"{did_you_mean(name, tuple(self._vaes))}', field="model.vae")
        return self._vae_ref(file.path)

    def choose_vae(self, checkpoint: ModelRef, options: GenerationOptions) -> VaeRef | None:
        """The VAE that A1111's rules choose for a checkpoint; None is the one inside it (section 11.4)."""
        if self.folders.fixed_vae is not None:
            return self._vae_ref(self.folders.fixed_vae)
        setting = options.sd_vae or "Automatic"
        is_automatic = setting == "Automatic"
        if not is_automatic and options.sd_vae_overrides_per_model_preferences:
            return None if setting == "None" else self.find_vae(setting)
        path = Path(checkpoint.path)
        preferred = sidecars.user_metadata(path).get("vae")
        if preferred == "None":
            return None
        if preferred and preferred != "Automatic" and preferred in self._vaes:
            return self._vae_ref(self._vaes[preferred].path)
        if near := next((file for name, file in self._vaes.items() if name.startswith(checkpoint.name)), None):
            return self._vae_ref(near.path)
        return None if is_automatic or setting == "None" else self.find_vae(setting)

    # LoRAs

    @property
    def loras(self) -> tuple[LoraFile, ...]:
        """Every LoRA with its metadata; the first call reads the headers that are not remembered."""
        with self._lock:
            if self._loras is None:
                self._loras = tuple(self._read_loras())
            return self._loras

    def find_lora(self, name: str) -> LoraFile | None:
        """The LoRA that a tag's name means: its alias, unless two share it, else its stem; None when there is none.

        Looks at the folders again before it says None: the file may have come since.
        """
        return self._find_lora(name) or (self._find_lora(name) if self._look_for_loras() else None)

    def _find_lora(self, name: str) -> LoraFile | None:
        by_stem = {file.stem: file for file in self.loras}
        aliases: dict[str, list[LoraFile]] = {}
        for file in self.loras:
            aliases.setdefault(file.alias.casefold(), []).append(file)
        of_alias = [file for file in aliases.get(name.casefold(), ()) if file.alias == name]
        is_forbidden = name.casefold() in ("none", "addams") or len(aliases.get(name.casefold(), ())) > 1
        if of_alias and not is_forbidden:
            return of_alias[0]
        return by_stem.get(name) or next((file for file in self.loras if file.stem.casefold() == name.casefold()), None)

    def lora_hash(self, file: LoraFile) -> str:
        """The twelve digits that infotext shows; reads the file the first time."""
        return network_hash(file.path, dict(file.metadata), self.facts)

    def lora_named(self, digits: str, *, prefers_alias: bool = True) -> str | None:
        """What a tag calls the LoRA with these twelve digits in infotext; None when none here is known to have them.

        No file is read for this: digits are known if the trainer stored them or some picture was made with the file.
        """
        self.facts.reread("sha256-weights")
        for file in self.loras:
            if known_network_hash(file, dict(file.metadata), self.facts) == digits:
                return file.alias if prefers_alias and self._find_lora(file.alias) is file else file.stem
        return None

    # Faces

    @property
    def faces(self) -> FaceFiles:
        """The files that find and restore faces; the first bytes of each are read once.

        Looks at the folders again while something is missing: it may have come since.
        """
        folders = self.folders
        belong = {GFPGAN: folders.gfpgan, CODEFORMER: folders.codeformer}
        places = {name: paths[0] for name, paths in belong.items() if paths}
        found = FaceFiles.among(self._face_files, places, preferred=folders.gfpgan_model)
        if len(found.names) == len(places):
            return found
        self._face_files = self._look_for_faces()
        return FaceFiles.among(self._face_files, places, preferred=folders.gfpgan_model)

    def _look_for_faces(self) -> tuple[ModelFile, ...]:
        return all_files((*self.folders.gfpgan, *self.folders.codeformer), FACE_SUFFIXES)

    # Hypernetworks

    def find_hypernetwork(self, name: str) -> Path | None:
        """The file of a hypernetwork by its stem; of equal names the last one, as in A1111. None when there is none."""
        return next((file.path for file in reversed(self.hypernetworks) if file.stem == name), None)

    def _look_for_loras(self) -> bool:
        """Look at the LoRA folders again; whether anything changed."""
        files = all_files(self.folders.loras, LORA_SUFFIXES)
        with self._lock:
            if files == self._lora_files:
                return False
            self._lora_files, self._loras = files, None
            return True

    def _read_loras(self) -> Iterator[LoraFile]:
        news = []
        for file in self._lora_files:
            known = self.facts.get("metadata", file.path, file.size, file.mtime_ns)
            if known is None:
                known = _metadata_json(file.path)
                news.append((str(file.path), file.size, file.mtime_ns, known))
            yield LoraFile(file.path, file.name, file.size, file.mtime_ns, stored_metadata(known))
        self.facts.put_many("metadata", news)

    def _with_hash(self, file: CheckpointFile) -> CheckpointFile:
        if file.sha256 is not None:
            return file
        known = self.facts.get("sha256", file.path, file.size, file.mtime_ns)
        return replace(file, sha256=known) if known else file

    def _vae_ref(self, path: Path) -> VaeRef:
        stat = path.stat()
        return VaeRef(
            path=str(path), name=path.name, sha256=self.facts.get("sha256", path, stat.st_size, stat.st_mtime_ns)
        )


def _metadata_json(path: Path) -> str:
    import json

    try:
        if is_model_folder(path):
            return json.dumps(folder_metadata(path), ensure_ascii=False)
        if path.suffix.lower() != ".safetensors":
            return "{}"
        return json.dumps(dict(read_header(path).metadata), ensure_ascii=False)
    except (ModelError, OSError):
        return "{}"
