"""Every family's small checkpoint through the whole engine, and against diffusers' own pipelines on the same weights.

The table in modules/models/README.md points here.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LDMTextToImagePipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders import single_file_utils
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertTokenizer, T5Config, T5EncoderModel

import modules.sampling  # noqa: F401 - registers the samplers
from modules.engine.engine import Engine
from modules.errors import InvalidRequest, ModelFileBroken, ModelUnsupported
from modules.generation.events import Event, ImageDone, JobDone, Notice
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.jobs.control import ControlBox
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.embeddings import EmbeddingStore
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.models.places import ModelFolders
from modules.planning.planner import plan
from modules.prompts.t5 import t5_tokenizer
from modules.settings.schema import Settings
from modules.settings.stable_diffusion import GenerationOptions
from modules.upscaling.catalog import Upscalers
from tests.support.checkpoints import write_random
from tests.support.tiny import TINY, tiny_x4_upscaler_layout

ROOT = Path(__file__).parents[2]
UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer."
FAMILIES = list(TINY)
WITH_HYPERNETWORKS = [name for name in FAMILIES if not name.startswith("sd3")]
WITH_PICTURES = FAMILIES
LATENTS = (4, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of all families, and for each a LoRA, an embedding and a hypernetwork named after it."""
    folder = tmp_path_factory.mktemp("families")
    for kind in ("checkpoints", "loras", "embeddings", "hypernetworks"):
        (folder / kind).mkdir()
    for seed, (name, (layout, metadata)) in enumerate(TINY.items(), start=1):
        write_random(folder / "checkpoints" / f"{name}.safetensors", layout, seed=seed, metadata=metadata)
        random = torch.Generator().manual_seed(seed)
        save_file(_lora(layout, random), folder / "loras" / f"{name}-lora.safetensors")
        save_file(_embedding(layout, random), folder / "embeddings" / f"{name}-word.safetensors")
        width = next((shape[1] for key, shape in layout.items() if key.endswith("attn2.to_k.weight")), None)
        if width is None:
            continue  # SD 3 has no cross-attention
        layer = {"linear.0.weight": torch.randn(width, width, generator=random), "linear.0.bias": torch.zeros(width)}
        torch.save({width: (layer, layer)}, folder / "hypernetworks" / f"{name}-hyper.pt")
    wide = {"linear.0.weight": torch.ones(1024, 1024), "linear.0.bias": torch.zeros(1024)}
    torch.save({1024: (wide, wide)}, folder / "hypernetworks" / "wide.pt")
    return folder


def _lora(layout: dict[str, tuple[int, ...]], random: torch.Generator) -> dict[str, Tensor]:
    """A kohya LoRA on a cross-attention (by its LDM name) and on the first layer of every text encoder."""
    key = next(key for key in layout if key.endswith(("attn2.to_k.weight", "x_block.attn.qkv.weight")))
    modules = {"lora_unet_" + key.removeprefix(UNET).removesuffix(".weight").replace(".", "_"): layout[key]}
    texts = {
        re.sub(r"(text_model|transformer\.resblocks|token_embedding).*", "", key)
        for key in layout
        if "token_embedding" in key
    }
    for prefix in texts:
        number = {"conditioner.embedders.0.transformer.": "1", "conditioner.embedders.1.model.": "2"}.get(prefix, "")
        number = "2" if prefix == "conditioner.embedders.0.model." or "clip_g" in prefix else number
        width = next(s[1] for k, s in layout.items() if k.startswith(prefix) and k.endswith("token_embedding.weight"))
        modules[f"lora_te{number}_text_model_encoder_layers_0_self_attn_v_proj"] = (width, width)
    tensors = {}
    for name, (rows, columns) in modules.items():
        tensors[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=random)
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=random)
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    return tensors


