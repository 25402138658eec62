from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from modules.errors import ModelFileBroken
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.hypernetworks import Hypernetwork, hypernetworks_applied, read_hypernetwork
from modules.models.loaded import Conditioning
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.models.places import ModelFolders
from tests.unit.models.conftest import ref_to


def trained(
    width: int, structure: list[float], *, activation: type[nn.Module] | None, **options: bool
) -> nn.Sequential:
    """A network with its layers in the order in which A1111 trains them, dropout included."""
    layers: list[nn.Module] = []
    for index, (inner, outer) in enumerate(pairwise(structure)):
        layers.append(nn.Linear(int(width * inner), int(width * outer)))
        is_last = index == len(structure) - 2
        if activation is not None and (not is_last or options.get("activate_output")):
            layers.append(activation())
        if options.get("is_layer_norm"):
            layers.append(nn.LayerNorm(int(width * outer)))
        if options.get("use_dropout") and not is_last:
            layers.append(nn.Dropout(0.3))
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.2)
    return nn.Sequential(*layers).eval()


def state(network: nn.Sequential) -> dict[str, torch.Tensor]:
    return {f"linear.{key}": tensor for key, tensor in network.state_dict().items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def save(networks: dict[int, tuple], name: str = "style.pt", **options: object) -> Path:
        torch.save({**networks, "name": "style", "step": 1, **options}, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture(scope="module")
def model(tiny_sd1: Path) -> Model:
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(tiny_sd1)) as loaded:
        return loaded


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (None, None),
        ("linear", None),
        ("relu", nn.ReLU),
        ("leakyrelu", nn.LeakyReLU),
        ("elu", nn.ELU),
        ("swish", nn.Hardswish),
        ("tanh", nn.Tanh),
        ("sigmoid", nn.Sigmoid),
        ("gelu", nn.GELU),
        ("mish", nn.Mish),
        ("prelu", nn.PReLU),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"activate_output": False},
        {"activate_output": True},
        {"activate_output": False, "is_layer_norm": True, "use_dropout": True},
        {"activate_output": True, "is_layer_norm": True},
    ],
    ids=str,
)
def test_every_activation_and_layer_option_gives_what_was_trained(
    write: Callable, name: str | None, kind: type[nn.Module] | None, options: dict[str, bool]
) -> None:
    keys, values = (trained(8, [1, 2, 1.5, 1], activation=kind, **options) for _ in range(2))
    path = write({8: (state(keys), state(values))}, activation_func=name, layer_structure=[1, 2, 1.5, 1], **options)
    x = torch.randn(2, 5, 8)
    for network, original in zip(read_hypernetwork(path)[8], (keys, values), strict=True):
        assert torch.allclose(network(x, 0.7), x + original(x) * 0.7, atol=1e-6)


def test_files_of_the_first_days_have_two_layers_under_other_names_and_no_options(write: Callable) -> None:
    network = trained(8, [1, 2, 1], activation=None)
    renamed = {f"linear{int(key[0]) + 1}{key[1:]}": tensor for key, tensor in network.state_dict().items()}
    x = torch.randn(1, 3, 8)
    read = read_hypernetwork(write({8: (renamed, renamed)}))[8][0]
    assert torch.allclose(read(x, 1.0), x + network(x), atol=1e-6)


@pytest.mark.parametrize(
    ("networks", "options", "words"),
    [
        ({}, {}, "not a hypernetwork"),
        ({8: "nothing"}, {}, "not a pair of named tensors"),
        ({8: ({"conv.weight": torch.ones(1, 8)},) * 2}, {}, '"conv.weight" is no tensor of a hypernetwork'),
        ({8: ({"linear.0.weight": torch.ones(4, 8)},) * 2}, {}, "width 8 do not take it"),
        ({8: ({"linear.0.weight": torch.ones(8, 8)},) * 2}, {"activation_func": "wave"}, 'activation "wave"'),
    ],
)
def test_what_is_no_sound_hypernetwork_is_refused_with_the_reason(
    write: Callable, networks: dict, options: dict, words: str
) -> None:
    with pytest.raises(ModelFileBroken, match=words):
        read_hypernetwork(write(networks, **options))


def test_a_hypernetwork_changes_keys_and_values_of_its_widths_and_goes_without_a_trace(
    model: Model, write: Callable
) -> None:
    """The change of to_k and to_v that one linear layer makes can be folded into their weights: that is the oracle."""
    generator = torch.Generator().manual_seed(3)
    matrices = [torch.randn(32, 32, generator=generator) * 0.3 for _ in range(2)]
    path = write({32: tuple({"linear.0.weight": matrix, "linear.0.bias": torch.zeros(32)} for matrix in matrices)})
    x = torch.randn(1, 4, 8, 8, generator=generator)
    told = Conditioning(torch.randn(1, 77, 32, generator=generator))
    before = model.predict(x, torch.tensor([500.0]), told)
    with hypernetworks_applied(model, [Hypernetwork(str(path), "style", 0.5)]) as reports:
        changed = model.predict(x, torch.tensor([500.0]), told)
    assert [(report.applied, report.total, report.notices) for report in reports] == [(1, 1, ())]
    assert torch.equal(model.predict(x, torch.tensor([500.0]), told), before)

    weights = []
    for name, module in model.unet.named_modules():
        if name.endswith((".to_k", ".to_v")) and module.in_features == 32:
            matrix = matrices[name.endswith(".to_v")]
            weights.append((module.weight, module.weight.data))
            module.weight.data = module.weight.data @ (torch.eye(32) + 0.5 * matrix)
    folded = model.predict(x, torch.tensor([500.0]), told)
    for weight, original in weights:
        weight.data = original
    assert torch.allclose(changed, folded, atol=1e-4)
    assert (changed - before).abs().max() > 0.01


def test_several_hypernetworks_act_one_after_the_other(model: Model, write: Callable) -> None:
    files = []
    for index in range(2):
        pair = tuple({"linear.0.weight": torch.randn(32, 32) * 0.3, "linear.0.bias": torch.randn(32)} for _ in range(2))
        files.append((write({32: pair}, name=f"{index}.pt"), pair))
    told = torch.randn(1, 77, 32)
    with hypernetworks_applied(model, [Hypernetwork(str(path), path.stem) for path, _ in files]):
        processor = model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.processor
        keys = values = told
        for hook in processor.hooks:
            keys, values = hook(keys, values)
    for place, got in enumerate((keys, values)):
        expected = told
        for _, pair in files:
            expected = expected + nn.functional.linear(
                expected, pair[place]["linear.0.weight"], pair[place]["linear.0.bias"]
            )
        assert torch.allclose(got, expected, atol=1e-5)
    assert processor.hooks == ()


def test_a_hypernetwork_for_another_kind_of_model_changes_nothing_and_says_so(model: Model, write: Callable) -> None:
    network = state(trained(1024, [1, 1], activation=None))
    path = write({1024: (network, network)})
    with hypernetworks_applied(model, [Hypernetwork(str(path), "style")]) as (report,):
        assert report.applied == 0
    assert report.notices == (
        'hypernetwork "style" was made for another kind of model: it changes contexts of width 1024, '
        "this model has 32, 64",
    )


def test_a_hypernetwork_is_found_by_its_stem(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "style.pt").write_bytes(b"")
    catalog = Catalog(ModelFolders(hypernetworks=(tmp_path,)))
    assert catalog.find_hypernetwork("style") == tmp_path / "sub" / "style.pt"
    assert catalog.find_hypernetwork("Style") is None
