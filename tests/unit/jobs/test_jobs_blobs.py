from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from modules.generation.request import GenerationRequest, SourcePart
from modules.images.data import ImageData
from modules.jobs.blobs import BlobStore, pack, unpack


@pytest.fixture
def picture():
    return ImageData.from_image(Image.effect_noise((64, 64), 50))


def test_images_leave_the_text_and_come_back(blobs, picture):
    request = GenerationRequest(source=SourcePart(images=(picture, picture)))
    text, used = pack(request, blobs)
    assert used == {picture.sha256}
    assert len(text) < 2000 < len(picture.to_base64())
    assert GenerationRequest.model_validate(unpack(text, blobs)) == request


def test_the_same_picture_is_kept_once(blobs, picture):
    assert blobs.put(picture.content) == blobs.put(picture.content)
    assert sum(path.is_file() for path in blobs.folder.rglob("*")) == 1


@given(st.text() | st.just("blob:" + "0" * 64) | st.text().map(lambda text: "blob:" + text))
def test_a_prompt_that_looks_like_a_reference_stays_a_prompt(tmp_path_factory, prompt):
    class Said(BaseModel):
        prompt: str

    store = BlobStore(tmp_path_factory.getbasetemp() / "none")
    text, used = pack(Said(prompt=prompt), store)
    assert used == frozenset()
    assert unpack(text, store) == {"prompt": prompt}


def test_only_old_blobs_that_nobody_needs_are_swept(blobs):
    kept, dropped = blobs.put(b"kept"), blobs.put(b"dropped")
    assert blobs.sweep({kept}, younger_than=time.time() - 60) == 0  # a job may just be about to name it
    assert blobs.sweep({kept}, younger_than=time.time() + 60) == 1
    assert blobs.get(kept) == b"kept"
    with pytest.raises(FileNotFoundError):
        blobs.get(dropped)


def test_packed_text_is_json_of_plain_values(blobs):
    text, _ = pack(GenerationRequest(prompt="ünïcode 🍎"), blobs)
    assert json.loads(text)["prompt"] == "ünïcode 🍎"
