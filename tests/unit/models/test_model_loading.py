from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from safetensors.torch import load_file

from modules.errors import ModelError, ModelFileBroken, ModelFileUnsafe, ModelUnsupported
from modules.models.loader import Precision, load_checkpoint, load_vae, probe_prediction
from modules.models.weights import open_weights, read_pickle

Edited = Callable[..., Path]
OUT_BIAS = "model.diffusion_model.out.2.bias"


def test_weights_arrive_unchanged_in_the_type_asked_for(tiny_sd1: Path) -> None:
    parts = load_checkpoint(tiny_sd1, Precision(unet=torch.float32, text=torch.float16, vae=torch.bfloat16))
    stored = load_file(tiny_sd1)
    assert torch.equal(parts.unet.conv_out.bias, stored[OUT_BIAS].float())
    assert parts.towers[0].dtype == torch.float16
    assert parts.vae.quant_conv.weight.dtype == torch.bfloat16
    assert not any(p.is_meta for p in parts.unet.parameters())


def test_weights_in_the_stored_type_share_the_mapped_file(tiny_sd1: Path) -> None:
    parts = load_checkpoint(tiny_sd1, Precision(unet=torch.float16))
    with open_weights(tiny_sd1) as weights:
        lowest = weights.tensor(OUT_BIAS).data_ptr()
    assert parts.unet.conv_out.bias.dtype == torch.float16 and lowest  # no copy would change the type either
    maps = Path("/proc/self/maps")
    if maps.exists():
        ranges = [
            tuple(int(end, 16) for end in line.split()[0].split("-"))
            for line in maps.read_text().splitlines()
            if str(tiny_sd1) in line
        ]
        address = parts.unet.conv_out.bias.data_ptr()
        assert any(low <= address < high for low, high in ranges)


def test_missing_tensors_are_named_and_counted(edited: Edited) -> None:
    def remove(tensors: dict) -> None:
        del tensors[OUT_BIAS], tensors["model.diffusion_model.out.0.bias"]

    with pytest.raises(
        ModelFileBroken, match=r'2 tensors are missing, first "model\.diffusion_model\.out\.[02]\.bias"'
    ):
        load_checkpoint(edited(remove), Precision())


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(edited: Edited) -> None:
    path = edited(lambda tensors: tensors.update({OUT_BIAS: torch.zeros(5)}))
    with pytest.raises(ModelFileBroken, match=r'out\.2\.bias" has the shape \[5\], its network needs \[4\]'):
        load_checkpoint(path, Precision())


def test_sizes_that_fit_no_network_are_said_with_what_may_help(edited: Edited) -> None:
    config = {"model": {"params": {"unet_config": {"params": {"norm_num_groups": 7}}}}}  # no width is a multiple of 7
    path = edited(lambda tensors: None, metadata={"ldm_config": json.dumps(config)})
    with pytest.raises(ModelUnsupported, match=r"edited\.safetensors: .*divisible.*\.yaml beside it .*norm_num_groups"):
        load_checkpoint(path, Precision())


def test_unknown_tensors_inside_a_network_are_refused_and_outside_are_noted(edited: Edited) -> None:
    inside = edited(lambda t: t.update({"model.diffusion_model.extra.weight": torch.zeros(1)}), "inside.safetensors")
    with pytest.raises(ModelFileBroken, match=r'1 tensors do not belong .* "model\.diffusion_model\.extra\.weight"'):
        load_checkpoint(inside, Precision())
    outside = edited(lambda t: t.update({"left.over": torch.zeros(1)}), "outside.safetensors")
    assert load_checkpoint(outside, Precision()).notes == ('1 tensors in the file are not used, first "left.over"',)


def test_the_guidance_embedding_of_an_lcm_checkpoint_is_left_out_and_that_is_noted(edited: Edited) -> None:
    path = edited(lambda t: t.update({"model.diffusion_model.time_embed.cond_proj.weight": torch.zeros(32, 256)}))
    assert load_checkpoint(path, Precision()).notes == (
        "its embedding of the guidance scale (LCM) is not used, as in A1111",
    )


def test_training_leftovers_are_ignored_without_a_word(edited: Edited) -> None:
    def add(tensors: dict) -> None:
        for key in ("model_ema.decay", "loss.logvar", "betas", "logvar", "first_stage_model.loss.logvar"):
            tensors[key] = torch.zeros(1)
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]

    assert load_checkpoint(edited(add), Precision()).notes == ()


