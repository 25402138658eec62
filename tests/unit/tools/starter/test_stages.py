"""Every stage runs at tiny size, resumes, and leaves what the next one needs."""

import csv
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tools.starter.addons import RANK, EmbeddingObjective, LoraObjective, write_embedding, write_lora
from tools.starter.autoencoder import AutoencoderObjective, DecoderObjective
from tools.starter.checkpoint import Checkpoint
from tools.starter.classifier import read_classifier, train_classifier
from tools.starter.cli import STAGES, main
from tools.starter.evaluate import Evaluation, Judge, background_of, table, tint_of
from tools.starter.export import export_state, replace_decoder
from tools.starter.latents import encode_scenes, read_latents
from tools.starter.resume import resume_from_file
from tools.starter.scenes import Painter
from tools.starter.sprites import save_sprites
from tools.starter.text import TextObjective
from tools.starter.training import RunOptions, learning_rate_factor, load_averaged, train
from tools.starter.unet import UNetObjective

SECONDS = 1 / 60


def options(folder, name):
    return RunOptions(folder, name, minutes=0.4 * SECONDS, learning_rate=1e-3, batch=4, report_every_s=0.2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sprites, architecture, concepts):
    """A state folder after every training stage, and the checkpoint exported from it."""
    folder = tmp_path_factory.mktemp("state")
    save_sprites(sprites, folder / "sprites.npz")
    vae = {
        "architecture": architecture,
        "batch": 4,
        "seed": 0,
        "sprites_file": folder / "sprites.npz",
        "concepts": concepts,
    }
    train(AutoencoderObjective, vae, options(folder, "autoencoder"))
    train(DecoderObjective, vae, replace(options(folder, "decoder"), start_from=folder / "autoencoder.pt"))
    train(TextObjective, {"architecture": architecture, "batch": 8, "concepts": concepts}, options(folder, "text"))
    encode_scenes(folder, architecture, concepts, count=400, processes=1, seed=0)
    unet = {"architecture": architecture, "batch": 4, "folder": folder, "concepts": concepts}
    train(UNetObjective, unet, options(folder, "unet"))
    train_classifier(folder / "classifier.pt", concepts, folder / "sprites.npz", minutes=SECONDS, seed=0)
    export_state(folder, folder / "starter.safetensors", architecture, concepts)
    return folder


def test_from_sprites_to_a_judged_checkpoint(trained, concepts, sprites):
    checkpoint = Checkpoint.read(trained / "starter.safetensors")
    judge = Judge(read_classifier(trained / "classifier.pt", concepts), concepts)
    evaluation = Evaluation(checkpoint, judge, Painter(sprites))
    lines = table([*evaluation.objects(4), *evaluation.inpainting(2), evaluation.speed()]).splitlines()
    assert lines[0] == "| figure | wanted | found |" and len(lines) == 7
    assert "outside the mask identical" in lines[5]


def test_the_decoder_stage_leaves_the_encoder_alone(trained):
    before, after = load_averaged(trained / "autoencoder.pt"), load_averaged(trained / "decoder.pt")
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"decoder", "post_quant_conv"}


def test_latents_and_captions_belong_together(trained):
    latents, captions = read_latents(trained)
    assert len(latents) == len(captions) == 400


def test_a_lora_is_written_under_kohyas_names(trained, concepts):
    arguments = {
        "checkpoint_file": trained / "starter.safetensors",
        "sprites_file": trained / "sprites.npz",
        "concepts": concepts,
        "batch": 4,
    }
    train(LoraObjective, arguments, options(trained, "lora"))
    write_lora(trained / "lora.safetensors", trained / "lora.pt", "a test")
    tensors = load_file(trained / "lora.safetensors")
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    assert tensors[f"{layer}.lora_down.weight"].shape == (RANK, 16)  # the text's width
    assert tensors[f"{layer}.lora_up.weight"].shape == (32, RANK)
    assert any(value.abs().max() > 0 for key, value in tensors.items() if key.endswith("lora_up.weight"))
    assert float(tensors[f"{layer}.alpha"]) == RANK


