"""The LoRAs and hypernetworks that a prompt's tags name: finding them, and holding them on the models of a job."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from modules.models.adapters.patch import Adapter, AdapterReport
from modules.models.catalog import Catalog
from modules.models.hypernetworks import Hypernetwork, hypernetworks_applied
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.prompts.extra_networks import ExtraNetwork, hypernetwork_strength, lora_strength


@dataclass(frozen=True)
class Wanted:
    """What a prompt's tags ask for.

    `hashes` are infotext's `Lora hashes` by the name that was mentioned; `notices` say what could not be found.
    """

    adapters: tuple[Adapter, ...] = ()
    hypernetworks: tuple[Hypernetwork, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def wanted(tags: tuple[ExtraNetwork, ...], catalog: Catalog | None) -> Wanted:
    """The networks that tags name, in their order; raises InvalidPrompt for an argument that is not a number.

    Tags of unknown kinds are nothing, as in A1111; a network that is not there is left out and said.
    """
    adapters, hypernetworks, hashes, notices = [], [], {}, []
    for tag in tags:
        if tag.kind == "hypernet":
            path = catalog.find_hypernetwork(tag.name) if catalog is not None else None
            if path is None:
                notices.append(f"Hypernetwork not found: {tag.name}")
            else:
                hypernetworks.append(Hypernetwork(str(path), tag.name, hypernetwork_strength(tag)))
        if not tag.is_lora:
            continue
        file = catalog.find_lora(tag.name) if catalog is not None else None
        if file is None and catalog is not None:
            catalog.refresh()
            file = catalog.find_lora(tag.name)
        if file is None:
            notices.append(f"Lora not found: {tag.name}")
            continue
        strength = lora_strength(tag)
        adapters.append(Adapter(str(file.path), tag.name, strength.te, strength.unet, strength.dyn))
        hashes[tag.name.replace(":", "").replace(",", "")] = catalog.lora_hash(file)
    return Wanted(tuple(adapters), tuple(hypernetworks), hashes, tuple(notices))


class AppliedNetworks:
    """Which networks act on which model now. A set that is already applied is left alone: batches often repeat it."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager
        self._applied: dict[int, tuple[Wanted, ExitStack, tuple[AdapterReport, ...]]] = {}

    def apply(self, model: Model, asked: Wanted) -> tuple[AdapterReport, ...]:
        """Let exactly these networks act on the model; raises ModelError for files that cannot be used."""
        held = self._applied.get(id(model))
        if held is not None and held[0] == asked:
            return held[2]
        self.release(model)
        if not asked.adapters and not asked.hypernetworks:
            return ()
        with ExitStack() as stack:
            reports = stack.enter_context(self._manager.adapters(model, asked.adapters))
            reports += stack.enter_context(hypernetworks_applied(model, asked.hypernetworks))
            self._applied[id(model)] = (asked, stack.pop_all(), reports)
        return reports

    def release(self, model: Model) -> None:
        """Give the model its own weights back."""
        if (held := self._applied.pop(id(model), None)) is not None:
            held[1].close()
