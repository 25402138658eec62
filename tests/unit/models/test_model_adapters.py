from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.errors import ModelFileBroken
from modules.models.adapters import patch
from modules.models.adapters.keys import split_key
from modules.models.adapters.names import targets
from modules.models.adapters.patch import Adapter, AdapterReport, applied, weight_change
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.settings.stable_diffusion import GenerationOptions
from tests.support.checkpoints import write_random
from tests.unit.models.conftest import ref_to, tiny_layout

TO_Q = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
KOHYA = f"lora_unet_{TO_Q}"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model(tiny_sd1: Path) -> Iterator[Model]:
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(tiny_sd1)) as model:
        yield model


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Adapter]:
    def write(tensors: dict[str, Tensor], name: str = "it", **strength: float) -> Adapter:
        save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
        return Adapter(str(tmp_path / f"{name}.safetensors"), name, **strength)  # type: ignore[arg-type]

    return write


def unet_weight(model: Model) -> Tensor:
    return model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q.weight


def low_rank(module: str, *, rank: int = 2, out: int = 32, into: int = 32, seed: int = 0) -> dict[str, Tensor]:
    return {
        f"{module}.lora_down.weight": noise(rank, into, seed=seed),
        f"{module}.lora_up.weight": noise(out, rank, seed=seed + 1),
        f"{module}.alpha": torch.tensor(1.0),
    }


def delta(tensors: dict[str, Tensor], module: str) -> Tensor:
    return tensors[f"{module}.lora_up.weight"] @ tensors[f"{module}.lora_down.weight"]


def test_a_kohya_lora_adds_its_scaled_product_with_two_strengths(model: Model, write: Callable) -> None:
    tensors = low_rank(KOHYA) | low_rank(TEXT, seed=5)
    text_weight = model.towers[0].network.encoder.layers[0].self_attn.q_proj.weight
    unet_before, text_before = unet_weight(model).clone(), text_weight.clone()
    with applied(model, [write(tensors, te=0.25, unet=2.0)]) as (report,):
        half = 0.5  # alpha 1 over rank 2
        assert torch.allclose(unet_weight(model), unet_before + 2.0 * half * delta(tensors, KOHYA), atol=1e-6)
        assert torch.allclose(text_weight, text_before + 0.25 * half * delta(tensors, TEXT), atol=1e-6)
    assert (report.applied, report.total, report.notices) == (2, 2, ())


def test_undoing_restores_every_bit_even_after_an_error(model: Model, write: Callable) -> None:
    everything = [weight.clone() for weight in (*model.unet.parameters(), *model.towers[0].network.parameters())]
    adapters = [write(low_rank(KOHYA), "a", te=0.7, unet=0.7), write(low_rank(KOHYA, seed=9), "b", unet=-0.1)]
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), applied(model, adapters):
            assert not torch.equal(unet_weight(model), everything[0])
            raise KeyboardInterrupt
    now = (*model.unet.parameters(), *model.towers[0].network.parameters())
    assert all(torch.equal(before, after) for before, after in zip(everything, now, strict=True))