def test_an_embedding_is_one_vector_of_the_texts_width(trained, concepts):
    arguments = {
        "checkpoint_file": trained / "starter.safetensors",
        "sprites_file": trained / "sprites.npz",
        "concepts": concepts,
        "batch": 4,
    }
    train(EmbeddingObjective, arguments, options(trained, "embedding"))
    write_embedding(trained / "embedding.safetensors", trained / "embedding.pt")
    assert load_file(trained / "embedding.safetensors")["emb_params"].shape == (1, 16)


def test_training_goes_on_where_it_stopped(folder, architecture, concepts):
    arguments = {"architecture": architecture, "batch": 8, "concepts": concepts}
    first = options(folder, "text")
    train(TextObjective, arguments, first)
    steps = torch.load(first.checkpoint)["steps"]
    train(TextObjective, arguments, replace(first, minutes=first.minutes * 2))
    assert torch.load(first.checkpoint)["steps"] > steps
    with first.log.open() as file:
        minutes = [float(row["minutes"]) for row in csv.DictReader(file)]
    assert minutes == sorted(minutes) and len(minutes) >= 2


def test_training_goes_on_from_the_checkpoint_file_alone(trained, folder, architecture, concepts):
    file = trained / "starter.safetensors"
    resume_from_file(file, folder, concepts)
    encode_scenes(folder, architecture, concepts, count=400, processes=1, seed=0)
    export_state(folder, folder / "again.safetensors", architecture, concepts)
    before, after = load_file(file), load_file(folder / "again.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("first_stage_model."))
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    pictures = [Checkpoint.read(path).decode(noise * 0.2) for path in (file, folder / "again.safetensors")]
    assert torch.allclose(*pictures, atol=0.02)  # whitened twice, from latents of bf16
    unet = {"architecture": architecture, "batch": 4, "folder": folder, "concepts": concepts}
    train(UNetObjective, unet, options(folder, "unet"))
    assert torch.load(folder / "unet.pt")["steps"] > 0
    with pytest.raises(FileExistsError):
        resume_from_file(file, folder, concepts)


def test_a_decoder_that_went_on_from_the_file_is_all_that_changes_in_it(trained, folder, architecture, concepts):
    file = folder / "starter.safetensors"
    shutil.copy2(trained / "starter.safetensors", file)
    resume_from_file(file, folder, concepts)
    vae = {
        "architecture": architecture,
        "batch": 4,
        "seed": 1,
        "sprites_file": trained / "sprites.npz",
        "concepts": concepts,
    }
    train(DecoderObjective, vae, replace(options(folder, "decoder"), start_from=folder / "autoencoder.pt"))
    replace_decoder(file, folder, architecture)
    before, after = load_file(trained / "starter.safetensors"), load_file(file)
    changed = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"decoder", "post_quant_conv"}
    assert all(key.startswith("first_stage_model.") for key in before if not torch.equal(before[key], after[key]))
    with safe_open(trained / "starter.safetensors", "pt") as old, safe_open(file, "pt") as new:
        assert {**old.metadata(), "modelspec.date": ""} == {**new.metadata(), "modelspec.date": ""}


def test_two_processes_train_as_one(folder, architecture, concepts):
    arguments = {"architecture": architecture, "batch": 8, "concepts": concepts}
    train(TextObjective, arguments, replace(options(folder, "text"), processes=2))
    assert torch.load(folder / "text.pt")["steps"] > 0


def test_the_learning_rate_warms_up_stays_and_falls():
    factors = [learning_rate_factor(progress, warmup=0.1, decay_from=0.5) for progress in (0.05, 0.3, 0.75, 1.0)]
    assert factors == pytest.approx([0.5, 1.0, 0.505, 0.01])


def test_colours_are_read_from_painted_pictures(sprites, concepts):
    from tools.starter.autoencoder import to_tensor
    from tools.starter.scenes import Placed, Scene

    scene = Scene((Placed(concepts[0], "purple", 0.5, 0.5, 0.7),), "yellow", "one", "")
    picture = to_tensor(Painter(sprites).paint(scene, 64)[None])[0]
    assert background_of(picture) == "yellow" and tint_of(picture) == "purple"


def test_an_unknown_stage_is_named_with_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["unett"])
    message = capsys.readouterr().err
    assert '"unett"' in message or "'unett'" in message
    assert all(name in message for name in STAGES)