def _embedding(layout: dict[str, tuple[int, ...]], random: torch.Generator) -> dict[str, Tensor]:
    widths = {
        key: shape[1] for key, shape in layout.items() if key.endswith(("token_embedding.weight", "token_emb.weight"))
    }
    if any(key.startswith(("conditioner.", "text_encoders.")) for key in widths):
        is_small = {key: ".embedders.0.transformer." in key or ".clip_l." in key for key in widths}
        names = {key: "clip_l" if is_small[key] else "clip_g" for key in widths}
    else:
        names = dict.fromkeys(widths, "emb_params")
    return {names[key]: torch.randn(2, width, generator=random) for key, width in widths.items()}


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Catalog:
    folders = {kind: (folder / kind,) for kind in ("checkpoints", "loras", "embeddings", "hypernetworks")}
    return Catalog(ModelFolders(**folders, upscalers={"ESRGAN": (folder / "upscalers",)}))


@pytest.fixture(scope="module")
def engine(catalog: Catalog) -> Iterator[Engine]:
    manager = ModelManager(DevicePolicy(use_cpu=("all",), no_half=True))
    yield Engine(manager, catalog=catalog, embeddings=EmbeddingStore(lambda: catalog.embeddings))
    manager.unload()


Generate = Callable[..., list[Event]]


@pytest.fixture
def generate(engine: Engine, catalog: Catalog) -> Generate:
    return generator(engine, catalog)


def generator(engine: Engine, catalog: Catalog) -> Generate:
    """`generate("sdxl", prompt=…, source=…)`: all events of one small job with that checkpoint."""

    def generate(checkpoint: str, *, steps: int = 2, **fields: Any) -> list[Event]:
        catalog.refresh()
        request = {
            "prompt": "a cat",
            "seed": {"value": 1},
            "size": {"width": 64, "height": 64},
            "sampling": {"sampler": "Euler", "steps": steps, "cfg_scale": 3.0},
            "model": {"checkpoint": checkpoint},
            "save": False,
        }
        planned = plan(
            GenerationRequest(**(request | fields)),
            catalog=catalog,
            settings=Settings(),
            upscalers=Upscalers.of(catalog).names(),
        )
        return list(engine.generate(planned, ControlBox()))

    return generate


def picture(events: list[Event]) -> np.ndarray:
    (image,) = (event.image for event in events if isinstance(event, ImageDone) and event.role == "sample")
    return np.asarray(Image.open(io.BytesIO(image.content)).convert("RGB")).astype(int)