def test_several_loras_add_up_and_one_named_twice_takes_its_last_strength_each_time(
    model: Model, write: Callable
) -> None:
    first, second = low_rank(KOHYA), low_rank(KOHYA, seed=9)
    before = unet_weight(model).clone()
    one, other = write(first, "one", unet=1.0), write(second, "other", unet=0.5)
    with applied(model, [one, other]):
        expected = before + 0.5 * delta(first, KOHYA) + 0.25 * delta(second, KOHYA)
        assert torch.allclose(unet_weight(model), expected, atol=1e-5)
    with applied(model, [Adapter(one.path, "one", unet=0.3), Adapter(one.path, "one", unet=0.4)]):
        assert torch.allclose(unet_weight(model), before + 0.8 * 0.5 * delta(first, KOHYA), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_in_turn_give_the_whole_change(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """The quick way of plain low-rank changes against the general one, in every type that weights have."""
    monkeypatch.setattr(patch, "ROWS_AT_ONCE", 100)  # three rows at a time, and a rest
    for shape, parts in (
        ((32, 30), {"up": noise(32, 4), "down": noise(4, 30, seed=1), "alpha": torch.tensor(2.0)}),
        ((8, 4, 3, 3), {"up": noise(8, 4, 1, 1), "down": noise(4, 4, 3, 3, seed=1)}),
    ):
        layer = torch.nn.Linear(1, 1) if len(shape) == 2 else torch.nn.Conv2d(1, 1, 1)
        layer.weight = torch.nn.Parameter(noise(*shape, seed=2).to(dtype), requires_grad=False)
        before, undo = layer.weight.data, []
        for dyn in (None, 3):
            expected = (before.float() + weight_change(parts, before, dyn) * 0.7).to(dtype)
            patch._change((layer,), parts, 0.7, dyn, undo)
            rounding = torch.finfo(dtype).eps * expected.float().abs().max().item()
            assert torch.allclose(layer.weight.float(), expected.float(), rtol=0, atol=rounding)
            differing = (layer.weight != expected).float().mean().item()
            assert differing < (1.0 if dtype == torch.float32 else 0.02)  # last bits
            patch._revert(undo, 0)
            assert layer.weight.data_ptr() == before.data_ptr()


def test_every_kind_applies_to_weights_kept_in_eight_bits_and_is_gone_afterwards(
    tiny_sd1: Path, write: Callable
) -> None:
    loha = {f"{KOHYA}.hada_w{half}_{side}": noise(32, 32, seed=ord(side)) for half in "12" for side in "ab"}
    manager = ModelManager(DevicePolicy(use_cpu=("all",), no_half=True))
    with manager.use(ref_to(tiny_sd1), None, GenerationOptions(fp8_storage="Enable")) as small:
        weight = unet_weight(small)
        before = weight.data.float()
        for tensors in (low_rank(KOHYA), loha, {f"{KOHYA}.diff": noise(32, 32)}):
            with applied(small, [write(tensors)]) as (report,):
                assert (report.applied, report.notices) == (1, ())
                assert weight.dtype == torch.float8_e4m3fn and not torch.equal(weight.data.float(), before)
            assert torch.equal(weight.data.float(), before)


def test_dyn_keeps_the_first_ranks(model: Model, write: Callable) -> None:
    tensors, before = low_rank(KOHYA, rank=4), unet_weight(model).clone()
    with applied(model, [write(tensors, dyn=1)]):
        first = tensors[f"{KOHYA}.lora_up.weight"][:, :1] @ tensors[f"{KOHYA}.lora_down.weight"][:1]
        assert torch.allclose(unet_weight(model), before + first / 4, atol=1e-6)  # the scale stays alpha over rank


def test_a_lora_for_another_kind_of_model_changes_nothing_and_says_so(model: Model, write: Callable) -> None:
    before = unet_weight(model).clone()
    with applied(model, [write(low_rank("lora_unet_input_blocks_99_1_proj_in"))]) as (report,):
        assert torch.equal(unet_weight(model), before)
    assert (report.applied, report.total) == (0, 1)
    assert report.notices == (
        'LoRA "it" was made for another kind of model: 0 of 1 modules applied, '
        'the model has no "lora_unet_input_blocks_99_1_proj_in"',
    )
    most = low_rank(KOHYA) | low_rank("lora_te2_text_projection")
    with applied(model, [write(most)]) as (report,):
        assert not torch.equal(unet_weight(model), before)
    assert report.notices == ('LoRA "it": 1 of 2 modules applied, the model has no "lora_te2_text_projection"',)


def test_a_model_says_which_networks_act_on_it_now(model: Model, write: Callable) -> None:
    assert model.networks == ()
    with applied(model, [write(low_rank(KOHYA) | low_rank("lora_te2_text_projection"))]):
        assert [(one.name, one.applied, one.total) for one in model.networks] == [("it", 1, 2)]
    assert model.networks == ()


def test_memory_that_runs_out_is_not_taken_for_a_lora_of_another_kind(
    model: Model, write: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs_out(*arguments: object) -> None:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 6.80 GB)")

    monkeypatch.setattr("modules.models.adapters.patch._change", runs_out)
    with pytest.raises(RuntimeError, match="MPS backend"), applied(model, [write(low_rank(KOHYA))]):
        pass


def test_a_lora_whose_shapes_do_not_fit_is_left_out_whole_and_the_others_act(model: Model, write: Callable) -> None:
    before = unet_weight(model).clone()
    fitting = write(low_rank(KOHYA, seed=9), "fitting")
    with applied(model, [fitting]):
        expected = unet_weight(model).clone()
    wrong = write(low_rank(KOHYA) | low_rank(TEXT, out=48, into=48), "wrong")
    with applied(model, [fitting, wrong]) as (one, other):
        assert torch.equal(unet_weight(model), expected)
    assert (one.applied, one.notices) == (1, ()) and (other.applied, other.total) == (0, 2)
    assert other.notices == (f'LoRA "wrong" was made for another kind of model and is left out: "{TEXT}" does not fit',)
    assert torch.equal(unet_weight(model), before)


def test_a_file_that_is_no_lora_is_refused(model: Model, write: Callable) -> None:
    with (
        pytest.raises(ModelFileBroken, match=r'not a LoRA: none of its 1 tensors .* first "a"'),
        applied(model, [write({"a": torch.ones(1)})]),
    ):
        pass


DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize(
    "key, expected",
    [
        (f"{KOHYA}.lora_down.weight", (KOHYA, "down")),
        (f"unet.{DOTTED}.to_q.lora_A.weight", (KOHYA, "down")),
        (f"unet.{DOTTED}.to_q.lora.up.weight", (KOHYA, "up")),
        (f"unet.{DOTTED}.processor.to_q_lora.down.weight", (KOHYA, "down")),
        (f"base_model.model.unet.{DOTTED}.to_q.lora_B.weight", (KOHYA, "up")),
        (f"unet.{DOTTED}.to_out.0.lora_linear_layer.up.weight", (KOHYA.replace("to_q", "to_out_0"), "up")),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight", (TEXT, "down")),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
         ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "down")),
        (f"{KOHYA}.alpha", (KOHYA, "alpha")),
        (f"{KOHYA}.hada_w1_a", (KOHYA, "hada_w1_a")),
        (f"base_model.model.unet.{DOTTED}.to_q.lora_A.default_0.weight", (KOHYA, "down")),
        (f"unet.{DOTTED}.to_q.lora_magnitude_vector.default.weight", (KOHYA, "dora_scale")),
        (f"lycoris_{TO_Q}.lokr_w1", (KOHYA, "lokr_w1")),
        (f"{KOHYA}.lokr_t2", (KOHYA, "lokr_t2")),
        ("bundle_emb.x.string_to_param.*", None),
    ],
)  # fmt: skip
def test_every_spelling_of_a_key_means_one_thing(key: str, expected: tuple[str, str] | None) -> None:
    assert split_key(key) == expected


