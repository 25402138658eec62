"""How long a checkpoint takes to load against reading its file once, how much memory, and what switching costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import MIB, in_fresh_process, resident_bytes, table
from tests.benchmarks.models import reference, sd15_size

REPEATS = 3


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(16 * MIB)
        while file.readinto(buffer):
            pass


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall s, processor s of this process) of `work`; on a busy machine only the second is worth comparing."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - busy


def _load(path: Path, is_half: bool) -> tuple[tuple[float, float], tuple[float, float], int, int]:
    """(read, load, peak bytes above the imports, file bytes); the file is in the page cache, times are the best of 3.

    `is_half`: everything in float16, as on a GPU, and every weight touched once; else the types of this processor.
    """
    import diffusers  # noqa: F401 - imports are not part of loading
    import torch
    import transformers  # noqa: F401

    from modules.models.device import DeviceChoice
    from modules.models.manager import ModelManager

    half = torch.float16
    choice = DeviceChoice(torch.device("cpu"), unet_dtype=half, text_dtype=half, vae_dtype=half) if is_half else None

    def load() -> None:
        with ModelManager(choice=choice).use(reference(path)) as model:
            for network in (model.unet, model.vae, *(tower.network for tower in model.towers)):
                for weight in network.parameters():
                    weight.view(torch.uint8).view(-1)[::4096].max()

    _read(path)
    before = resident_bytes()[0]
    pairs = [(_timed(lambda: _read(path)), _timed(load)) for _ in range(REPEATS)]
    read, loaded = (min((pair[side] for pair in pairs), key=lambda times: times[1]) for side in (0, 1))
    return read, loaded, resident_bytes()[1] - before, path.stat().st_size


def _switch(first: Path, second: Path, times: int) -> list[int]:
    """Anonymous memory after every switch between two checkpoints with room for one."""
    from modules.models.device import DevicePolicy
    from modules.models.manager import ModelManager

    manager = ModelManager(DevicePolicy(ram_budget_bytes=1))
    memory = []
    for index in range(times):
        with manager.use(reference((first, second)[index % 2])):
            pass
        memory.append(resident_bytes()[0])
    return memory


def _back_and_forth(first: Path, second: Path) -> float:
    """The longest of ten switches between two checkpoints that are both kept, in seconds."""
    from modules.models.device import DevicePolicy
    from modules.models.manager import ModelManager

    manager, times = ModelManager(DevicePolicy(ram_budget_bytes=2**40)), []
    for index in range(12):
        started = time.perf_counter()
        with manager.use(reference((first, second)[index % 2])):
            times.append(time.perf_counter() - started)
    return max(times[2:])


def loading() -> str:
    """A 2 GB safetensors file: time over reading it once, peak memory over its size."""
    rows = []
    for title, is_half in (("as stored (float16)", True), ("for this processor", False)):
        read, loaded, peak, size = in_fresh_process(_load, sd15_size(), is_half)
        rows.append(
            (
                title,
                f"{size / MIB:.0f} MiB",
                f"{read[0]:.2f} s ({read[1]:.2f} s)",
                f"{loaded[0]:.2f} s ({loaded[1]:.2f} s)",
                f"{loaded[0] / read[0]:.2f}× ({loaded[1] / read[1]:.2f}×)",
                f"{peak / size:.2f}×",
            )
        )
    header = ("types", "file", "read once (processor)", "load (processor)", "load / read", "peak / file")
    return table("Loading an SD 1.5-size file", header, rows)


def switching() -> str:
    """Twenty switches between two checkpoints of SD 1.5's size, one kept at a time: memory must stay flat.

    And ten between two that are both kept.
    """
    first = sd15_size()
    second = first.with_name("random-sd15-second.safetensors")
    if not second.exists():
        second.hardlink_to(first)
    memory = in_fresh_process(_switch, first, second, 20)
    settled = memory[2:]
    row = (
        f"{memory[0] / MIB:.0f} MiB",
        f"{memory[-1] / MIB:.0f} MiB",
        f"{(max(settled) / min(settled) - 1) * 100:.1f} %",
        f"{in_fresh_process(_back_and_forth, first, second) * 1000:.0f} ms",
    )
    header = ("after the first", "after the last", "spread", "back to a kept one, at most")
    return table("Switching checkpoints 20 times", header, [row])


def _lora_times(path: Path) -> tuple[float, float, float]:
    """(read and apply, change the weight, take back) in processor seconds, of rank 16 on every attention projection."""
    import torch
    from safetensors.torch import save_file

    from modules.models.adapters.patch import Adapter, applied
    from modules.models.manager import ModelManager

    with ModelManager().use(reference(path)) as model:
        tensors = {}
        for name, module in model.unet.named_modules():
            if isinstance(module, torch.nn.Linear) and ".attentions." in name:
                key = "lora_unet_" + name.replace(".", "_")
                tensors[f"{key}.lora_up.weight"] = torch.randn(module.out_features, 16).half() * 1e-3
                tensors[f"{key}.lora_down.weight"] = torch.randn(16, module.in_features).half()
        file = path.with_name("random-lora.safetensors")
        save_file(tensors, file)
        before = {name: weight.clone() for name, weight in model.unet.named_parameters() if "to_q" in name}
        times = []
        for strength in (1.0, 0.5):
            started = time.process_time()
            with applied(model, [Adapter(str(file), "random", unet=strength)]):
                times.append(time.process_time() - started)
                started = time.process_time()
            times.append(time.process_time() - started)
        now = dict(model.unet.named_parameters())
        assert all(torch.equal(now[name], weight) for name, weight in before.items()), "undoing was not exact"
    return times[0], times[1] + times[2], times[3]


def lora() -> str:
    """A LoRA on a model of SD 1.5's size: a change of its weight between jobs takes it back and applies it again."""
    first, change, back = in_fresh_process(_lora_times, sd15_size())
    row = (f"{first:.2f} s", f"{change:.2f} s", f"{back:.3f} s")
    return table("A LoRA of rank 16 on every attention (processor time)", ("apply", "change", "take back"), [row])
