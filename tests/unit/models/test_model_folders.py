"""Folders of diffusers, UNets without text encoder, averaged weights: whatever a checkpoint is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modules.errors import InvalidRequest, ModelFileBroken, ModelUnsupported, UnknownName
from modules.models.cards import Cards, save_notes
from modules.models.catalog import Catalog
from modules.models.folders import stamp
from modules.models.hashes import sha256
from modules.models.layouts.names import averaged_name
from modules.models.loader import LoadedParts, Precision, load_checkpoint
from modules.models.manager import ModelManager
from modules.models.places import ModelFolders
from tests.support import layouts
from tests.support.diffusers_folders import KINDS, make_pipeline, save_folder

UNET = "model.diffusion_model."
Edited = Callable[..., Path]


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A network's weights; the two names that the projected vector beside the text has in diffusers become one."""
    return {
        name.replace("add_embedding.", "class_embedding.").removeprefix("text_model."): value
        for name, value in network.state_dict().items()
        if not name.endswith("position_ids")
    }


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    one, other = weights_of(ours), weights_of(theirs)
    other.pop("text_projection.weight", None)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_is(parts: LoadedParts, pipeline: object) -> None:
    """Every weight that was loaded is the pipeline's."""
    assert_same(parts.unet, pipeline.unet)
    assert_same(parts.vae, pipeline.vae)
    theirs = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
    for tower, network in zip(parts.towers, [one for one in theirs if one is not None], strict=True):
        assert_same(tower.network, network)
        if tower.projection is not None:
            assert torch.equal(tower.projection.t(), network.text_projection.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_a_folder_is_the_one_that_diffusers_saved(kind: str, tmp_path: Path) -> None:
    pipeline = save_folder(tmp_path / "model", kind)
    parts = load_checkpoint(tmp_path / "model", Precision())
    assert_is(parts, pipeline)
    assert parts.blueprint.family == kind.split("-")[0]
    assert parts.blueprint.variant == {"sd1-inpainting": "inpainting", "sdxl-refiner": "refiner"}.get(kind, "base")
    assert parts.prediction == ("v" if kind == "sd2-v" else "epsilon")
    assert parts.blueprint.scale_factor == pipeline.vae.config.scaling_factor and parts.notes == ()
    heads = parts.unet.config.attention_head_dim
    assert heads == ((8, 8) if kind.startswith("sd1") else (2, 4))


def test_shards_and_half_precision_are_put_together(tmp_path: Path) -> None:
    pipeline = save_folder(tmp_path / "m", "sdxl", variant="fp16", max_shard_size="200KB")
    assert len(list((tmp_path / "m" / "unet").glob("*.safetensors"))) > 2
    assert_is(load_checkpoint(tmp_path / "m", Precision()), pipeline)


def test_plain_weights_are_preferred_and_pickles_are_the_last_choice(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_folder(folder, "sd1", seed=1, safe_serialization=False)
    save_folder(folder, "sd1", seed=2, variant="fp16")
    assert (folder / "unet" / "diffusion_pytorch_model.bin").is_file()
    assert_same(load_checkpoint(folder, Precision()).unet, make_pipeline("sd1", seed=2).unet)
    plain = save_folder(folder, "sd1", seed=3)
    assert_is(load_checkpoint(folder, Precision()), plain)


def test_a_folder_of_pickles_alone_loads(tmp_path: Path) -> None:
    pipeline = save_folder(tmp_path / "m", "sd2-v", safe_serialization=False)
    text = tmp_path / "m" / "text_encoder" / "model.safetensors"  # transformers 5 writes no pickles any more
    torch.save(load_file(text), text.with_name("pytorch_model.bin"))
    text.unlink()
    assert not list((tmp_path / "m").rglob("*.safetensors"))
    assert_is(load_checkpoint(tmp_path / "m", Precision()), pipeline)


def test_a_missing_shard_or_network_is_named(tmp_path: Path) -> None:
    save_folder(tmp_path / "m", "sd1", max_shard_size="200KB")
    gone = sorted((tmp_path / "m" / "unet").glob("*-00002-*"))[0]
    gone.unlink()
    with pytest.raises(ModelFileBroken, match=f'the file "unet/{gone.name}" is missing; the download is incomplete'):
        load_checkpoint(tmp_path / "m", Precision())
    (tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors.index.json").unlink()
    with pytest.raises(ModelFileBroken, match='there are no weights in "unet"'):
        load_checkpoint(tmp_path / "m", Precision())


def changed(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_missing_and_superfluous_tensors_are_told_under_the_folders_own_names(tmp_path: Path) -> None:
    save_folder(tmp_path / "m", "sd1")
    unet = tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors"
    whole = load_file(unet)
    changed(unet, lambda tensors: tensors.pop("down_blocks.0.resnets.0.conv2.bias"))
    with pytest.raises(ModelFileBroken, match=r'missing, first "unet: down_blocks\.0\.resnets\.0\.conv2\.bias"'):
        load_checkpoint(tmp_path / "m", Precision())
    save_file(whole | {"encoder_hid_proj.weight": torch.ones(1)}, unet)
    with pytest.raises(ModelFileBroken, match=r'do not belong .* first "unet: encoder_hid_proj\.weight"'):
        load_checkpoint(tmp_path / "m", Precision())
    save_file(whole, unet)
    text = tmp_path / "m" / "text_encoder" / "model.safetensors"
    changed(text, lambda t: t.pop(next(key for key in t if key.endswith("layers.1.self_attn.k_proj.bias"))))
    with pytest.raises(ModelFileBroken, match=r'missing, first "text_encoder: .*layers\.1\.self_attn\.k_proj\.bias"'):
        load_checkpoint(tmp_path / "m", Precision())


def test_the_schedulers_words_on_prediction_and_zero_terminal_snr_are_heard(tmp_path: Path) -> None:
    stated = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    save_folder(tmp_path / "m", "sdxl", scheduler=stated)
    parts = load_checkpoint(tmp_path / "m", Precision())
    assert parts.prediction == "v" and parts.alphas_cumprod[-1] < 1e-7


@pytest.mark.parametrize(
    "change, words",
    [
        ({"_class_name": "FluxPipeline", "unet": None}, "is a folder for FluxPipeline, a family that is not"),
        ({"text_encoder": ["transformers", "T5EncoderModel"]}, "its text encoder is T5EncoderModel"),
    ],
)
def test_folders_of_other_pipelines_are_refused_by_name(tmp_path: Path, change: dict, words: str) -> None:
    save_folder(tmp_path / "m", "sd1")
    index = tmp_path / "m" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(ModelUnsupported, match=words):
        load_checkpoint(tmp_path / "m", Precision())


# In the catalog


def catalog_of(folder: Path) -> Catalog:
    return Catalog(ModelFolders(checkpoints=(folder,), vaes=(folder.parent / "VAE",)))


def test_a_folder_is_one_checkpoint_and_what_is_in_it_is_none(tmp_path: Path) -> None:
    models = tmp_path / "models"
    save_folder(models / "sub" / "stable-xl-1.0", "sdxl")
    save_file({"a": torch.ones(1)}, models / "sub" / "stable-xl-1.0" / "whole.safetensors")
    catalog = catalog_of(models)
    assert catalog.titles() == ("sub/stable-xl-1.0", "sub/stable-xl-1.0/whole.safetensors")
    file = catalog.find_checkpoint_file("stable-xl-1.0")
    assert (file.stem, file.model_name) == ("stable-xl-1.0", "sub_stable-xl-1.0")
    assert (file.size, file.mtime_ns) == stamp(file.path) and file.size > 500_000
    assert (catalog.family_of(file), catalog.native_size(file)) == ("sdxl", 64)
    assert catalog.metadata(file)["class_name"] == "StableDiffusionXLPipeline"
    assert catalog.find_checkpoint(catalog.legacy_hash(file)).name == "stable-xl-1.0"


def test_a_folder_may_be_the_place_itself(tmp_path: Path) -> None:
    save_folder(tmp_path / "stable-2", "sd2-v")
    assert catalog_of(tmp_path / "stable-2").titles() == ("stable-2",)


def test_a_broken_folder_is_listed_and_says_what_is_wrong_when_it_is_loaded(tmp_path: Path) -> None:
    save_folder(tmp_path / "m" / "good", "sd1")
    save_folder(tmp_path / "m" / "cut", "sd1", max_shard_size="200KB")
    index = tmp_path / "m" / "cut" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(index.read_text()[:50])
    (tmp_path / "m" / "empty").mkdir()
    (tmp_path / "m" / "empty" / "model_index.json").write_text("")
    catalog = catalog_of(tmp_path / "m")
    assert catalog.titles() == ("cut", "empty", "good")
    assert catalog.family_of(catalog.find_checkpoint_file("cut")) is None
    with pytest.raises(UnknownName):
        catalog.find_checkpoint("0123abcd")  # looking for an old hash does not stumble over them
    with pytest.raises(ModelFileBroken, match=r"index\.json: is not valid JSON"):
        load_checkpoint(tmp_path / "m" / "cut", Precision())
    with pytest.raises(ModelFileBroken, match=r"model_index\.json: is not valid JSON"):
        load_checkpoint(tmp_path / "m" / "empty", Precision())


def test_a_folders_hash_is_that_of_its_unets_weights(tmp_path: Path) -> None:
    models = tmp_path / "models"
    save_folder(models / "one", "sd1")
    catalog, weights = catalog_of(models), models / "one" / "unet" / "diffusion_pytorch_model.safetensors"
    digest = catalog.facts.computed("sha256", models / "one", sha256)
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert catalog.titles() == (f"one [{digest[:10]}]",)
    changed(weights, lambda tensors: tensors["conv_in.bias"].add_(1))
    catalog.refresh()
    assert catalog.titles() == ("one",)  # other weights are not known yet


def test_a_folder_of_the_hubs_cache_has_its_repositorys_name(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--stabilityai--small"
    save_folder(cached / "blobs" / "x", "sd1")
    snapshot = cached / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    for part in (cached / "blobs" / "x").iterdir():
        (snapshot / part.name).symlink_to(part)
    (cached / "blobs" / "x" / "model_index.json").rename(cached / "blobs" / "index")
    (snapshot / "model_index.json").unlink()
    (snapshot / "model_index.json").symlink_to(cached / "blobs" / "index")
    catalog = catalog_of(tmp_path / "hub")
    assert "stabilityai/small@0123456" in catalog.titles()
    assert load_checkpoint(catalog.find_checkpoint("small@0123456").path, Precision()).blueprint.family == "sd1"


def test_a_folder_is_kept_by_the_manager_until_its_weights_change(tmp_path: Path, manager: ModelManager) -> None:
    save_folder(tmp_path / "m" / "one", "sd1")
    catalog = catalog_of(tmp_path / "m")
    ref = catalog.find_checkpoint("one")
    with manager.use(ref) as model:
        assert model.family == "sd1"
    assert manager.is_loaded(ref)
    changed(
        tmp_path / "m" / "one" / "vae" / "diffusion_pytorch_model.safetensors", lambda t: t["quant_conv.bias"].add_(1)
    )
    assert not manager.is_loaded(ref)


# A UNet alone


def split(path: Path, into: Path, names: Callable[[str], str] = str, metadata: dict[str, str] | None = None) -> Path:
    """The UNet of a checkpoint as a file of its own."""
    tensors = {names(key): value for key, value in load_file(path).items() if key.startswith(UNET)}
    save_file(tensors, into, metadata=metadata)
    return into


@pytest.mark.parametrize(
    "names",
    [str, lambda key: key.removeprefix(UNET), lambda key: key.removeprefix("model.")],
    ids=["LDM's names", "bare", "without model."],
)
def test_a_unet_alone_takes_the_rest_from_its_base(
    tiny_sd1: Path, edited: Edited, tmp_path: Path, names: Callable[[str], str]
) -> None:
    base = edited(lambda tensors: tensors[f"{UNET}out.2.bias"].add_(1), name="base.safetensors")
    parts = load_checkpoint(split(tiny_sd1, tmp_path / "unet.safetensors", names), Precision(), base=str(base))
    whole = load_checkpoint(tiny_sd1, Precision())
    assert_same(parts.unet, whole.unet)
    assert_same(parts.vae, whole.vae)
    assert_same(parts.towers[0].network, whole.towers[0].network)
    assert parts.notes == ("text encoder and VAE from base.safetensors",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unet_in_diffusers_naming_takes_the_rest_from_its_base(kind: str, tmp_path: Path) -> None:
    base = save_folder(tmp_path / "base", kind, seed=1)
    other = make_pipeline(kind, seed=2)
    other.unet.save_pretrained(tmp_path / "unet")
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    parts = load_checkpoint(file, Precision(), base=str(tmp_path / "base"), prediction="v")
    base.unet = other.unet
    if kind.startswith("sd1"):  # heads are not in the file; the family's are eight, as here
        assert parts.unet.config.attention_head_dim == (8, 8)
    assert_is(parts, base)


def test_a_unet_alone_without_base_says_how_to_give_one(tiny_sd1: Path, tmp_path: Path) -> None:
    path = split(tiny_sd1, tmp_path / "unet.safetensors")
    with pytest.raises(ModelUnsupported, match=r'holds a UNet without text encoder; choose .* "Base checkpoint"'):
        load_checkpoint(path, Precision())


def test_a_base_of_another_family_is_told_with_its_name(tiny_sd1: Path, tiny_sdxl: Path, tmp_path: Path) -> None:
    path = split(tiny_sd1, tmp_path / "unet.safetensors")
    with pytest.raises(ModelUnsupported, match=r"what it lacks was taken from .*tinyxl\.safetensors"):
        load_checkpoint(path, Precision(), base=str(tiny_sdxl))


def test_the_notes_of_a_checkpoint_name_its_base_and_its_prediction(tiny_sd1: Path, tmp_path: Path) -> None:
    split(tiny_sd1, tmp_path / "unet.safetensors")
    (tmp_path / "whole.safetensors").write_bytes(tiny_sd1.read_bytes())
    catalog = catalog_of(tmp_path)
    file = catalog.find_checkpoint_file("unet")
    assert catalog.family_of(file) is None and catalog.find_checkpoint("unet").base is None
    notes = {"base checkpoint": "whole", "prediction type": "v, zero terminal SNR"}
    (tmp_path / "unet.json").write_text(json.dumps(notes))
    ref = catalog.find_checkpoint("unet")
    assert (ref.base, ref.prediction) == (str(tmp_path / "whole.safetensors"), "v-zero-terminal-snr")
    assert catalog.family_of(file) == "sd1"
    (tmp_path / "unet.json").write_text(json.dumps({"base checkpoint": "nowhere"}))
    with pytest.raises(UnknownName, match=r'the base checkpoint of unet\.safetensors: no checkpoint named "nowhere"'):
        catalog.find_checkpoint("unet")


def test_the_editor_of_cards_keeps_base_and_prediction(tiny_sd1: Path, tmp_path: Path) -> None:
    split(tiny_sd1, tmp_path / "unet.safetensors")
    (tmp_path / "whole.safetensors").write_bytes(tiny_sd1.read_bytes())
    catalog = catalog_of(tmp_path)
    cards, unet = Cards(catalog), catalog.find_checkpoint_file("unet")
    shown = cards.details("checkpoints", unet)
    assert (shown["prediction type"], shown["base checkpoint"]) == ("Automatic", "None")
    assert shown["bases"] == ["None", "whole.safetensors"]
    assert cards.details("checkpoints", catalog.find_checkpoint_file("whole"))["bases"] == []  # it lacks nothing
    save_notes("checkpoints", unet, {"prediction type": "v", "base checkpoint": "whole.safetensors"})
    ref = catalog.find_checkpoint("unet")
    assert (ref.base, ref.prediction) == (str(tmp_path / "whole.safetensors"), "v")
    assert cards.details("checkpoints", unet)["base checkpoint"] == "whole.safetensors"
    save_notes("checkpoints", unet, {"prediction type": "Automatic", "base checkpoint": "None"})
    ref = catalog.find_checkpoint("unet")
    assert ref.base is None and ref.prediction is None
    with pytest.raises(InvalidRequest, match="a prediction type is one of Automatic, epsilon, v,"):
        save_notes("checkpoints", unet, {"prediction type": "x0"})


def test_what_the_user_says_of_the_prediction_overrules_the_file(edited: Edited, tiny_sd1: Path) -> None:
    marked = edited(lambda tensors: tensors.update({"ztsnr": torch.tensor(0.0), "v_pred": torch.tensor(0.0)}))
    parts = load_checkpoint(marked, Precision(), prediction="epsilon")
    assert parts.prediction == "epsilon" and parts.alphas_cumprod[-1] > 1e-3
    parts = load_checkpoint(tiny_sd1, Precision(), prediction="v-zero-terminal-snr")
    assert parts.prediction == "v" and parts.alphas_cumprod[-1] < 1e-7


def test_the_manager_loads_anew_when_the_users_word_changes(
    tiny_sd1: Path, tmp_path: Path, manager: ModelManager
) -> None:
    (tmp_path / "m.safetensors").write_bytes(tiny_sd1.read_bytes())
    catalog = catalog_of(tmp_path)
    with manager.use(catalog.find_checkpoint("m")) as model:
        assert model.prediction == "epsilon"
    (tmp_path / "m.json").write_text(json.dumps({"prediction type": "v"}))
    with manager.use(catalog.find_checkpoint("m")) as model:
        assert model.prediction == "v"


def test_a_checkpoint_without_vae_takes_the_one_that_was_chosen(
    tiny_sd1: Path, tmp_path: Path, manager: ModelManager
) -> None:
    from modules.errors import ModelError

    (tmp_path / "VAE").mkdir()
    (tmp_path / "models").mkdir()
    tensors = load_file(tiny_sd1)
    is_vae = {key: key.startswith("first_stage_model.") for key in tensors}
    save_file({key: tensors[key] for key in tensors if not is_vae[key]}, tmp_path / "models" / "bare.safetensors")
    vae = {key.removeprefix("first_stage_model."): tensors[key] for key in tensors if is_vae[key]}
    save_file(vae, tmp_path / "VAE" / "good.safetensors")
    catalog = catalog_of(tmp_path / "models")
    ref = catalog.find_checkpoint("bare")
    with manager.use(ref, catalog.find_vae("good")) as model:
        assert_same(model.vae, load_checkpoint(tiny_sd1, Precision()).vae)
    with pytest.raises(ModelError, match="has no VAE of its own"), manager.use(ref):
        pass


# Averaged weights


@pytest.mark.parametrize("layout", [layouts.sd1, layouts.sdxl, layouts.sdxl_refiner, layouts.x4_upscaler])
def test_every_dotless_name_of_a_full_size_unet_is_understood(layout: Callable[[], layouts.Layout]) -> None:
    names = [key.removeprefix(UNET) for key in layout() if key.startswith(UNET)]
    assert [averaged_name(name.replace(".", "")) for name in names] == names


def averaged(tensors: dict[str, Tensor], shift: float) -> dict[str, Tensor]:
    inside = {key.removeprefix(UNET): value for key, value in tensors.items() if key.startswith(UNET)}
    dotless = {f"model_ema.diffusion_model{key.replace('.', '')}": value + shift for key, value in inside.items()}
    return dotless | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}


def test_averaged_weights_beside_plain_ones_are_ignored(edited: Edited, tiny_sd1: Path) -> None:
    parts = load_checkpoint(edited(lambda tensors: tensors.update(averaged(tensors, 1.0))), Precision())
    assert_same(parts.unet, load_checkpoint(tiny_sd1, Precision()).unet)
    assert parts.notes == ()


def test_averaged_weights_alone_are_used_and_that_is_said(edited: Edited, tiny_sd1: Path) -> None:
    def only_averaged(tensors: dict[str, Tensor]) -> None:
        tensors.update(averaged(tensors, 1.0))
        for key in [key for key in tensors if key.startswith(UNET)]:
            del tensors[key]

    parts = load_checkpoint(edited(only_averaged), Precision())
    plain = load_checkpoint(tiny_sd1, Precision()).unet.state_dict()
    assert all(torch.equal(value, plain[name].half() + 1.0) for name, value in parts.unet.state_dict().items())
    assert "the averaged weights (EMA) are used; the file has no others" in parts.notes