def test_ldm_block_names_mean_the_same_layers(model: Model) -> None:
    names = targets(model)
    same = {
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q": KOHYA,
        "lora_unet_middle_block_1_proj_in": "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_input_blocks_1_0_in_layers_2": "lora_unet_down_blocks_0_resnets_0_conv1",
        "lora_unet_time_embed_0": "lora_unet_time_embedding_linear_1",
    }
    assert all(names[ldm] == names[ours] for ldm, ours in same.items())


def test_a_plain_lora_leaves_the_extra_channels_of_an_inpainting_model(tmp_path: Path, write: Callable) -> None:
    path = write_random(tmp_path / "inpaint.safetensors", tiny_layout(in_channels=9))
    tensors = {
        "lora_unet_conv_in.lora_down.weight": noise(2, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": noise(32, 2, 1, 1, seed=1),
    }
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(path)) as model:
        before = model.unet.conv_in.weight.clone()
        with applied(model, [write(tensors)]):
            after = model.unet.conv_in.weight
            assert torch.equal(after[:, 4:], before[:, 4:]) and not torch.equal(after[:, :4], before[:, :4])


def test_embeddings_bundled_in_a_lora_are_handed_out(model: Model, write: Callable) -> None:
    tensors = low_rank(KOHYA) | {"bundle_emb.trigger.string_to_param.*": noise(2, 32)}
    with applied(model, [write(tensors)]) as (report,):
        assert isinstance(report, AdapterReport)
        (embedding,) = report.embeddings
    assert (embedding.name, embedding.length, embedding.fits({"clip_l": 32})) == ("trigger", 2, True)


