"""Jobs as others see them."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.generation.events import JobDone
from modules.images.formats import encode
from modules.jobs.runner import media_type
from modules.jobs.view import info_object
from modules.settings.saving import PICTURE_FORMATS
from tests.support.plans import small_plan


@pytest.mark.parametrize("told, expected", [({"Conditional mask weight": "1.0"}, True), ({}, False)])
def test_info_says_whether_the_network_saw_a_masked_picture(told, expected):
    info = info_object(small_plan(), (), JobDone(extra_parameters=told), started=None)
    assert info["is_using_inpainting_conditioning"] is expected


@pytest.mark.parametrize("extension", PICTURE_FORMATS)
def test_a_job_knows_every_format_that_the_settings_allow(extension):
    expected = {"jpg": "jpeg"}.get(extension, extension)
    assert media_type(encode(Image.new("RGB", (16, 16)), extension)) == f"image/{expected}"
