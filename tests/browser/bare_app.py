"""The parts of App that the page reads, without models, queue or worker; submitting only remembers the request."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from modules.generation.request import GenerationRequest
from modules.infotext.paste import Pasted, Tab, paste
from modules.models.faces import FaceFiles
from modules.prompts.styles import StyleBook
from modules.settings.store import SettingsStore


@dataclass
class BareCheckpoint:
    title: str

    @property
    def model_name(self) -> str:
        return self.title.partition(".")[0]


@dataclass
class BareCatalog:
    names: tuple[str, ...] = (
        "starter.safetensors [0123456789]", "other.safetensors", "sdxl_lightning_4step.safetensors"
    )  # fmt: skip

    @property
    def loras(self) -> tuple[SimpleNamespace, ...]:
        return tuple(SimpleNamespace(stem=stem, is_hidden=False) for stem in ("ink", "Inkwash", "pixel"))

    vaes = ()
    hypernetworks = embeddings = (SimpleNamespace(stem="inkblot", is_hidden=False),)

    def titles(self) -> tuple[str, ...]:
        return self.names

    def find_checkpoint_file(self, title: str) -> BareCheckpoint:
        return BareCheckpoint(title)

    def native_size(self, checkpoint: BareCheckpoint) -> int:
        return 128 if checkpoint.title.startswith("starter") else 512

    def variant_of(self, checkpoint: BareCheckpoint) -> str:
        return "pix2pix" if "pix2pix" in checkpoint.title else "base"

    def refresh(self) -> None:
        """Nothing to look at."""

    faces = FaceFiles()


class BareUpscalers:
    def names(self) -> tuple[str, ...]:
        return ("None", "Lanczos", "Nearest")


@dataclass
class BareApp:
    data_dir: Path
    catalog: BareCatalog = field(default_factory=BareCatalog)
    settings: SettingsStore | None = None
    styles: StyleBook = field(default_factory=StyleBook)
    upscalers: BareUpscalers = field(default_factory=lambda: BareUpscalers())
    flags: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            localizations_dir=None,
            ui_config_file=None,
            hide_ui_dir_config=False,
            gradio_allowed_path=(),
            is_reachable_by_others=False,
        )
    )
    extensions: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(scripts=()))
    requests: list[GenerationRequest] = field(default_factory=list)

    caption_model = None

    def paste(self, infotext: str, tab: Tab) -> Pasted:
        return paste(infotext, tab=tab, settings=self.settings.current, styles=self.styles)

    def __post_init__(self) -> None:
        if self.settings is None:
            self.settings = SettingsStore(self.data_dir / "config.json", environment={})

    def submit(self, request: GenerationRequest, *, owner: str) -> SimpleNamespace:
        self.requests.append(request)
        return SimpleNamespace(id=f"job{len(self.requests)}")