# The formats against their definitions, written out another way.

CONV, LINEAR = (6, 4, 3, 3), (6, 8)


def test_a_convolutions_low_rank_parts_are_two_convolutions_in_a_row() -> None:
    parts = {"down": noise(2, 4, 3, 3), "up": noise(6, 2, 1, 1, seed=1)}
    change, x = weight_change(parts, torch.zeros(CONV)), noise(1, 4, 5, 5, seed=2)
    in_a_row = torch.conv2d(torch.conv2d(x, parts["down"]), parts["up"])
    assert torch.allclose(torch.conv2d(x, change), in_a_row, atol=1e-4)


def test_a_tucker_core_is_three_convolutions_in_a_row() -> None:
    parts = {"down": noise(2, 4, 1, 1), "mid": noise(3, 2, 3, 3, seed=1), "up": noise(6, 3, 1, 1, seed=2)}
    change, x = weight_change(parts, torch.zeros(CONV)), noise(1, 4, 5, 5, seed=3)
    in_a_row = torch.conv2d(torch.conv2d(torch.conv2d(x, parts["down"]), parts["mid"]), parts["up"])
    assert torch.allclose(torch.conv2d(x, change), in_a_row, atol=1e-4)


def test_loha_multiplies_two_low_rank_matrices() -> None:
    parts = {f"hada_w{n}_{s}": noise(*shape, seed=n) for n in (1, 2) for s, shape in (("a", (6, 2)), ("b", (2, 8)))}
    change = weight_change(parts | {"alpha": torch.tensor(1.0)}, torch.zeros(LINEAR))
    halves = [torch.einsum("or,ri->oi", parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"]) for n in (1, 2)]
    assert torch.allclose(change, halves[0] * halves[1] * 0.5, atol=1e-5)  # alpha 1 over rank 2


def test_loha_with_cores_rebuilds_convolutions() -> None:
    parts = {}
    for n in (1, 2):
        parts |= {f"hada_t{n}": noise(2, 2, 3, 3, seed=n), f"hada_w{n}_a": noise(2, 6, seed=n + 3)}
        parts |= {f"hada_w{n}_b": noise(2, 4, seed=n + 6)}
    halves = [
        torch.stack([
            torch.stack([
                sum(parts[f"hada_t{n}"][p, q] * parts[f"hada_w{n}_a"][p, o] * parts[f"hada_w{n}_b"][q, i]
                    for p in range(2) for q in range(2))
                for i in range(4)])
            for o in range(6)])
        for n in (1, 2)
    ]  # fmt: skip
    assert torch.allclose(weight_change(parts, torch.zeros(CONV)), halves[0] * halves[1], atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3, 3)])
