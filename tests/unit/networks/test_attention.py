from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor

from modules.errors import UnknownName
from modules.networks import attention
from modules.networks.attention import (
    BACKENDS,
    AttentionBackend,
    KernelProcessor,
    Probe,
    Unavailable,
    choose_backend,
    probe,
)

CPU = torch.device("cpu")
ON_CPU = ["sdp", "sdp-no-mem", "sub-quadratic", "split", "math"]


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("queries, keys", [(1, 1), (1500, 77), (300, 5000)])
def test_every_kernel_computes_attention(name: str, queries: int, keys: int) -> None:
    q, k, v = (torch.randn(2, 2, tokens, 8) for tokens in (queries, keys, keys))
    expected = torch.softmax(q.double() @ k.double().mT / 8**0.5, dim=-1) @ v.double()
    assert torch.allclose(BACKENDS.get(name).make(CPU)(q, k, v), expected.float(), atol=1e-5)


def test_split_attention_works_through_the_queries_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(1, 2, 50, 8) for _ in range(3))
    kernel = BACKENDS.get("split").make(CPU)
    whole = kernel(q, k, v)
    monkeypatch.setattr(attention, "SLICE_BYTES", 2 * 50 * 4 * 7)  # seven rows of scores
    assert torch.allclose(kernel(q, k, v), whole, atol=1e-6)


def test_large_scores_do_not_overflow_the_running_softmax() -> None:
    q, k = (torch.full((1, 1, 5000, 8), 60.0) for _ in range(2))
    v = torch.randn(1, 1, 5000, 8)
    answer = BACKENDS.get("sub-quadratic").make(CPU)(q, k, v)
    assert torch.allclose(answer, v.mean(dim=2, keepdim=True).expand_as(v), atol=1e-4)


def test_a_backend_that_cannot_run_says_why() -> None:
    assert probe("xformers", CPU).reason == "xformers has kernels for CUDA devices only"
    assert all(probe(name, CPU).works for name in ON_CPU)


@pytest.fixture
def extra() -> object:
    def add(kernel: object, priority: int = 1000) -> None:
        BACKENDS.add("extra", AttentionBackend("extra", lambda device: kernel, priority))  # type: ignore[arg-type, return-value]

    yield add
    BACKENDS.remove("extra")


def test_a_kernel_with_wrong_results_is_not_used(extra: object) -> None:
    extra(lambda q, k, v: F.scaled_dot_product_attention(q, k, v) * 1.01)  # type: ignore[operator]
    assert "wrong by" in probe("extra", CPU).reason
    name, tried = choose_backend("Automatic", (), CPU, torch.float32)
    assert name == "sdp" and tried[0].name == "extra"


def test_a_kernel_that_crashes_is_not_used(extra: object) -> None:
    def crash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor execution")

    extra(crash)  # type: ignore[operator]
    assert probe("extra", CPU).reason == "it failed a small test: RuntimeError: no kernel image is available"


def test_a_kernel_is_tried_with_the_heads_that_the_model_has(extra: object) -> None:
    def narrow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if q.shape[-1] > 128:
            raise NotImplementedError("heads of more than 128 are not supported")
        return F.scaled_dot_product_attention(q, k, v)

    extra(narrow)  # type: ignore[operator]
    assert choose_backend("Automatic", (), CPU, torch.float32, {64})[0] == "extra"
    name, tried = choose_backend("Automatic", (), CPU, torch.float32, {40, 80, 160})
    assert name == "sdp" and "more than 128" in tried[0].reason


def test_kernels_for_another_kind_of_device_are_tried_only_when_asked_for() -> None:
    _, tried = choose_backend("Automatic", (), CPU, torch.float32)
    assert "xformers" not in [one.name for one in tried]
    name, tried = choose_backend("Automatic", ("xformers",), CPU, torch.float32)
    assert name == "sdp" and tried[0].reason == "xformers has kernels for CUDA devices only"


def test_on_apples_gpus_attention_goes_in_chunks_unless_something_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modules.networks.attention.probe", lambda name, *_: Probe(name))
    mps = torch.device("mps")
    assert choose_backend("Automatic", (), mps, torch.float16)[0] == "sub-quadratic"
    assert choose_backend("Automatic", ("sdp",), mps, torch.float16)[0] == "sdp"
    assert choose_backend("Automatic", (), torch.device("cuda"), torch.float16)[0] == "xformers"


def test_flags_and_the_setting_decide_and_a_remark_behind_the_name_is_ignored() -> None:
    assert choose_backend("Automatic", ("split",), CPU, torch.float32)[0] == "split"
    assert choose_backend("sub-quadratic - saves memory", ("split",), CPU, torch.float32)[0] == "sub-quadratic"
    assert choose_backend("Doggettx", (), CPU, torch.float32)[0] == "split"
    assert choose_backend("None", (), CPU, torch.float32)[0] == "math"
    with pytest.raises(UnknownName, match='no attention backend named "xformer"; did you mean "xformers"'):
        choose_backend("xformer", (), CPU, torch.float32)


def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8)


def test_the_processor_agrees_with_diffusers_own() -> None:
    attend, x, context = layer(), torch.randn(2, 10, 16), torch.randn(2, 7, 12)
    with torch.no_grad():
        expected = attend.set_processor(AttnProcessor()) or attend(x, encoder_hidden_states=context)
        attend.set_processor(KernelProcessor(F.scaled_dot_product_attention))
        assert torch.allclose(attend(x, encoder_hidden_states=context), expected, atol=1e-5)


def test_upcasting_computes_scores_in_float32() -> None:
    seen = []

    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen.append(q.dtype)
        return F.scaled_dot_product_attention(q, k, v)

    attend = layer().to(torch.bfloat16)
    attend.set_processor(KernelProcessor(kernel, upcast=True))
    with torch.no_grad():
        answer = attend(torch.randn(1, 4, 16).bfloat16(), encoder_hidden_states=torch.randn(1, 3, 12).bfloat16())
    assert seen == [torch.float32] and answer.dtype == torch.bfloat16


def test_unavailable_is_told_in_words() -> None:
    with pytest.raises(Unavailable, match="CUDA"):
        BACKENDS.get("xformers").make(CPU)