def infotext(events: list[Event]) -> str:
    (done,) = (event for event in events if isinstance(event, JobDone))
    return done.infotexts[0]


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def noise_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether pictures differ almost everywhere."""
    return bool((one != other).mean() > 0.5)


@pytest.mark.parametrize("name", FAMILIES)
def test_text_makes_a_picture_that_depends_on_the_text_and_the_seed_alone(generate: Generate, name: str) -> None:
    first = picture(generate(name))
    assert first.shape == (64, 64, 3) and first.std() > 1
    assert np.array_equal(picture(generate(name)), first)
    assert differs(picture(generate(name, seed={"value": 2})), first)
    assert not np.array_equal(picture(generate(name, prompt="two dogs")), first)


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_a_picture_is_changed_and_shines_through(generate: Generate, name: str) -> None:
    sources = [noise_picture(seed) for seed in (1, 2)]
    made = [
        picture(generate(name, source={"images": [ImageData.from_image(image)], "denoising_strength": 0.3}, steps=8))
        for image in sources
    ]
    assert differs(made[0], made[1]) and differs(made[0], np.asarray(sources[0]).astype(int))


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_only_the_masked_half_is_repainted(generate: Generate, name: str) -> None:
    image, mask = noise_picture(3), Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    inpaint = {"mask": ImageData.from_image(mask), "blur_x": 0, "blur_y": 0}
    made = picture(generate(name, source={"images": [ImageData.from_image(image)], "inpaint": inpaint}))
    given = np.asarray(image).astype(int)
    assert np.array_equal(made[:, :32], given[:, :32])
    assert differs(made[:, 32:], given[:, 32:])


@pytest.mark.parametrize("name", FAMILIES)
def test_generate_makes_a_picture_of_each_family_from_the_command_line(folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "a.png"
    command = [
        sys.executable, str(ROOT / "webui.py"), "generate", "a cat", "--model", name, "--out", str(out), "--steps", "1",
        "--seed", "1", "--width", "64", "--height", "64", "--sampler", "Euler",
        "--ckpt-dir", str(folder / "checkpoints"), "--data-dir", str(tmp_path / "data"), "--use-cpu", "all",
        "--no-half",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    made = Image.open(out)
    assert made.size == (64, 64) and f"Model: {name}," in made.info["parameters"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_lora_changes_the_picture_and_is_gone_afterwards(generate: Generate, name: str) -> None:
    plain = picture(generate(name))
    parts = ("1:0", "0:1") if name != "ldm" else ("0:1",)  # nobody trains LoRAs for that text encoder
    for strengths in parts:  # the text encoder's part alone, the UNet's alone
        events = generate(name, prompt=f"a cat<lora:{name}-lora:{strengths}>")
        assert not np.array_equal(picture(events), plain), strengths
        assert notices(events) == [] and f'Lora hashes: "{name}-lora: ' in infotext(events)
        (network,) = next(event.networks for event in events if isinstance(event, JobDone))
        assert (network.name, network.model, network.applied) == (
            f"{name}-lora",
            name,
            network.total > 0 and network.total,
        )
    assert np.array_equal(picture(generate(name)), plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_textual_inversion_stands_for_its_vectors(generate: Generate, name: str) -> None:
    events = generate(name, prompt=f"a {name}-word")
    assert f'TI hashes: "{name}-word: ' in infotext(events)
    assert not np.array_equal(picture(events), picture(generate(name, prompt="a word")))


@pytest.mark.parametrize("name", WITH_HYPERNETWORKS)
def test_a_hypernetwork_changes_the_picture_by_its_multiplier_and_is_gone_afterwards(
    generate: Generate, name: str
) -> None:
    plain = picture(generate(name))
    events = generate(name, prompt=f"a cat<hypernet:{name}-hyper:0.5>")
    assert not np.array_equal(picture(events), plain) and notices(events) == []
    assert np.array_equal(picture(generate(name, prompt=f"a cat<hypernet:{name}-hyper:0>")), plain)
    assert np.array_equal(picture(generate(name)), plain)


def test_an_x4_upscaler_enlarges_for_hires_fix_and_makes_no_pictures_of_its_own(
    generate: Generate, folder: Path
) -> None:
    for kind in ("upscalers", "checkpoints"):
        (folder / kind).mkdir(exist_ok=True)
        write_random(folder / kind / "sd-x4.safetensors", tiny_x4_upscaler_layout(), seed=9)
    hires = {"scale": 2.0, "steps": 2, "denoising_strength": 0.1}
    enlarged = generate("sd1", hires={**hires, "upscaler": "sd-x4"})
    assert picture(enlarged).shape == (128, 128, 3) and "Hires upscaler: sd-x4" in infotext(enlarged)
    assert differs(picture(enlarged), picture(generate("sd1", hires={**hires, "upscaler": "Lanczos"})))
    with pytest.raises(ModelUnsupported, match=r"sd-x4 enlarges pictures.*put its file into models/ESRGAN"):
        generate("sd-x4")


def test_networks_for_another_family_say_so_and_change_nothing(generate: Generate) -> None:
    events = generate("sd1", prompt="a cat<lora:sdxl-lora:1><hypernet:wide:1><hypernet:nowhere:1>")
    assert np.array_equal(picture(events), picture(generate("sd1")))
    lora, missing, hyper = (next(n for n in notices(events) if word in n) for word in ("LoRA", "nowhere", "width"))
    assert (
        "made for another kind of model and is left out" in lora
        and "Hypernetwork not found" in missing
        and "1024" in hyper
    )
    left_out = "sdxl-lora: made for another kind of model, wide: made for another kind of model"
    assert f'Networks not applied: "{left_out}"' in infotext(events)


# Against diffusers


def diffusers_networks(model: Model, path: Path) -> dict[str, Any]:
    """UNet and VAE as diffusers' own conversion makes them of the file, in the configuration that ours have."""
    tensors = load_file(path)
    config, vae_config = (
        {key: value for key, value in network.config.items() if key != "_use_default_values"}
        for network in (model.unet, model.vae)
    )
    extra: dict[str, Any] = {
        "layers_per_block": 1,
        "class_embed_type": None,
        "addition_embed_type": None,
        "sample_size": 64,
    }
    if model.family == "sdxl":
        extra |= {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    config |= extra
    unet = UNet2DConditionModel.from_config(config)
    unet.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), dict(config)))
    vae = AutoencoderKL.from_config(vae_config | {"scaling_factor": model.scale_factor})
    vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)))
    return {"unet": unet.float().eval(), "vae": vae.float().eval()}


