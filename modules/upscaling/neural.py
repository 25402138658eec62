"""Upscaling networks from files, tile by tile: ESRGAN and its kin are built here, others by spandrel if it is there."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from modules.errors import ModelError, ModelFileBroken, ModelUnsupported, NotEnoughMemory
from modules.images.grids import Tile, Tiling, combine_tiles, split_tiles
from modules.upscaling import diffusion
from modules.upscaling.upscaler import Upscaler

if TYPE_CHECKING:
    import torch

    from modules.models.manager import ModelManager

logger = logging.getLogger(__name__)

DEFAULT_SCALE = 4.0
SMALLEST_TILE = 32
"""Pixels; when even these take too much memory, the picture is given up."""
LABELS = {
    "RealESRGAN_x4plus": "R-ESRGAN 4x+",
    "RealESRGAN_x4plus_anime_6B": "R-ESRGAN 4x+ Anime6B",
    "RealESRGAN_x2plus": "R-ESRGAN 2x+",
    "realesr-general-x4v3": "R-ESRGAN General 4xV3",
    "realesr-general-wdn-x4v3": "R-ESRGAN General WDN 4xV3",
    "realesr-animevideov3": "R-ESRGAN AnimeVideo",
}
"""A1111's names for the files of Real-ESRGAN, which infotexts mention, by their stems."""


def from_file(
    path: Path,
    *,
    tile: int = 192,
    overlap: int = 8,
    device: str = "cpu",
    models: ModelManager | None = None,
    ldsr_steps: int = 100,
    label: str | None = None,
) -> Upscaler:
    """An upscaler for a network's file; reads nothing until it first runs. `tile` 0 upscales in one piece.

    A file may be a diffusion model too; those need `models`. `label` replaces the name that the file's own gives.
    """

    def enlarge(image: Image.Image, scale: float) -> Image.Image:
        if models is not None and diffusion.is_diffusion(path, path.stat().st_mtime_ns):
            return diffusion.enlarge(path, image, models=models, tile=tile, overlap=overlap, ldsr_steps=ldsr_steps)
        network = load(path, path.stat().st_mtime_ns, device)
        return run(network, image, tile=tile, overlap=overlap)

    label = label or LABELS.get(path.stem, path.stem)
    scale = 2.0 if label == "R-ESRGAN 2x+" else DEFAULT_SCALE
    return Upscaler(label, enlarge, scale=scale, path=str(path), model_name=path.stem)


@lru_cache(maxsize=2)
def load(path: Path, mtime_ns: int, device: str) -> Any:
    """The network of a file on a device, ready to run: a module from pixels to pixels, with its `scale`.

    Its type is ours or spandrel's, hence Any. Raises ModelUnsupported for architectures that are not known,
    ModelFileBroken for damaged files, ModelFileUnsafe for pickles with code.
    """
    from modules.models.weights import open_weights
    from modules.networks.upscalers import network_for

    with open_weights(path) as weights:
        tensors = {key: weights.tensor(key).clone() for key in weights.header}
    try:
        network = network_for(tensors)
    except ValueError as error:
        raise ModelFileBroken(f"{path}: cannot be used as an upscaler: {error}") from error
    return network.to(device) if network is not None else _by_spandrel(path, device)


def _by_spandrel(path: Path, device: str) -> Any:
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError as error:
        raise ModelUnsupported(
            f"{path}: is no ESRGAN, Real-ESRGAN or compact network, which run here; others (SwinIR, DAT, HAT …) need "
            'the package spandrel ("pip install spandrel", which wants torchvision); or choose another upscaler'
        ) from error
    try:
        descriptor = ModelLoader(device=device).load_from_file(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelFileBroken(f"{path}: cannot be read as an upscaler ({error})") from error
    if not isinstance(descriptor, ImageModelDescriptor):
        raise ModelUnsupported(f"{path}: is a {descriptor.purpose} network, not an upscaler")
    network = descriptor.model.eval()
    network.scale = descriptor.scale
    return network


def run(network: torch.nn.Module, image: Image.Image, *, tile: int, overlap: int) -> Image.Image:
    """`image` (RGB) through a network, cut into overlapping tiles whose seams are blended; 0: in one piece.

    When memory runs out, with tiles half as large; raises NotEnoughMemory when these are SMALLEST_TILE.
    """
    from modules.models.memory import is_out_of_memory, release_unused

    image = image.convert("RGB")
    while True:
        try:
            return _tiled(network, image, tile, overlap) if tile > 0 else _piece(network, image)
        except Exception as error:  # which errors mean memory is for is_out_of_memory to say
            if not is_out_of_memory(error):
                raise
            reason = error.with_traceback(None)  # its frames hold tensors
        release_unused(next(network.parameters()).device)
        smaller = min(tile or max(image.size), *image.size) // 2
        if smaller < SMALLEST_TILE:
            raise NotEnoughMemory(
                f"enlarging a picture of {image.width}x{image.height} takes more memory than there is, even in tiles "
                f"of {tile} pixels; close other programs, or start with --use-cpu all"
            ) from reason
        tile, overlap = smaller, min(overlap, smaller // 2)
        logger.warning("an upscaler takes more memory than there is; going on in tiles of %d pixels", tile)


def _tiled(network: torch.nn.Module, image: Image.Image, tile: int, overlap: int) -> Image.Image:
    scale = int(network.scale)
    tiling = split_tiles(image, tile, tile, overlap)
    rows = tuple(
        tuple(Tile(_piece(network, one.image), one.left * scale, one.top * scale) for one in row) for row in tiling.rows
    )
    return combine_tiles(Tiling(tiling.width * scale, tiling.height * scale, tiling.overlap * scale, rows))


def _piece(network: torch.nn.Module, image: Image.Image) -> Image.Image:
    """Blue comes first in what the network sees, as in A1111: its enlarged pictures are to be found again."""
    import numpy as np
    import torch

    array = np.ascontiguousarray(np.asarray(image)[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32) / 255.0
    parameter = next(network.parameters())
    with torch.inference_mode():
        answer = network(torch.from_numpy(array)[None].to(parameter.device, parameter.dtype))[0].float()
    if not bool(torch.isfinite(answer).all()):
        raise ModelError("the upscaler produced NaN; start with --no-half")
    enlarged = (answer.clamp(0, 1).cpu().permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(enlarged[:, :, ::-1]))
