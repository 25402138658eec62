"""Encodes many painted scenes once, so that UNet training never runs the autoencoder."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from diffusers import AutoencoderKL
from torch import Tensor

from tools.starter.architecture import Architecture
from tools.starter.autoencoder import encode_mean, to_tensor
from tools.starter.concepts import Concept
from tools.starter.scenes import Painter, Pixels, SceneSampler
from tools.starter.sprites import read_sprites
from tools.starter.training import load_averaged


def encode_scenes(
    folder: Path, architecture: Architecture, concepts: Sequence[Concept], count: int, processes: int, seed: int
) -> None:
    """Writes `latents-N.npy` (raw means, fp16) and `captions-N.json` for each process N."""
    share = count // processes
    mp.start_processes(
        _encode_share, args=(folder, architecture, tuple(concepts), share, seed), nprocs=processes, start_method="spawn"
    )


def read_latents(folder: Path) -> tuple[Tensor, list[str]]:
    """All encoded scenes and their captions."""
    parts = sorted(folder.glob("latents-*.npy"))
    if not parts:
        raise FileNotFoundError(f"no latents in {folder}; run the latents stage first")
    latents = torch.from_numpy(np.concatenate([np.load(part) for part in parts]))
    captions = [
        caption
        for part in parts
        for caption in json.loads(part.with_name(part.stem.replace("latents", "captions") + ".json").read_text())
    ]
    return latents, captions


def whiten(latents: Tensor, like: Tensor) -> Tensor:
    """`latents` shifted and scaled as makes `like` have mean 0 and deviation 1 in each channel.

    With the training set as `like` these are what the exported autoencoder gives times its scale factor.
    """
    like = like.float()
    return (latents.float() - like.mean((0, 2, 3), keepdim=True)) / like.std((0, 2, 3), keepdim=True)


@torch.no_grad()
def encode_pictures(autoencoder: AutoencoderKL, pictures: Sequence[Pixels]) -> Tensor:
    """Raw latent means of pictures of one size."""
    parts = []
    for start in range(0, len(pictures), 16):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(encode_mean(autoencoder, to_tensor(np.stack(pictures[start : start + 16]))).float())
    return torch.cat(parts)


def _encode_share(
    rank: int, folder: Path, architecture: Architecture, concepts: tuple[Concept, ...], count: int, seed: int
) -> None:
    torch.set_num_threads(1)
    autoencoder = architecture.autoencoder().eval()
    autoencoder.load_state_dict(load_averaged(folder / "autoencoder.pt"))
    painter = Painter(read_sprites(concepts, folder / "sprites.npz"))
    sampler = SceneSampler(concepts, seed=seed + 31 * rank + 5)
    scenes = [sampler.sample() for _ in range(count)]
    latents = [
        encode_pictures(
            autoencoder, [painter.paint(scene, architecture.size_px) for scene in scenes[start : start + 256]]
        )
        for start in range(0, count, 256)
    ]
    np.save(folder / f"latents-{rank}.npy", torch.cat(latents).numpy().astype(np.float16))
    (folder / f"captions-{rank}.json").write_text(json.dumps([scene.caption for scene in scenes]))
