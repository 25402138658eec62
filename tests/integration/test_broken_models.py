"""A model file that cannot be used costs one message: the server goes on with the model it had."""

from __future__ import annotations

from tests.support.server import small_checkpoints

TINY = {"prompt": "a cat", "seed": 1, "steps": 2, "width": 64, "height": 64}


def test_a_truncated_checkpoint_that_is_chosen_gives_way_to_the_one_in_use(start, tmp_path):
    whole = next(small_checkpoints().glob("*.safetensors")).read_bytes()
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    (folder / "sound.safetensors").write_bytes(whole)
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    server = start("--nowebui").wait_until_ready()
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": "sound"})
    server.wait_for(lambda: server.get("/worker").json()["model"] == "sound")
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": "truncated"})
    server.wait_for(lambda: chosen(server).startswith("sound"), timeout=60)
    made = server.post("/sdapi/v1/txt2img", TINY)
    assert made.status == 200, made.content
    assert '"sd_model_name": "sound"' in made.json()["info"]
    refused = server.post("/sdapi/v1/txt2img", {**TINY, "override_settings": {"sd_model_checkpoint": "truncated"}})
    assert refused.status == 500
    assert "the download is incomplete" in refused.json()["detail"]
    assert server.post("/sdapi/v1/txt2img", TINY).status == 200


def chosen(server):
    return server.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