def test_lokr_is_a_kronecker_product(shape: tuple[int, ...]) -> None:
    first, second = noise(2, 2), noise(2, 2, *shape[2:], seed=1)
    change = weight_change({"lokr_w1": first, "lokr_w2": second}, torch.zeros(shape))
    for o in range(4):
        for i in range(4):
            assert torch.allclose(change[o, i], first[o // 2, i // 2] * second[o % 2, i % 2])


def test_lokr_of_low_rank_is_scaled_by_its_rank() -> None:
    a, b, first = noise(3, 2), noise(2, 4, seed=1), noise(2, 2, seed=2)
    parts = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(4.0)}
    assert torch.allclose(weight_change(parts, torch.zeros(LINEAR)), torch.kron(first, a @ b) * 2, atol=1e-5)


def test_ia3_scales_rows_or_columns() -> None:
    weight, rows, columns = noise(*LINEAR), noise(6, seed=1), noise(8, seed=2)
    change = weight_change({"weight": rows, "on_input": torch.tensor(False)}, weight)
    assert torch.allclose(change, torch.diag(rows) @ weight, atol=1e-6)
    change = weight_change({"weight": columns, "on_input": torch.tensor(True)}, weight)
    assert torch.allclose(change, weight @ torch.diag(columns), atol=1e-6)


def test_dora_gives_every_slice_its_learned_length() -> None:
    weight, parts = noise(*LINEAR), {"down": noise(2, 8, seed=1), "up": noise(6, 2, seed=2)}
    columns = noise(1, 8, seed=3).abs()
    merged = weight + weight_change(parts | {"dora_scale": columns}, weight)
    assert torch.allclose(merged.norm(dim=0), columns[0], atol=1e-5)
    rows = noise(6, seed=4).abs()  # peft's vector is one length a row
    merged = weight + weight_change(parts | {"dora_scale": rows}, weight)
    assert torch.allclose(merged.norm(dim=1), rows, atol=1e-5)


@pytest.mark.parametrize("stages", [None, 1, 2])
def test_oft_and_boft_turn_the_weight_without_stretching_it(stages: int | None) -> None:
    weight = noise(8, 5)
    blocks = noise(2, 4, 4, seed=1) if stages is None else noise(stages, 2, 4, 4, seed=1)
    turned = weight + weight_change({"oft_blocks": blocks}, weight)
    assert not torch.allclose(turned, weight)
    assert torch.allclose(turned.T @ turned, weight.T @ weight, atol=1e-4)
    barely = weight + weight_change({"oft_blocks": blocks, "alpha": torch.tensor(1e-6)}, weight)
    assert torch.allclose(barely, weight, atol=1e-4)  # alpha limits how far it turns


def test_glora_and_full_differences() -> None:
    weight = noise(*LINEAR)
    parts = {"a1.weight": noise(2, 8), "a2.weight": noise(8, 2), "b1.weight": noise(2, 8), "b2.weight": noise(6, 2)}
    expected = parts["b2.weight"] @ parts["b1.weight"] + weight @ parts["a2.weight"] @ parts["a1.weight"]
    assert torch.allclose(weight_change(parts | {"alpha": torch.tensor(1.0)}, weight), expected, atol=1e-4)
    newer = {f"{letter}{3 - number}.weight": parts[f"{letter}{number}.weight"] for letter in "ab" for number in (1, 2)}
    change = weight_change(newer | {"alpha": torch.tensor(1.0)}, weight)
    assert torch.allclose(change, expected / 2, atol=1e-4)  # alpha 1 over rank 2
    assert torch.equal(weight_change({"diff": weight}, weight), weight)


def test_norm_layers_take_both_differences(model: Model, write: Callable) -> None:
    norm = model.unet.down_blocks[0].attentions[0].norm
    before = norm.weight.clone(), norm.bias.clone()
    name = "lora_unet_down_blocks_0_attentions_0_norm"
    with applied(model, [write({f"{name}.w_norm": torch.ones(32), f"{name}.b_norm": torch.ones(32)}, unet=0.5)]):
        assert torch.allclose(norm.weight, before[0] + 0.5) and torch.allclose(norm.bias, before[1] + 0.5)
    assert torch.equal(norm.weight, before[0]) and torch.equal(norm.bias, before[1])