def scheduler(model: Model) -> EulerDiscreteScheduler:
    """k-diffusion's levels; with 4 steps its times are 999, 666, 333 and 0."""
    return EulerDiscreteScheduler(
        steps_offset=1,  # without effect on linspace; the pipelines ask for it
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="linspace",
        prediction_type={"epsilon": "epsilon", "v": "v_prediction"}[model.prediction],
    )


@torch.no_grad()
def embed(model: Model, text: str) -> tuple[Tensor, Tensor | None]:
    """What transformers' text models make of a text, put together as diffusers' pipelines do."""
    states, pooled = [], None
    for tower in model.towers:
        ids = tower.tokenize(text)
        tokens = torch.tensor([[tower.start_id, *ids, tower.end_id, *[tower.pad_id] * (75 - len(ids))]])
        out = tower.network(tokens, output_hidden_states=True)
        if model.family == "sdxl":
            states.append(out.hidden_states[-2])
        elif model.family == "sd2":
            states.append(tower.network.final_layer_norm(out.hidden_states[-2]))
        else:
            states.append(out.last_hidden_state)
        if tower.projection is not None:
            pooled = out.last_hidden_state[:, len(ids) + 1] @ tower.projection
    return torch.cat(states, dim=-1), pooled


@pytest.mark.parametrize("name", ["sd1", "sd2", "sd2-v", "sdxl", "sd1-inpainting", "sd2-inpainting"])
def test_a_picture_is_the_one_that_diffusers_pipeline_makes(
    generate: Generate, engine: Engine, catalog: Catalog, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the pipelines draw a sample of what an inpainting model sees, we take the mean
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    ours = picture(generate(name, steps=4, prompt="a red apple", negative_prompt="blurry"))
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))[None]
    with engine.manager.use(catalog.find_checkpoint(name)) as model, torch.no_grad():
        (positive, pooled), (negative, negative_pooled) = embed(model, "a red apple"), embed(model, "blurry")
        parts = diffusers_networks(model, folder / "checkpoints" / f"{name}.safetensors")
        parts |= {"scheduler": scheduler(model), "tokenizer": None, "text_encoder": None}
        call = {"prompt_embeds": positive, "negative_prompt_embeds": negative, "latents": noise}
        if model.family == "sdxl":
            pipeline = StableDiffusionXLPipeline(**parts, tokenizer_2=None, text_encoder_2=None, add_watermarker=False)
            call |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": negative_pooled}
        elif model.variant == "inpainting":
            pipeline = StableDiffusionInpaintPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
            # text alone is everything masked over mid grey
            call |= {"image": torch.zeros(1, 3, 64, 64), "mask_image": torch.ones(1, 1, 64, 64), "strength": 1.0}
            call |= {"generator": torch.Generator().manual_seed(0)}
        else:
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            **call, height=64, width=64, num_inference_steps=4, guidance_scale=3.0, output_type="np"
        ).images[0]
    assert np.abs(ours - np.floor(made * 255)).max() <= 1  # a level where a value lies on the edge of rounding