def test_text_encoder_names_of_old_files_are_understood(edited: Edited, tiny_sd1: Path) -> None:
    def rename(tensors: dict) -> None:
        for key in [key for key in tensors if ".text_model." in key]:
            tensors[key.replace("text_model.", "")] = tensors.pop(key)

    old, new = (load_checkpoint(path, Precision()).towers[0] for path in (edited(rename), tiny_sd1))
    tokens = torch.tensor([[49406, 320, 1125, 49407]])
    assert torch.equal(old.encode(tokens)[0], new.encode(tokens)[0])


def test_the_files_own_noise_schedule_is_used(edited: Edited, tiny_sd1: Path) -> None:
    own = torch.linspace(1, 0.01, 1000)
    path = edited(lambda tensors: tensors.update({"alphas_cumprod": own}))
    assert torch.equal(load_checkpoint(path, Precision()).alphas_cumprod, own)
    usual = load_checkpoint(tiny_sd1, Precision()).alphas_cumprod
    assert usual[0].item() == pytest.approx(1 - 0.00085)  # the first beta
    assert usual[-1].item() == pytest.approx(0.0047, abs=1e-4)


def test_a_sidecar_yaml_tells_heads_and_prediction(edited: Edited) -> None:
    path = edited(lambda tensors: None)
    config = {"model": {"params": {"parameterization": "v", "unet_config": {"params": {"num_heads": 4}}}}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config))
    parts = load_checkpoint(path, Precision())
    assert parts.prediction == "v" and parts.unet.config.attention_head_dim == (4, 4)


def test_a_broken_sidecar_is_named(edited: Edited) -> None:
    path = edited(lambda tensors: None)
    path.with_suffix(".yaml").write_text("model: [")
    with pytest.raises(ModelFileBroken, match=r"edited\.yaml: cannot be read as YAML"):
        load_checkpoint(path, Precision())


def test_a_text_encoder_folder_above_the_checkpoint_tells_its_heads(edited: Edited) -> None:
    path = edited(lambda tensors: None)
    config = {"model": {"params": {"cond_stage_config": {"params": {"version": "mine"}}}}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config))
    folder = path.parent / "text-encoder" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"num_attention_heads": 4, "hidden_act": "gelu", "vocab_size": 1}')
    text = load_checkpoint(path, Precision()).towers[0].network.config
    assert (text.num_attention_heads, text.hidden_act, text.vocab_size) == (4, "gelu", 49408)


def test_a_version_name_cannot_leave_the_text_encoder_folder(edited: Edited, tmp_path: Path) -> None:
    path = edited(lambda tensors: None)
    config = {"model": {"params": {"cond_stage_config": {"params": {"version": "../outside"}}}}}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "text-encoder").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text('{"num_attention_heads": 4}')
    assert load_checkpoint(path, Precision()).towers[0].network.config.num_attention_heads == 1


def test_a_ckpt_gives_the_same_model_as_the_safetensors_file(tiny_sd1: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.ckpt"
    torch.save({"state_dict": load_file(tiny_sd1), "epoch": 3, "global_step": 7}, path)
    one, other = (load_checkpoint(file, Precision()).unet.state_dict() for file in (path, tiny_sd1))
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_what_lightning_leaves_in_a_ckpt_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for depth in (1, 2, 3):
        part = ".".join(name.split(".")[:depth])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    callback_class = type("ModelCheckpoint", (), {"__module__": name})
    sys.modules[name].ModelCheckpoint = callback_class  # type: ignore[attr-defined]
    callback = callback_class()
    callback.best = {"score": 1.0}
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {"x": callback}}, tmp_path / "old.ckpt")
    content = read_pickle(tmp_path / "old.ckpt")
    assert torch.equal(content["state_dict"]["a"], torch.ones(2))
    assert not isinstance(content["callbacks"]["x"], callback_class)


class _Payload:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return (__import__("os").system, (f"touch {self.flag}",))


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_with_code_is_refused_by_name_and_never_run(tmp_path: Path, is_zip: bool) -> None:
    flag, path = tmp_path / "flag", tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": _Payload(flag)}, path, _use_new_zipfile_serialization=is_zip)
    for load in (lambda: load_checkpoint(path, Precision()), lambda: load_vae(path, torch.float32)):
        with pytest.raises(ModelFileUnsafe, match=r'wants to run "(posix|os|nt)\.system"'):
            load()
    assert not flag.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_with_code_is_refused(tmp_path: Path, protocol: int) -> None:
    flag, path = tmp_path / "flag", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(_Payload(flag), protocol=protocol))
    with pytest.raises((ModelFileUnsafe, ModelFileBroken, ModelUnsupported)):
        read_pickle(path)
    assert not flag.exists()


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_harmless_pickle_of_a_protocol_that_is_not_read_is_not_called_dangerous(
    tmp_path: Path, protocol: int
) -> None:
    path = tmp_path / "new.pt"
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=protocol)
    with pytest.raises(ModelUnsupported, match="a protocol that is not read here"):
        read_pickle(path)


