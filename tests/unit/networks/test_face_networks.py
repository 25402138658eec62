"""The networks for faces against the originals: over the same tensors the numbers are those of the originals' code.

They were recorded with facexlib 0.3.0 (RetinaFace, ParseNet; its ResNet with as many blocks as here), spandrel 0.4.2
(GFPGANv1Clean without random noise) and spandrel-extra-arches 0.2.0 (CodeFormer's parts put together as here), each
with the tensors of `tests/support/faces.py` loaded by name, none missing or left over.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.networks.codeformer import codeformer
from modules.networks.gfpgan import gfpgan
from modules.networks.parsenet import parsenet
from modules.networks.retinaface import retinaface
from tests.support import faces


def picture(height: int, width: int) -> Tensor:
    values = np.sin(np.arange(3 * height * width) * 0.37).reshape(1, 3, height, width)
    return torch.from_numpy(values.astype(np.float32))


def measured(tensor: Tensor) -> list[float]:
    """Mean, spread, and six numbers at even distances."""
    flat = tensor.flatten().double()
    return [float(value) for value in (flat.mean(), flat.std(), *flat[torch.linspace(0, len(flat) - 1, 6).long()])]


def assert_measures(tensor: Tensor, *recorded: float) -> None:
    assert measured(tensor) == pytest.approx(recorded, rel=1e-4, abs=1e-4)


RECORDED = {
    "mobile": (
        (34.0279, 1140.75214, -4.47228, 82.7177, 51.67447, 73.25816, 26.60137, 7063.02197),
        (0.24142, 0.26079, 0.41596, 0.50751, 0.4977, 0.10307, 3e-05, 0.0),
        (34.00775, 125.49752, 4.77993, 11.4141, 27.40732, 42.68419, 28.63138, 35.38897),
    ),
    "residual": (
        (-47.08765, 31269.22668, -4.27511, 87.24867, 48.49102, 58.16994, -36.70163, 569902.1875),
        (0.28332, 0.21717, 0.43961, 0.47707, 0.41503, 0.08303, 0.19466, 0.00012),
        (11.23945, 313.61412, 4.38059, 12.30842, 24.83621, 50.71154, 112.99275, 1984.23047),
    ),
}


@pytest.mark.parametrize("kind", RECORDED)
def test_retinaface_is_the_original_on_both_bodies(kind: str) -> None:
    body, taken = faces.mobile_body() if kind == "mobile" else faces.residual_body()
    tensors = faces.patterned(faces.retinaface_layout(body, taken, width=64 if kind == "mobile" else 128))
    network = retinaface({f"module.{name}": tensor for name, tensor in tensors.items()})
    for answer, recorded in zip(network((picture(50, 70) + 1) * 127.5), RECORDED[kind], strict=True):
        assert_measures(answer, *recorded)


def test_gfpgan_is_the_original_with_the_noise_of_its_file() -> None:
    network = gfpgan(faces.patterned(faces.gfpgan_layout(side=32)))
    assert_measures(network(picture(32, 32)), 1.63731, 0.5195, 1.2292, 1.25025, 2.32338, 2.38054, 1.04706, 1.21047)
    assert torch.equal(network(picture(32, 32)), network(picture(32, 32)))


def test_codeformer_is_the_original_with_and_without_a_weight() -> None:
    network = codeformer(faces.patterned(faces.codeformer_layout(halvings=2, code=256)))
    without, with_some = network(picture(64, 64), 0.0), network(picture(64, 64), 0.7)
    assert_measures(without, 0.11655, 0.1676, 0.06082, 0.06168, 0.25319, 0.1176, 0.07492, 0.10278)
    assert_measures(with_some, 0.11649, 0.16173, 0.09964, 0.04779, 0.25368, 0.15853, 0.08312, 0.11135)


def test_parsenet_is_the_original() -> None:
    network = parsenet(faces.patterned(faces.parsenet_layout()))
    labels = network(picture(64, 64))
    assert labels.shape == (1, 19, 64, 64)
    assert_measures(labels, -0.01313, 0.09934, -0.12387, 0.02911, -0.02545, -0.01758, 0.056, -0.11247)


@pytest.mark.parametrize("build", [retinaface, gfpgan, codeformer, parsenet])
def test_what_is_something_else_or_damaged_is_said(build) -> None:
    with pytest.raises(ValueError, match="lacks the tensor"):
        build({"conv.weight": torch.zeros(3, 3, 3, 3)})
    body, taken = faces.mobile_body(first=4, stages=((4, 4, 4, 4, 4), (4,), (4,)))
    layouts = {
        retinaface: faces.retinaface_layout(body, taken, width=8),
        gfpgan: faces.gfpgan_layout(side=16),
        codeformer: faces.codeformer_layout(halvings=1),
        parsenet: faces.parsenet_layout(),
    }
    tensors = faces.patterned(layouts[build])
    lost = next(reversed(tensors))
    with pytest.raises(ValueError, match=lost.split(".")[0]):
        build({name: tensor for name, tensor in tensors.items() if name != lost})


def test_gfpgans_first_version_is_refused_with_what_to_take_instead() -> None:
    with pytest.raises(ValueError, match=r"1\.4"):
        gfpgan({"conv_body_first.0.weight": torch.zeros(2, 3, 1, 1)})
