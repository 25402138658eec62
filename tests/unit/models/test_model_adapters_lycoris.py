"""Every format against LyCORIS' own modules (Apache-2.0): what they answer in a forward pass is what the changed weight
answers. Runs where `pip install --no-deps lycoris-lora einops toml` was done; with 4.1.3 all agreed. (Its
`get_merged_weight` scales LoHa twice; training, and so a file, knows the forward pass alone.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.models.adapters.keys import split_key
from modules.models.adapters.patch import weight_change

lycoris = pytest.importorskip("lycoris.modules")

LAYERS = {
    "linear": lambda: nn.Linear(12, 16),
    "convolution": lambda: nn.Conv2d(8, 16, 3, padding=1),
    "pointwise": lambda: nn.Conv2d(8, 16, 1),
}
DORA: list[dict[str, Any]] = [{}, {"weight_decompose": True}, {"weight_decompose": True, "wd_on_out": False}]
TUCKER: list[dict[str, Any]] = [{}, {"use_tucker": True}]
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("LoConModule", dora | tucker) for dora in DORA for tucker in TUCKER),
    ("LoConModule", {"use_scalar": True}),
    *(("LohaModule", dora | tucker) for dora in DORA for tucker in TUCKER),
    *(("LokrModule", {"factor": 2, "lora_dim": 2} | dora | tucker) for dora in DORA for tucker in TUCKER),
    ("LokrModule", {"factor": 4}),
    ("LokrModule", {"factor": 2, "lora_dim": 2, "decompose_both": True}),
    *(("DiagOFTModule", more) for more in ({}, {"rescaled": True}, {"constraint": 0.01})),
    *(("ButterflyOFTModule", more) for more in ({}, {"rescaled": True}, {"constraint": 0.01})),
    ("GLoRAModule", {}),
    *(("IA3Module", more) for more in ({}, {"train_on_input": True})),
    ("FullModule", {}),
]


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("name, options", CASES)
@torch.no_grad()
def test_a_format_is_the_one_of_lycoris(name: str, options: Mapping[str, Any], kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    x = torch.randn(3, 12) if kind == "linear" else torch.randn(2, 8, 5, 5)
    module = _module(name, layer, {"lora_dim": 4, "alpha": 2} | dict(options))
    for parameter_name, parameter in module.named_parameters():
        if "dora_scale" in parameter_name:  # lengths stay about what they are
            parameter.mul_(1 + torch.rand_like(parameter) / 3)
        elif "rescale" in parameter_name:
            parameter.add_(torch.randn_like(parameter) / 10)
        elif not parameter_name.startswith("org"):
            parameter.copy_(torch.randn_like(parameter) / 3)
    module.eval().apply_to()
    tensors = {key: value for key, value in module.state_dict().items() if not key.startswith("org_module")}
    parts: dict[str, Tensor] = {}
    for key, value in tensors.items():
        split = split_key(f"lora_unet_x.{key}")
        assert split is not None, f"{key} is not known"
        parts[split[1]] = value.float()
    change = weight_change(parts, weight)
    assert change is not None and change.abs().max() > 1e-3
    if "diff_b" in parts:
        bias += parts["diff_b"]
    changed = weight + change
    ours = F.linear(x, changed, bias) if kind == "linear" else F.conv2d(x, changed, bias, padding=weight.shape[-1] // 2)
    assert torch.allclose(layer(x), ours, atol=1e-4)


def _module(name: str, layer: nn.Module, options: dict[str, Any]) -> Any:  # Any: LyCORIS may not be there to name it
    from lycoris.modules import boft, diag_oft, full, glora, ia3, locon, loha, lokr

    places = (boft, diag_oft, full, glora, ia3, locon, loha, lokr)
    module_class = next(getattr(place, name) for place in places if hasattr(place, name))
    return module_class("lora_unet_x", layer, multiplier=1.0, **options)