def test_code_hidden_behind_a_second_pickle_or_a_wrong_ending_is_never_run(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    evil, good = (pickle.dumps(content, protocol=2) for content in ({"w": _Payload(flag)}, {"a": 1}))
    for number, others in enumerate(({"archive/data.pkl": evil}, {"other/data.pkl": evil}, {"archive/data/0": evil})):
        with zipfile.ZipFile(tmp_path / f"{number}.ckpt", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two entries of one name are meant
            for name, content in (("archive/data.pkl", good), ("archive/version", b"3\n"), *others.items()):
                archive.writestr(name, content)
    (tmp_path / "3.safetensors").write_bytes(evil)
    for path in sorted(tmp_path.iterdir()):
        for read in (read_pickle, open_weights):
            try:
                read(path)
            except ModelError as error:
                assert str(error).count(str(path)) == 1
            assert not flag.exists(), path


def test_a_truncated_file_says_that_the_download_is_incomplete(tiny_sd1: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(tiny_sd1.read_bytes()[:-1000])
    with pytest.raises(ModelFileBroken, match="the download is incomplete"):
        load_checkpoint(short, Precision())
    torch.save({"state_dict": {"a": torch.ones(9999)}}, tmp_path / "whole.ckpt")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes((tmp_path / "whole.ckpt").read_bytes()[:-3000])
    with pytest.raises(ModelFileBroken, match="cannot be read"):
        load_checkpoint(cut, Precision())


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ModelFileBroken, match="cannot be read"):
        load_checkpoint(tmp_path / "x.ckpt", Precision())


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_vae_file_loads_with_or_without_the_prefix(tiny_sd1: Path, tmp_path: Path, prefix: str) -> None:
    from safetensors.torch import save_file

    inside = {k.removeprefix("first_stage_model."): v for k, v in load_file(tiny_sd1).items() if k.startswith("first_")}
    save_file({prefix + key: value for key, value in inside.items()}, tmp_path / "v.vae.safetensors")
    vae = load_vae(tmp_path / "v.vae.safetensors", torch.float32)
    own = load_checkpoint(tiny_sd1, Precision()).vae
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), own.parameters(), strict=True))


def test_a_vae_in_diffusers_own_naming_loads(tiny_sd1: Path, tmp_path: Path) -> None:
    own = load_checkpoint(tiny_sd1, Precision()).vae
    own.save_pretrained(tmp_path)
    vae = load_vae(tmp_path / "diffusion_pytorch_model.safetensors", torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), own.parameters(), strict=True))


def test_a_file_without_a_vae_says_so(edited: Edited) -> None:
    def remove(tensors: dict) -> None:
        for key in [key for key in tensors if key.startswith("first_stage_model.")]:
            del tensors[key]

    path = edited(remove)
    with pytest.raises(ModelFileBroken, match="the file has no VAE"):
        load_checkpoint(path, Precision())
    with pytest.raises(ModelFileBroken, match="there is no VAE in it"):
        load_vae(path, torch.float32)


def test_a_lora_loaded_as_a_checkpoint_is_told_where_it_belongs(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"lora_unet_x.lora_down.weight": torch.ones(1, 1)}, tmp_path / "l.safetensors")
    with pytest.raises(ModelUnsupported, match="put it into models/Lora"):
        load_checkpoint(tmp_path / "l.safetensors", Precision())


@pytest.mark.parametrize("answer, prediction", [(0.5, "epsilon"), (-0.4, "epsilon"), (-1.0, "v")])
def test_one_run_tells_epsilon_from_v(tiny_sd2: Path, answer: float, prediction: str) -> None:
    """The network is asked about 0.5 everywhere; more than 1 below that is no noise but a picture's negative."""
    unet = load_checkpoint(tiny_sd2, Precision()).unet
    unet.conv_out.weight.data = torch.zeros_like(unet.conv_out.weight)
    unet.conv_out.bias.data = torch.full_like(unet.conv_out.bias, answer)
    assert probe_prediction(unet) == prediction


def test_a_zero_terminal_snr_model_starts_from_pure_noise(edited: Edited) -> None:
    path = edited(lambda tensors: tensors.update({"ztsnr": torch.tensor(0.0), "v_pred": torch.tensor(0.0)}))
    parts = load_checkpoint(path, Precision())
    plain = load_checkpoint(edited(lambda tensors: None, "plain.safetensors"), Precision())
    assert parts.alphas_cumprod[-1] < 1e-7 < plain.alphas_cumprod[-1]
    assert torch.allclose(parts.alphas_cumprod[0], plain.alphas_cumprod[0])