def test_a_picture_of_latent_diffusion_is_the_one_that_diffusers_pipeline_makes(
    generate: Generate, engine: Engine, catalog: Catalog, folder: Path, tmp_path: Path
) -> None:
    sampling = {"sampler": "DDIM", "steps": 4, "cfg_scale": 3.0}  # the pipeline's own kind; it scales no input
    ours = picture(generate("ldm", sampling=sampling, prompt="A red Apple, café!"))
    path = folder / "checkpoints" / "ldm.safetensors"
    words = resources.files("modules.prompts").joinpath("data", "bert_vocabulary.txt.gz").read_bytes()
    (tmp_path / "vocab.txt").write_bytes(gzip.decompress(words))
    with engine.manager.use(catalog.find_checkpoint("ldm")) as model, torch.no_grad():
        networks = diffusers_networks(model, path)
        sizes = {"encoder_layers": 2, "encoder_ffn_dim": 256, "encoder_attention_heads": 2, "d_model": 64}
        bert = LDMBertModel(LDMBertConfig(**sizes, dropout=0.0)).eval()
        _fill_bert(bert, {key.removeprefix(TEXT): value.float() for key, value in load_file(path).items()})
        pipeline = LDMTextToImagePipeline(
            vqvae=networks["vae"],
            bert=bert,
            tokenizer=BertTokenizer(vocab=str(tmp_path / "vocab.txt"), model_max_length=77),
            unet=networks["unet"],
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                clip_sample=False,
                set_alpha_to_one=False,
            ),
        )
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))[None]
    made = pipeline(
        "A red Apple, café!",
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=noise,
        output_type="np",
    ).images[0]
    assert np.abs(ours - np.floor(made * 255)).max() <= 1


def _fill_bert(bert: LDMBertModel, tensors: dict[str, Tensor]) -> None:
    """x-transformers' weights in diffusers' module, layer by layer."""
    bert.to_logits.load_state_dict({leaf: tensors[f"to_logits.{leaf}"] for leaf in ("weight", "bias")})
    encoder = bert.model
    encoder.embed_tokens.weight.data = tensors["token_emb.weight"]
    encoder.embed_positions.weight.data = tensors["pos_emb.emb.weight"]
    encoder.layer_norm.weight.data, encoder.layer_norm.bias.data = tensors["norm.weight"], tensors["norm.bias"]
    for number, layer in enumerate(encoder.layers):
        attention, feed = (f"attn_layers.layers.{2 * number + part}." for part in (0, 1))
        pairs = {
            layer.self_attn_layer_norm: f"{attention}0.0",
            layer.final_layer_norm: f"{feed}0.0",
            layer.self_attn.q_proj: f"{attention}1.to_q",
            layer.self_attn.k_proj: f"{attention}1.to_k",
            layer.self_attn.v_proj: f"{attention}1.to_v",
            layer.self_attn.out_proj: f"{attention}1.to_out",
            layer.fc1: f"{feed}1.net.0.0",
            layer.fc2: f"{feed}1.net.2",
        }
        for module, name in pairs.items():
            module.load_state_dict({leaf: tensors[f"{name}.{leaf}"] for leaf in module.state_dict()})


