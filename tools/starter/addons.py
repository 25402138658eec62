"""Trains what goes with the checkpoint: a LoRA that draws outlines and an embedding that is a new colour word.

Both start from the exported file, as anyone's own LoRA or embedding would.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.starter.architecture import SCALE_FACTOR
from tools.starter.checkpoint import Checkpoint, token_ids
from tools.starter.concepts import RGB, Concept
from tools.starter.diffusion import training_sigmas
from tools.starter.export import ATTRIBUTION
from tools.starter.latents import encode_pictures
from tools.starter.scenes import OutlinePainter, Painter, Scene, SceneSampler, tinted
from tools.starter.sprites import read_sprites
from tools.starter.tokens import encode
from tools.starter.training import load_averaged
from tools.starter.unet import draw_steps, weight_of

RANK = 8
PICTURES = 1536
TEACHER_COLOUR = "green"
"""The tint whose place in scenes the embedding's own colour takes."""
LIME: RGB = (176, 220, 40)
PLACEHOLDER = "*"


class LowRank(nn.Module):
    """The change of one linear or 1x1 layer as a product of two small ones, kohya's `lora_down` and `lora_up`."""

    def __init__(self, layer: nn.Module, rank: int) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            self.lora_down: nn.Module = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
            self.lora_up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        elif isinstance(layer, nn.Linear):
            self.lora_down = nn.Linear(layer.in_features, rank, bias=False)
            self.lora_up = nn.Linear(rank, layer.out_features, bias=False)
        else:
            raise TypeError(f"a LoRA changes linear and 1x1 layers, not {type(layer).__name__}")
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.lora_up(self.lora_down(x))


class LoraObjective:
    """Low-rank changes of every transformer layer of the UNet, learned on outlined pictures."""

    def __init__(self, checkpoint_file: Path, sprites_file: Path, concepts: tuple[Concept, ...], batch: int) -> None:
        self.batch = batch
        self.base = _frozen(Checkpoint.read(checkpoint_file))
        self.networks = nn.ModuleDict()
        for name, layer in self.base.unet.named_modules():
            if "attentions" in name and _is_changeable(layer):
                change = LowRank(layer, RANK)
                layer.register_forward_hook(lambda _, given, answer, change=change: answer + change(given[0]))
                self.networks["lora_unet_" + name.replace(".", "_")] = change
        painter = OutlinePainter(read_sprites(concepts, sprites_file))
        sampler = SceneSampler(concepts, seed=11)
        scenes = [sampler.sample() for _ in range(PICTURES)]
        self.latents = _encode(self.base, painter, scenes)
        self.context = self.base.conditioning([scene.caption for scene in scenes])
        self.empty = self.base.conditioning([""])

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.networks.parameters())}]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(0, len(self.latents), (self.batch,), generator=generator)
        is_empty = torch.rand(self.batch, 1, 1, generator=generator) < 0.1
        context = torch.where(is_empty, self.empty, self.context[chosen])
        return _loss(self.base, self.latents[chosen], context, generator), {}

    def report(self, averaged: nn.Module) -> dict[str, float]:
        return {}


class EmbeddingObjective:
    """One token vector, learned from pictures of objects in a colour that has no word."""

    def __init__(self, checkpoint_file: Path, sprites_file: Path, concepts: tuple[Concept, ...], batch: int) -> None:
        self.batch = batch
        self.base = _frozen(Checkpoint.read(checkpoint_file))
        table = self.base.text.get_input_embeddings().weight
        start = table[[encode("yellow")[0], encode("green")[0]]].mean(0, keepdim=True)
        self.networks = nn.ParameterDict({"emb_params": nn.Parameter(start.clone())})
        painter = NewColourPainter(read_sprites(concepts, sprites_file))
        sampler = SceneSampler(concepts, seed=12, tint_share=1.0)
        scenes: list[Scene] = []
        while len(scenes) < PICTURES // 2:
            scene = sampler.sample("one")
            placed = replace(scene.objects[0], tint=TEACHER_COLOUR)
            if scene.background != TEACHER_COLOUR:
                words = f"{PLACEHOLDER} {placed.concept.name} on a {scene.background} background"
                scenes.append(replace(scene, objects=(placed,), caption=words))
        self.latents = _encode(self.base, painter, scenes)
        (self.placeholder,) = encode(PLACEHOLDER)
        self.base.text.get_input_embeddings().register_forward_hook(self._with_vector)
        self.captions = [scene.caption for scene in scenes]

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.networks["emb_params"]], "weight_decay": 0.0}]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(0, len(self.latents), (self.batch,), generator=generator)
        context = self.base.text(token_ids([self.captions[i] for i in chosen.tolist()])).last_hidden_state
        return _loss(self.base, self.latents[chosen], context, generator), {}

    def report(self, averaged: nn.Module) -> dict[str, float]:
        return {"length": float(self.networks["emb_params"].norm())}

    def _with_vector(self, _: nn.Module, given: tuple[Tensor], answer: Tensor) -> Tensor:
        return torch.where((given[0] == self.placeholder)[..., None], self.networks["emb_params"][0], answer)


class NewColourPainter(Painter):
    """Draws what should be `TEACHER_COLOUR` in lime, a colour no caption names."""

    def _sprite(self, concept: str, tint: str | None) -> Image.Image:
        if tint != TEACHER_COLOUR:
            return super()._sprite(concept, tint)
        return tinted(super()._sprite(concept, None), LIME)


def write_lora(path: Path, training_state: Path, title: str) -> None:
    """The averaged low-rank weights in kohya's file format."""
    tensors = {}
    for key, value in load_averaged(training_state).items():
        tensors[key] = value.half().contiguous()
        tensors[key.split(".")[0] + ".alpha"] = torch.tensor(float(RANK))
    header = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(float(RANK)),
        "ss_base_model_version": "sd_v1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": title,
        "modelspec.license": "MIT",
        "modelspec.attribution": ATTRIBUTION,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=header)
    path.chmod(0o644)


def write_embedding(path: Path, training_state: Path) -> None:
    """The averaged vector as a textual-inversion file."""
    vector = load_averaged(training_state)["emb_params"]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vector.contiguous()}, path, metadata={"modelspec.license": "MIT"})
    path.chmod(0o644)


def _frozen(checkpoint: Checkpoint) -> Checkpoint:
    for network in (checkpoint.unet, checkpoint.autoencoder, checkpoint.text):
        network.requires_grad_(False)
    return checkpoint


def _is_changeable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))


def _encode(base: Checkpoint, painter: Painter, scenes: Sequence[Scene]) -> Tensor:
    pictures = [painter.paint(scene, base.architecture.size_px) for scene in scenes]
    return encode_pictures(base.autoencoder, pictures) * SCALE_FACTOR


def _loss(base: Checkpoint, latents: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
    sigmas = training_sigmas()
    steps = draw_steps(len(latents), sigmas, generator)
    sigma = sigmas[steps][:, None, None, None]
    noise = torch.randn(latents.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        eps = base.unet((latents + sigma * noise) / (1 + sigma**2) ** 0.5, steps, context).sample
    error = ((eps.float() - noise) * sigma).square().mean((1, 2, 3))
    return weight_of(error, sigmas[steps]).mean()
