"""A plan and finished pictures for tests of saving."""

from __future__ import annotations

from typing import Any

from PIL import Image

from modules.generation.events import ImageDone
from modules.generation.part import Size
from modules.generation.plan import ImagePlan, ModelRef, NoisePlan, Plan, SamplingPlan, SavingPlan, VaeRef
from modules.images import formats
from modules.images.data import ImageData


def plan(*, options: dict[str, Any] | None = None, kind: str = "txt2img", count: int = 1, **changes: Any) -> Plan:
    prompt = changes.pop("prompt", "a red cat")
    return Plan(
        **{
            "model": ModelRef(path="m/dream.safetensors", title="dream [abc]", name="dream", sha256="ab" * 32),
            "vae": VaeRef(path="VAE/soft.ema.pt", name="soft.ema.pt"),
            "size": Size(width=64, height=48),
            "batch_size": 1,
            "images": tuple(
                ImagePlan(index=n, seed=100 + n, subseed=-1, prompt=prompt, negative_prompt="dog") for n in range(count)
            ),
            "noise": NoisePlan(),
            "sampling": SamplingPlan(sampler="DPM++ 2M", schedule="Karras", steps=20, cfg_scale=7.0),
            "saving": SavingPlan(kind=kind, options=options or {}, owner=changes.pop("owner", None)),
            **changes,
        }
    )


def done(
    index: int = 0, *, seed: int | None = None, role: str = "sample", color: str = "red", **changes: Any
) -> ImageDone:
    size = changes.pop("size", (64, 48))
    infotext = changes.pop("infotext", "a red cat\nSteps: 20, Seed: 100, Size: 64x48")
    content = formats.encode(Image.new("RGB", size, color), "png", texts={"parameters": infotext})
    return ImageDone(
        **{
            "role": role,
            "index": index,
            "seed": 100 + index if seed is None else seed,
            "prompt": "a red cat",
            "negative_prompt": "dog",
            "width": size[0],
            "height": size[1],
            "image": ImageData(content),
            "infotext": infotext,
            **changes,
        }
    )