@torch.no_grad()
def embed_for_sd3(model: Model, tensors: dict[str, Tensor], text: str) -> tuple[Tensor, Tensor]:
    """Prompt embeddings and pooled ones as diffusers' SD 3 pipeline makes them, with 77 tokens of T5 or of zeros."""
    states, pooled = [], []
    for tower, pad in zip(model.towers, (49407, 0), strict=True):
        ids = tower.tokenize(text)
        out = tower.network(torch.tensor([[49406, *ids, 49407, *[pad] * (75 - len(ids))]]), output_hidden_states=True)
        states.append(out.hidden_states[-2])
        pooled.append(out.last_hidden_state[:, len(ids) + 1])
    pooled[1] = pooled[1] @ tensors["text_encoders.clip_g.transformer.text_projection.weight"].float().T
    clip = torch.nn.functional.pad(torch.cat(states, dim=-1), (0, 96 - 64))
    passage = torch.zeros_like(clip)
    for tower in model.passage_towers:
        prefix = "text_encoders.t5xxl.transformer."
        network = T5EncoderModel(T5Config(**tower.network.config.to_diff_dict() | {"is_decoder": False}))
        own = {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}
        network.load_state_dict(own | {"encoder.embed_tokens.weight": own["shared.weight"]})
        ids = [*t5_tokenizer().encode(text), 1]
        passage = network.eval()(torch.tensor([ids + [0] * (77 - len(ids))])).last_hidden_state
    return torch.cat([clip, passage], dim=1), torch.cat(pooled, dim=-1)


def test_a_lora_for_t5_acts_where_it_is_loaded_and_is_else_said_to_be_for_it(generate: Generate, folder: Path) -> None:
    layout, _ = TINY["sd3.5"]
    rows, columns = layout["text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.v.weight"]
    random, t5 = torch.Generator().manual_seed(5), "encoder_block_0_layer_0_SelfAttention_v"
    names = (f"lora_te3_{t5}.lora_up", f"lora_te3_{t5}.lora_down")  # kohya's, then diffusers'
    names += (
        "text_encoder_3.encoder.block.1.layer.0.SelfAttention.v.lora_B",
        "text_encoder_3.encoder.block.1.layer.0.SelfAttention.v.lora_A",
    )
    shapes = ((rows, 4), (4, columns)) * 2
    tensors = {f"{n}.weight": torch.randn(shape, generator=random) for n, shape in zip(names, shapes, strict=True)}
    save_file(tensors, folder / "loras" / "t5.safetensors")
    save_file(tensors | _lora(layout, random), folder / "loras" / "all.safetensors")

    def reports(events: list[Event]) -> tuple[int, int, int]:
        (one,) = next(event.networks for event in events if isinstance(event, JobDone))
        return one.applied, one.total, one.for_t5

    loaded = {"overrides": {"sd3_enable_t5": True}}
    events = generate("sd3.5", prompt="a cat <lora:t5:1>", **loaded)
    assert reports(events) == (2, 2, 0) and notices(events) == []
    assert not np.array_equal(picture(events), picture(generate("sd3.5", **loaded)))
    events = generate("sd3.5", prompt="a cat <lora:t5:1>")
    assert reports(events) == (0, 2, 2) and np.array_equal(picture(events), picture(generate("sd3.5")))
    told = "2 are for the text encoder T5, which is not loaded"
    assert notices(events) == [f'LoRA "t5": 0 of 2 modules applied, {told}']
    assert 'Networks not applied: "t5: made for T5 which is not loaded"' in infotext(events)
    events = generate("sd3.5", prompt="a cat <lora:all:1>")
    applied, total, for_t5 = reports(events)
    assert (total - applied, for_t5) == (2, 2)
    assert notices(events) == [f'LoRA "all": {applied} of {total} modules applied, {told}']


