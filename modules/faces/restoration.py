"""Restoring faces: each is found, cut out upright, drawn anew by GFPGAN or CodeFormer, and put back where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from modules.errors import ModelFileBroken, NotANumber, NotEnoughMemory, UnknownName
from modules.faces import detection
from modules.faces.detection import Face
from modules.images import faces as pixels
from modules.models.faces import CODEFORMER, FaceFiles
from modules.models.manager import KeptModel
from modules.models.memory import is_out_of_memory, release_unused
from modules.models.weights import read_tensors
from modules.networks.codeformer import codeformer
from modules.networks.gfpgan import gfpgan
from modules.networks.parsenet import SURROUNDINGS, parsenet
from modules.networks.retinaface import retinaface

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Build = Callable[[Mapping[str, Tensor]], nn.Module]


@dataclass(frozen=True)
class Restored:
    """A picture after its faces were restored; the very same one when there were none."""

    image: Image.Image
    faces: int


class FaceRestorer:
    """Finds and restores faces with the files there are now.

    Networks are kept in memory from their first use on, and are on a device for a run only. `files` says what there is,
    `device_for` on which device a restorer ("gfpgan" …) or the search alone ("") runs.
    """

    def __init__(self, files: Callable[[], FaceFiles], device_for: Callable[[str], torch.device]) -> None:
        self._files, self._device_for = files, device_for
        self._networks: dict[tuple[Path, int], nn.Module] = {}

    def restore(self, image: Image.Image, name: str, *, weight: float = 0.0, keep: bool = True) -> Restored:
        """`image` (RGB) with every face restored by "GFPGAN" or "CodeFormer".

        CodeFormer's `weight`, 0…1, says how true a face stays to what it was. `keep` False lets go of the networks
        afterwards. Raises UnknownName while a file is missing, ModelFileBroken and its kinds, NotANumber,
        NotEnoughMemory.
        """
        files = self._files()
        if (problem := files.problem(name)) is not None:
            raise UnknownName(problem)
        try:
            return self._run(
                lambda device: self._restored(files, image.convert("RGB"), name, weight, device),
                self._device_for(name.lower()),
            )
        finally:
            if not keep:
                self.unload()

    def find(self, image: Image.Image, *, keep: bool = True) -> tuple[Face, ...]:
        """The faces of a picture, the surest first; raises as `restore`."""
        files = self._files()
        if (problem := files.detector_problem) is not None:
            raise UnknownName(problem)
        try:
            return self._run(lambda device: self._found(files, image.convert("RGB"), device), self._device_for(""))
        finally:
            if not keep:
                self.unload()

    def report(self) -> tuple[KeptModel, ...]:
        """The networks in memory."""
        return tuple(
            KeptModel(
                name=path.stem,
                bytes=sum(tensor.nbytes for tensor in network.state_dict().values()),
                device="cpu",
                in_use=False,
                family=type(network).__name__,
            )
            for (path, _), network in tuple(self._networks.items())
        )

    def unload(self) -> None:
        """Let go of every network."""
        self._networks.clear()

    def _restored(
        self, files: FaceFiles, image: Image.Image, name: str, weight: float, device: torch.device
    ) -> Restored:
        found = self._found(files, image, device)
        if not found:
            return Restored(image, 0)
        places = [pixels.placement(face.points) for face in found]
        given = [pixels.cut(image, place) for place in places]
        network = self._network(files.networks[name], codeformer if name == CODEFORMER else gfpgan)
        arguments = (weight,) if name == CODEFORMER else ()
        drawn = self._on(network, device, lambda: [_drawn(network, face, device, *arguments) for face in given])
        outlines = self._outlines(files, drawn, device)
        picture = np.array(image)
        for face, place, outline in zip(drawn, places, outlines, strict=True):
            pixels.paste(picture, face, place, outline)
        return Restored(Image.fromarray(picture), len(found))

    def _found(self, files: FaceFiles, image: Image.Image, device: torch.device) -> tuple[Face, ...]:
        assert files.detector is not None
        network: Any = self._network(files.detector, retinaface)
        return self._on(network, device, lambda: detection.find(network, image, device))

    def _outlines(self, files: FaceFiles, faces: list[Image.Image], device: torch.device) -> list[Any]:
        """For each face how much of it shows where; None, which is all but its border, without a parser."""
        if files.parser is None:
            return [None] * len(faces)
        network = self._network(files.parser, parsenet)

        def outline(face: Image.Image) -> Any:
            with torch.no_grad():
                labels = network(_tensor(face).to(device))[0].argmax(dim=0)
            return pixels.outline_of(labels.cpu().numpy(), SURROUNDINGS)

        return self._on(network, device, lambda: [outline(face) for face in faces])

    def _network(self, path: Path, build: Build) -> nn.Module:
        key = (path, path.stat().st_mtime_ns)
        if key not in self._networks:
            tensors = read_tensors(path)
            try:
                self._networks[key] = build(tensors)
            except ValueError as error:
                raise ModelFileBroken(f"{path}: cannot be used for faces: {error}") from error
        return self._networks[key]

    def _on(self, network: nn.Module, device: torch.device, work: Callable[[], Answer]) -> Answer:
        """What `work` gives while the network is on the device."""
        network.to(device)
        try:
            return work()
        finally:
            network.to("cpu")

    def _run(self, work: Callable[[torch.device], Answer], device: torch.device) -> Answer:
        """What `work` gives on a device, or on the processor when the device has too little memory."""
        try:
            return work(device)
        except Exception as error:  # which errors mean memory is for is_out_of_memory to say
            if not is_out_of_memory(error):
                raise
            reason = error.with_traceback(None)  # its frames hold tensors
        release_unused(device)
        if device.type == "cpu":
            raise NotEnoughMemory(
                "restoring faces takes more memory than there is; close other programs or choose a smaller picture"
            ) from reason
        logger.warning("restoring faces takes more memory than %s has; going on with the processor", device)
        return self._run(work, torch.device("cpu"))


def _drawn(network: nn.Module, face: Image.Image, device: torch.device, *arguments: float) -> Image.Image:
    """A face after a network has drawn it anew. Raises NotANumber."""
    with torch.no_grad():
        answer = network(_tensor(face).to(device), *arguments)[0].float().cpu()
    if not bool(torch.isfinite(answer).all()):
        raise NotANumber("the face restoration produced NaN; the network's file may be damaged")
    levels = (answer.clamp(-1, 1) + 1) / 2 * 255
    return Image.fromarray(levels.permute(1, 2, 0).numpy().astype(np.uint8))


def _tensor(face: Image.Image) -> Tensor:
    """(1, 3, side, side) in -1…1."""
    return torch.from_numpy(np.asarray(face).transpose(2, 0, 1).copy())[None].float() / 127.5 - 1.0
