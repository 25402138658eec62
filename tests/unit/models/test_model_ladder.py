"""Doing with less memory, rung by rung: hooks on the real networks say where memory ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from modules.errors import NotEnoughMemory
from modules.models import memory
from modules.models.device import DevicePolicy
from modules.models.ladder import NETWORK_RUNGS, TILE_SIDES, Means, Run, layer_by_layer, one_network, tile_for
from modules.models.loaded import Conditioning
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.models.placement import CPU, AllOnDevice, OneAtATime, PieceByPiece
from modules.networks.attention import KernelProcessor
from tests.support.pretended_device import pretended_device
from tests.unit.models.conftest import ref_to


@pytest.fixture
def model(tiny_sd1: Path) -> Iterator[Model]:
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(tiny_sd1)) as model:
        yield model


@contextmanager
def memory_ends(network: nn.Module, when: Callable[[Tensor], bool], error: Exception) -> Iterator[list[int]]:
    """While open, `network` runs out of memory where `when` says so of its input; gives the rows of every run."""
    seen: list[int] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(len(inputs[0]))
        if when(inputs[0]):
            raise error

    hook = network.register_forward_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def inputs(rows: int, side: int = 8) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(3)
    x, context = (torch.randn(rows, *shape, generator=generator) for shape in ((4, side, side), (77, 32)))
    return x, torch.linspace(1, 999, rows), Conditioning(context)


def kernel_of(model: Model) -> object:
    return next(each.kernel for each in model.unet.attn_processors.values() if isinstance(each, KernelProcessor))


def test_attention_is_sliced_first_and_for_that_run_alone(model: Model) -> None:
    given, whole = inputs(2), kernel_of(model)
    expected = model.predict(*given)
    with memory_ends(model.unet, lambda x: kernel_of(model) is whole, OUT) as seen:
        answer = model.predict(*given)
    assert torch.allclose(answer, expected, atol=1e-5)
    assert seen == [2, 2] and kernel_of(model) is whole
    assert model.take_news() == ("a step was done with attention in slices, as memory was short",)


def test_then_the_batch_is_halved_down_to_one_prompt_at_a_time(model: Model) -> None:
    given = inputs(6)
    expected = model.predict(*given)
    with memory_ends(model.unet, lambda x: len(x) > 1, OUT) as seen:
        answer = model.predict(*given)
    assert torch.allclose(answer, expected, atol=1e-5)
    assert seen == [6, 6, 3, 1, 1, 1, 1, 1, 1]  # whole, in slices, by threes, one by one
    assert model.take_news() == (
        "a step was done with attention in slices, with 1 of the batch's 6 prompts at a time, as memory was short",
    )


def test_what_was_needed_is_remembered_for_runs_at_least_as_large(model: Model) -> None:
    with memory_ends(model.unet, lambda x: x.numel() > 2 * 4 * 64, OUT) as seen:
        model.predict(*inputs(4))
        model.predict(*inputs(5))
        model.predict(*inputs(1))
    assert seen == [*(4, 4, 2, 2), *(2, 2, 1), 1]
    model.begin_job()
    with memory_ends(model.unet, lambda x: False, OUT) as seen:
        model.predict(*inputs(4))
        model.predict(*inputs(4))
    assert seen == [2, 2, 2, 2]
    assert model.take_news() == (  # once a job
        "a step was done with attention in slices, with 2 of the batch's 4 prompts at a time, "
        "as memory was short before",
    )


def test_other_models_leave_the_device_first(model: Model) -> None:
    asked = []
    model.make_room = lambda: asked.append(1) is None and len(asked) == 1
    ends = iter([True, False])
    with memory_ends(model.unet, lambda x: next(ends), OUT):
        model.predict(*inputs(1))
    assert model.take_news() == ("a step was done with other models dropped, as memory was short",)


def test_when_nothing_helps_the_error_says_what_was_tried_and_the_next_run_works(model: Model) -> None:
    with (
        memory_ends(model.unet, lambda x: True, OUT),
        pytest.raises(NotEnoughMemory, match=r"are free\), even with attention in slices, with 1 of .* a smaller size"),
    ):
        model.predict(*inputs(2))
    assert model.predict(*inputs(2)).isfinite().all()


def test_another_error_is_no_matter_of_memory(model: Model) -> None:
    wrong = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with memory_ends(model.unet, lambda x: True, wrong) as seen, pytest.raises(RuntimeError, match="shapes"):
        model.predict(*inputs(2))
    assert seen == [2]


@pytest.mark.parametrize(
    "error",
    [
        OUT,
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 6.80 GB)"),
        RuntimeError("Invalid buffer size: 64.00 GB"),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried 8 B"),
    ],
)
def test_every_device_has_its_own_words_for_it(error: Exception) -> None:
    assert memory.is_out_of_memory(error)


def test_memory_is_asked_of_the_card_in_use_whatever_the_threads_current_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card, other = torch.device("cuda", 1), torch.device("cuda", 0)
    held = {card: (3, 1), other: (0, 0)}  # reserved, allocated
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=other: (10, 16) if device == card else (15, 16))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=other: held[device][0])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=other: held[device][1])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=other: 2 if device == card else 0)
    assert (memory.free_bytes(card), memory.card_usage(card), memory.peak_bytes(card)) == (12, (6, 16), 2)
    assert memory.card_usage(CPU) is None and memory.peak_bytes(CPU) == 0


def test_apples_gpu_has_what_it_may_take_of_what_the_system_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    gigabytes = {"recommended_max_memory": 12, "current_allocated_memory": 4, "driver_allocated_memory": 5}
    for name, number in gigabytes.items():
        monkeypatch.setattr(torch.mps, name, lambda number=number: number * 10**9)
    mps = torch.device("mps")
    for left, free in ((20, 8), (3, 4)):  # 12 - 4, or 3 and the one that PyTorch holds unused
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda left=left: SimpleNamespace(available=left * 10**9))
        assert memory.free_bytes(mps) == free * 10**9


def test_an_error_of_the_device_itself_is_told_from_a_want_of_memory() -> None:
    assert memory.is_broken_device(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert not memory.is_broken_device(torch.AcceleratorError("CUDA error: out of memory"))
    assert not memory.is_broken_device(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_decode_is_tiled_then_in_smaller_tiles_and_close_to_the_whole(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.models.ladder.TILE_SIDES", (128, 64))
    latents = torch.randn(1, 4, 24, 20, generator=torch.Generator().manual_seed(0))
    whole = model.decode(latents)
    decoder = model.vae.decoder
    with memory_ends(decoder, lambda x: x.shape[-1] > 8, OUT):
        tiled = model.decode(latents)
    assert tiled.shape == whole.shape
    assert model.take_news() == (
        "decoding the latents was done in tiles of 128 pixels, in tiles of 64 pixels, as memory was short",
    )


def test_tiles_are_as_large_as_the_free_memory_allows() -> None:
    def run(side: int) -> Run:
        return Run("decoding", rows=1, size=0, side=side, bytes_for=lambda side: side * side * 1000)

    assert tile_for(run(2048), free=10**10) == 1024
    assert tile_for(run(2048), free=10**9) == 768
    assert tile_for(run(2048), free=10**6) == 128  # the smallest: it is worth trying
    assert tile_for(run(600), free=10**10) == 512
    assert tile_for(run(128), free=10**10) is None  # nothing to cut


def test_on_the_processor_a_decode_that_would_not_fit_is_never_begun(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no error to wait for there: the system ends the process."""
    latents = torch.zeros(1, 4, 40, 40)
    needs = model._vae_bytes(320)
    monkeypatch.setattr("modules.models.model.free_bytes", lambda device: int(needs))
    sizes = []
    hook = model.vae.decoder.register_forward_pre_hook(lambda module, given: sizes.append(given[0].shape[-1]))
    model.decode(latents)
    hook.remove()
    assert set(sizes) == {256 // 8}
    assert "in tiles of 256 pixels: at once it takes about" in model.take_news()[0]


class OnOwnMemory:
    """A model on a device with memory of its own, as far as rungs look."""

    device = torch.device("meta")

    def __init__(self) -> None:
        self.networks = [nn.Linear(1, 1) for _ in range(3)]
        self.placement = AllOnDevice(self.networks)

    def place(self, kind: type[AllOnDevice]) -> None:
        self.placement = (
            kind(self.networks, self.networks[0]) if issubclass(kind, PieceByPiece) else kind(self.networks)
        )

    def make_room(self) -> bool:
        return False

    def say(self, message: str) -> None:
        raise AssertionError(message)


def test_on_a_card_networks_then_layers_are_moved_one_by_one() -> None:
    model, run = OnOwnMemory(), Run("a step", rows=1, size=64)
    assert one_network(model, Means(), run) == (Means(), "with one network on the device at a time, as --medvram does")
    assert type(model.placement) is OneAtATime and one_network(model, Means(), run) is None
    assert layer_by_layer(model, Means(), run)[1] == "with one layer on the device at a time, as --lowvram does"
    assert isinstance(model.placement, PieceByPiece) and layer_by_layer(model, Means(), run) is None
    assert NETWORK_RUNGS.index(one_network) < NETWORK_RUNGS.index(layer_by_layer)


def test_a_model_larger_than_the_card_goes_there_network_by_network(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def too_large(placement: AllOnDevice, device: torch.device) -> None:
        tried.append(type(placement))
        if type(placement) is AllOnDevice:
            raise OUT

    monkeypatch.setattr(AllOnDevice, "load", too_large)
    model.enter_device(torch.device("meta"))  # a device that every machine has besides the CPU
    assert tried == [AllOnDevice] and type(model.placement) is OneAtATime
    assert model.take_news() == (
        "moving the model to the device was done with one network on the device at a time, as --medvram does, "
        "as memory was short",
    )
    model.leave_device()


def test_a_text_encoder_that_the_card_has_no_room_for_is_told_in_words(model: Model) -> None:
    model.place(OneAtATime)
    model.enter_device(torch.device("meta"))
    encoder = model.towers[0].network

    def move(device: torch.device) -> nn.Module:
        if device != CPU:
            raise OUT
        return encoder

    encoder.to = move
    with pytest.raises(NotEnoughMemory, match=r"moving a text encoder to the device takes .* choose a smaller model"):
        model.towers[0].encode(torch.tensor([[49406]]))
    model.leave_device()


def fails_on_the_way(network: nn.Module) -> Callable[[torch.device], nn.Module]:
    """A `to` that runs out of memory when the first of the children is there."""

    def move(device: torch.device) -> nn.Module:
        if device != CPU:
            next(network.children()).to(device)
            raise OUT
        return nn.Module.to(network, device)

    return move


def test_a_network_that_got_there_in_part_comes_back_and_the_one_before_it_works() -> None:
    first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    second.to = fails_on_the_way(second)
    with pretended_device() as card:
        placement = OneAtATime([first, second])
        placement.load(card)
        placement.enter(first)
        with pytest.raises(torch.OutOfMemoryError):
            placement.enter(second)
        assert {weight.device for network in (first, second) for weight in network.parameters()} == {CPU}
        placement.enter(first)
        assert first.weight.device == card
        placement.unload()


def test_a_model_moved_while_it_is_in_use_computes_the_same(model: Model) -> None:
    given, latents = inputs(2), torch.ones(1, 4, 4, 4)
    expected = model.predict(*given), model.decode(latents)
    for kind in (OneAtATime, PieceByPiece):
        model.place(kind)
        assert type(model.placement) is kind
        assert torch.equal(model.predict(*given), expected[0]) and torch.equal(model.decode(latents), expected[1])
        assert model.towers[0].encode(torch.tensor([[49406]]))[0].isfinite().all()


def test_tile_sides_fall() -> None:
    assert list(TILE_SIDES) == sorted(TILE_SIDES, reverse=True)
