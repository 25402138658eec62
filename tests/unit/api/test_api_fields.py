from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from pydantic import BaseModel

from modules.api import fields
from modules.api.bodies import Img2ImgBody, Txt2ImgBody
from modules.errors import InvalidImage, InvalidRequest, UnknownName
from modules.generation.part import Size
from modules.generation.request import GenerationRequest, MaskedContent, ResizeMode


def leaves(model, prefix=""):
    """Dotted paths of every field of a model that is not a part itself."""
    for name, field in model.model_fields.items():
        parts = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if parts:
            yield from leaves(parts[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _kinds(annotation):
    yield annotation
    yield from getattr(annotation, "__args__", ())


@pytest.fixture(scope="module")
def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_every_request_field_is_in_the_table_or_said_to_be_missing():
    carried = {*fields.COMMON.values(), *fields.HIRES.values(), *fields.SOURCE.values(), *fields.INPAINT.values()}
    assert set(leaves(GenerationRequest)) == carried | fields.NOT_IN_API
    assert not carried & fields.NOT_IN_API


@pytest.mark.parametrize("body", [Txt2ImgBody, Img2ImgBody])
def test_every_rest_field_means_something_or_is_said_to_mean_nothing(body):
    assert set(body.model_fields) <= set(fields.table_of(body())) | fields.NOT_IN_REQUEST


def test_an_empty_body_has_a1111s_defaults():
    request = fields.to_request(Txt2ImgBody())
    assert (request.sampling.steps, request.sampling.sampler, request.sampling.cfg_scale) == (50, "Euler", 7.0)
    assert request.save is False
    assert request.hires is None and request.source is None and request.refiner is None


def test_null_is_the_default():
    body = Txt2ImgBody(steps=None, prompt=None, styles=None, seed=None, width=None, override_settings=None)
    assert fields.to_request(body) == fields.to_request(Txt2ImgBody())


def test_unknown_fields_are_ignored():
    assert fields.to_request(Txt2ImgBody(no_such_field=1)) == fields.to_request(Txt2ImgBody())


@pytest.mark.parametrize(
    "given, sampler, schedule",
    [
        ({"sampler_name": "Euler a"}, "Euler a", "Automatic"),
        ({"sampler_index": "Heun"}, "Heun", "Automatic"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Automatic"),  # Karras is its default
        ({"sampler_name": "Euler Karras"}, "Euler", "Karras"),
        ({"sampler_name": "Euler Karras", "scheduler": "Exponential"}, "Euler", "Exponential"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Karras"}, "DPM++ 2M", "Karras"),
    ],
)
def test_sampler_labels_of_every_age_are_understood(given, sampler, schedule):
    sampling = fields.to_request(Txt2ImgBody(**given)).sampling
    assert (sampling.sampler, sampling.schedule) == (sampler, schedule)


def test_an_unknown_sampler_is_an_error_with_suggestions():
    with pytest.raises(UnknownName, match='did you mean "Euler a"'):
        fields.to_request(Txt2ImgBody(sampler_name="Eulr a"))


def test_hires_fix_takes_its_fields():
    body = Txt2ImgBody(
        enable_hr=True, denoising_strength=0.4, hr_scale=1.5, hr_sampler_name="Use same sampler", hr_scheduler="Karras",
        hr_checkpoint_name="Use same checkpoint", hr_second_pass_steps=7,
    )  # fmt: skip
    hires = fields.to_request(body).hires
    assert (hires.upscaler, hires.denoising_strength, hires.scale, hires.steps) == ("Latent", 0.4, 1.5, 7)
    assert (hires.sampler, hires.schedule, hires.checkpoint) == (None, "Karras", None)


def test_a_client_from_before_2023_gives_the_first_pass_size():
    body = Txt2ImgBody(
        enable_hr=True, denoising_strength=0.5, firstphase_width=512, firstphase_height=384, width=1024, height=768
    )
    request = fields.to_request(body)
    assert request.size == Size(width=512, height=384)
    assert request.hires.scale == 2.0  # the factor still decides how much larger the second pass is, as in A1111


def test_inpainting_starts_from_a1111s_defaults(picture):
    body = Img2ImgBody(init_images=[picture], mask=picture)
    source = fields.to_request(body).source
    assert source.resize_mode is ResizeMode.JUST_RESIZE
    inpaint = source.inpaint
    assert (inpaint.content, inpaint.only_masked, inpaint.padding) == (MaskedContent.FILL, True, 0)
    assert (inpaint.blur_x, inpaint.blur_y, inpaint.invert) == (4, 4, False)


def test_mask_blur_sets_both_sides(picture):
    inpaint = fields.to_request(Img2ImgBody(init_images=[picture], mask=picture, mask_blur=9)).source.inpaint
    assert (inpaint.blur_x, inpaint.blur_y) == (9, 9)


def test_pictures_may_be_data_addresses(picture):
    body = Img2ImgBody(init_images=[f"data:image/png;base64,{picture}"])
    assert fields.to_request(body).source.images[0].size == (16, 8)


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range_is_said_with_what_there_is(picture, index):
    with pytest.raises(InvalidRequest, match=r"inpainting_fill is .*0 \(fill\), 1 \(original\)"):
        fields.to_request(Img2ImgBody(init_images=[picture], mask=picture, inpainting_fill=index))


def test_what_is_no_picture_names_its_field():
    with pytest.raises(InvalidImage, match="init_images: not a picture"):
        fields.to_request(Img2ImgBody(init_images=[base64.b64encode(b"hello").decode()]))


def test_a_bad_value_names_the_rest_field():
    with pytest.raises(InvalidRequest, match="n_iter"):
        fields.to_request(Txt2ImgBody(n_iter=0))