@pytest.mark.parametrize("name, options", [("sd3", {}), ("sd3.5", {}), ("sd3.5", {"sd3_enable_t5": True})])
def test_a_picture_of_sd3_is_the_one_that_diffusers_pipeline_makes(
    generate: Generate, engine: Engine, catalog: Catalog, folder: Path, name: str, options: dict[str, Any]
) -> None:
    ours = picture(generate(name, steps=4, prompt="a red apple", negative_prompt="blurry", overrides=options))
    noise = torch.randn((16, 8, 8), generator=torch.Generator().manual_seed(1))[None]
    tensors = load_file(folder / "checkpoints" / f"{name}.safetensors")
    used = GenerationOptions(**options)
    with engine.manager.use(catalog.find_checkpoint(name), options=used) as model, torch.no_grad():
        assert len(model.passage_towers) == len(options)
        (positive, pooled), (negative, negative_pooled) = (
            embed_for_sd3(model, tensors, text) for text in ("a red apple", "blurry")
        )
        config, vae_config = (
            {key: value for key, value in network.config.items() if key != "_use_default_values"}
            for network in (model.unet, model.vae)
        )
        transformer = SD3Transformer2DModel.from_config(config)
        transformer.load_state_dict(single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(tensors)))
        formats = {"scaling_factor": 1.5305, "shift_factor": 0.0609}
        vae = AutoencoderKL.from_config(vae_config | formats)
        vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)))
    texts = dict.fromkeys(f"{kind}{n}" for kind in ("text_encoder", "tokenizer") for n in ("", "_2", "_3"))
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer.float().eval(),
        vae=vae.float().eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        **texts,
    )
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        pooled_prompt_embeds=pooled,
        negative_pooled_prompt_embeds=negative_pooled,
        latents=noise,
        sigmas=[1.0, 0.667, 0.334, 0.001],  # A1111's times before the shift, 999, 666, 333 and 0 of 1000
        height=64,
        width=64,
        guidance_scale=3.0,
        output_type="np",
    ).images[0]
    assert np.abs(ours - np.floor(made * 255)).max() <= 1


def test_a_side_that_is_no_multiple_of_16_is_made_all_the_same(generate: Generate) -> None:
    assert picture(generate("sd3", size={"width": 72, "height": 88})).shape == (88, 72, 3)


def test_a_picture_larger_than_sd3_has_places_for_is_refused(generate: Generate) -> None:
    with pytest.raises(InvalidRequest, match="pictures of up to 256 pixels a side, 264x64 were asked"):
        generate("sd3", size={"width": 264, "height": 64})


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "LCM", "Restart"])
def test_samplers_run_a_flow_model(generate: Generate, sampler: str) -> None:
    sampling = {"sampler": sampler, "steps": 4, "cfg_scale": 3.0}
    made = generate("sd3", sampling=sampling)
    assert picture(made).std() > 1 and f"Sampler: {sampler}" in infotext(made)


def test_what_cannot_run_a_flow_model_says_so(generate: Generate) -> None:
    with pytest.raises(InvalidRequest, match=r"DDIM.* do not run flow models such as SD3"):
        generate("sd3", sampling={"sampler": "DDIM", "steps": 2})
    with pytest.raises(InvalidRequest, match="Align Your Steps was measured for SD 1 and SDXL"):
        generate("sd3", sampling={"sampler": "Euler", "steps": 2, "schedule": "Align Your Steps"})


def test_text_encoders_of_sd3_may_lie_beside_it(generate: Generate, folder: Path) -> None:
    tensors = load_file(folder / "checkpoints" / "sd3.safetensors")
    inside = {key: value for key, value in tensors.items() if key.startswith("text_encoders.")}
    save_file(
        {key: value for key, value in tensors.items() if key not in inside}, folder / "checkpoints" / "bare.safetensors"
    )
    with pytest.raises(ModelFileBroken, match=r"no text encoders clip_l and clip_g.*put clip_l\.safetensors"):
        generate("bare")
    (folder / "clip").mkdir()
    for name in ("clip_l", "clip_g"):
        prefix = f"text_encoders.{name}.transformer."
        own = {key.removeprefix(prefix): value for key, value in inside.items() if key.startswith(prefix)}
        save_file(own, folder / "clip" / f"{name}.safetensors")
    assert np.array_equal(picture(generate("bare")), picture(generate("sd3")))


def test_the_table_of_families_names_tests_that_exist() -> None:
    root = Path(__file__).parents[2]
    table = (root / "modules" / "models" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:[\w/.]+::|…::)?(test_\w+)`", table))
    written = {
        name
        for file in (root / "tests").rglob("test_model_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    } | set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    assert len(named) >= 10 and named <= written
