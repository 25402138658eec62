from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.networks.upscalers import CompactNet, RRDBNet, network_for
from tests.support.upscalers import Tensors, as_first_code, as_second_code, compact, real_esrgan


def picture(height: int = 10, width: int = 13) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(5))


def by_the_paper(tensors: Tensors, x: Tensor) -> Tensor:
    """RRDBNet for 4 times, written once more from the paper's figure, over Real-ESRGAN's names."""

    def conv(name: str, value: Tensor) -> Tensor:
        return F.conv2d(value, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    def active(value: Tensor) -> Tensor:
        return torch.where(value > 0, value, value * 0.2)

    first = trunk = conv("conv_first", x)
    for block in ("body.0", "body.1"):
        inside = trunk
        for dense in (1, 2, 3):
            seen = [inside]
            for number in range(1, 5):
                seen.append(active(conv(f"{block}.rdb{dense}.conv{number}", torch.cat(seen, 1))))
            inside = inside + 0.2 * conv(f"{block}.rdb{dense}.conv5", torch.cat(seen, 1))
        trunk = trunk + 0.2 * inside
    feature = first + conv("conv_body", trunk)
    for name in ("conv_up1", "conv_up2"):
        feature = active(conv(name, feature.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv("conv_last", active(conv("conv_hr", feature)))


@pytest.mark.parametrize("named", [dict, as_first_code, as_second_code])
def test_esrgan_is_the_papers_network_under_all_three_namings(named: object) -> None:
    tensors = real_esrgan()
    network = network_for(named(tensors))
    assert isinstance(network, RRDBNet) and network.scale == 4
    assert torch.allclose(network(picture()), by_the_paper(tensors, picture()), atol=1e-5)


@pytest.mark.parametrize(
    "doublings, folding, scale", [(0, 1, 1), (1, 1, 2), (2, 1, 4), (3, 1, 8), (2, 2, 2), (2, 4, 1)]
)
def test_the_factor_follows_from_the_tensors(doublings: int, folding: int, scale: int) -> None:
    tensors = real_esrgan(doublings=doublings, folding=folding)
    for named in (tensors, as_first_code(tensors)):
        network = network_for(named)
        assert network.scale == scale
        assert network(picture()).shape == (1, 3, 10 * scale, 13 * scale)  # sides need not divide by the folding


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_compact_network_adds_to_the_repeated_pixels(scale: int) -> None:
    tensors = compact(scale=scale)
    network = network_for(tensors)
    assert isinstance(network, CompactNet) and network.scale == scale
    repeated = picture().repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    silent = {name: tensor * ("body.6." not in name) for name, tensor in tensors.items()}
    assert torch.equal(network_for(silent)(picture()), repeated)
    assert network(picture()).shape == repeated.shape and not torch.equal(network(picture()), repeated)


def test_half_precision_files_run_in_float32() -> None:
    network = network_for({name: tensor.half() for name, tensor in real_esrgan().items()})
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_other_networks_are_not_ours() -> None:
    assert network_for({"patch_embed.norm.weight": torch.ones(4), "conv_first.weight": torch.ones(4, 3, 3, 3)}) is None


def test_variants_and_damaged_files_are_named() -> None:
    tensors = real_esrgan()
    with pytest.raises(ValueError, match=r"ESRGAN\+"):
        network_for(tensors | {"body.0.rdb1.conv1x1.weight": torch.ones(8, 16, 1, 1)})
    with pytest.raises(ValueError, match="takes 4 channels"):
        network_for(tensors | {"conv_first.weight": torch.ones(16, 4, 3, 3)})
    del tensors["conv_hr.weight"]
    with pytest.raises(ValueError, match=r"conv_hr\.weight"):
        network_for(tensors)
