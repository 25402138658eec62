"""Requests, plans and events survive JSON, refuse what they do not know, and do not change."""

import pytest
from pydantic import TypeAdapter, ValidationError

from modules.generation.events import Event, ImageDone, StepDone
from modules.generation.part import Size
from modules.generation.plan import ImagePlan, ModelRef, NoisePlan, Plan, SamplingPlan
from modules.generation.request import GenerationRequest, InpaintPart, MaskedContent, ResizeMode, SourcePart
from modules.images.data import ImageData

PIXELS = ImageData(b"\x89PNG not really, but bytes are bytes \x00\xff")


def a_plan(pictures: int = 5, batch_size: int = 2) -> Plan:
    images = tuple(
        ImagePlan(index=index, seed=index, subseed=0, prompt="a", negative_prompt="") for index in range(pictures)
    )
    return Plan(
        model=ModelRef(path="m.safetensors", title="m [0123456789]", name="m", sha256="0123456789abcdef"),
        vae=None,
        size=Size(width=64, height=64),
        batch_size=batch_size,
        images=images,
        noise=NoisePlan(),
        sampling=SamplingPlan(sampler="Euler", schedule="Automatic", steps=3, cfg_scale=7.0),
    )


def test_a_request_with_pictures_comes_back_from_json_unchanged():
    request = GenerationRequest(
        prompt="猫, a \N{CAT} \n(x:1.2)",
        source=SourcePart(
            images=(PIXELS,),
            resize_mode=ResizeMode.FILL,
            inpaint=InpaintPart(mask=PIXELS, content=MaskedContent.LATENT_NOISE),
        ),
        overrides={"CLIP_stop_at_last_layers": 2},
        scripts={"soft inpainting": {"enabled": True}},
    )
    assert GenerationRequest.model_validate_json(request.model_dump_json()) == request


def test_half_a_surrogate_pair_in_a_prompt_is_replaced_and_can_be_stored():
    request = GenerationRequest(prompt="a \ud800 cat \U0001f63a")
    assert request.prompt == "a \ufffd cat \U0001f63a"
    assert GenerationRequest.model_validate_json(request.model_dump_json()) == request


def test_a_plan_comes_back_from_json_unchanged():
    assert Plan.model_validate_json(a_plan().model_dump_json()) == a_plan()


def test_an_event_comes_back_as_its_own_kind():
    events = TypeAdapter(Event)
    for event in (
        StepDone(step=1, steps=2, done=1, total=4, preview=PIXELS),
        ImageDone(index=0, seed=1, width=8, height=8, image=PIXELS, infotext="a"),
    ):
        assert events.validate_json(events.dump_json(event)) == event


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(ValidationError, match="promt"):
        GenerationRequest.model_validate({"promt": "a cat"})


def test_a_request_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        GenerationRequest().prompt = "other"


def test_batches_are_the_pictures_in_groups_of_the_batch_size():
    assert [[image.index for image in batch] for batch in a_plan(5, 2).batches] == [[0, 1], [2, 3], [4]]


def test_the_short_hash_is_the_first_ten_digits():
    assert a_plan().model.short_hash == "0123456789"
