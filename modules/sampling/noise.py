"""The random numbers of a pass, one generator a picture: picture k of a batch gets the numbers it would get alone.

Start noise with variations and seed resize, the fresh noise of ancestral samplers, and the Brownian paths of the SDE
samplers, from A1111's three sources ("GPU", "CPU", "NV"). Rules: a1111 behaviour, sections 2.2 to 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from modules.sampling.brownian import BrownianPath, Draw
from modules.sampling.philox import Philox

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Source = Literal["GPU", "CPU", "NV"]
Stream = Callable[[Sequence[int]], "Tensor"]
"""A generator's next standard normal numbers, float32 in a shape, on the latents' device."""

NEARLY_PARALLEL = 0.9995


class ImageNoise:
    """Noise for a batch of pictures of one latent shape (C, h, w); satisfies `sampler.Noise`.

    `variation_strength` above 0 turns the start noise towards that of `subseeds` (missing ones count as seed 0).
    `resize_from` (height, width in latents) pastes the start noise of that size into the middle. `seed_delta` is ENSD:
    from the second draw on, generators start again at seed + delta. `shares_path` is A1111's
    `no_dpmpp_sde_batch_determinism`: one Brownian path for the whole batch in place of one a picture.

    "GPU" draws on `device`, "CPU" on the CPU, "NV" as an NVIDIA card would; on Apple's MPS "GPU" draws on the CPU.
    """

    def __init__(
        self,
        shape: Sequence[int],
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        source: Source = "GPU",
        subseeds: Sequence[int] = (),
        variation_strength: float = 0.0,
        resize_from: tuple[int, int] | None = None,
        seed_delta: int = 0,
        shares_path: bool = False,
    ) -> None:
        import torch

        self.shape = tuple(shape)
        self.seeds = tuple(int(seed) for seed in seeds)
        self.device = torch.device(device)
        self.source: Source = source
        self.subseeds = tuple(int(seed) for seed in subseeds)
        self.variation_strength = variation_strength
        self.small_shape = (self.shape[0], *(resize_from or self.shape[1:]))
        self.seed_delta = seed_delta
        self.shares_path = shares_path
        self._streams: list[Stream] | None = None

    def next(self) -> Tensor:
        """Standard normal noise (B, C, h, w): the start noise first, then fresh noise at every call."""
        import torch

        if self._streams is not None:
            return torch.stack([stream(self.shape) for stream in self._streams])
        streams = [self._stream(seed) for seed in self.seeds]
        started = [self._start(index, stream) for index, stream in enumerate(streams)]
        if self.seed_delta:
            streams = [self._stream(seed + self.seed_delta) for seed in self.seeds]
        self._streams = streams
        return torch.stack(started)

    def brownian(self, sigma_min: float, sigma_max: float) -> Callable[[Tensor, Tensor], Tensor]:
        """Increments (B, C, h, w) of Brownian paths between two levels, divided by sqrt|σ − σ_next|: standard normal.

        A picture's path follows from its seed alone, over [sigma_min, sigma_max]; the seed delta does not touch it.
        """
        import torch

        if self.shares_path:
            # A1111 asks torch's global generator, which the start noise left freshly seeded with the last seed.
            generator = torch.Generator().manual_seed(self.seeds[-1])
            entropy = int(torch.randint(0, 2**63 - 1, [], generator=generator))
            shape = (len(self.seeds), *self.shape)
            shared = BrownianPath(sigma_min, sigma_max, entropy=entropy, draw=self._draw_of(shape))
            return lambda sigma, sigma_next: _unit_increment(shared, sigma, sigma_next)

        paths = [
            BrownianPath(sigma_min, sigma_max, entropy=seed % 2**64, draw=self._draw_of(self.shape))
            for seed in self.seeds
        ]
        return lambda sigma, sigma_next: torch.stack([_unit_increment(path, sigma, sigma_next) for path in paths])

    def _start(self, index: int, stream: Stream) -> Tensor:
        """The start noise (C, h, w) of picture `index`, whose own generator is `stream`."""
        seed = self.seeds[index]
        is_resized = self.small_shape != self.shape
        noise = self._stream(seed)(self.small_shape) if is_resized else stream(self.shape)
        if self.variation_strength:
            subseed = self.subseeds[index] if index < len(self.subseeds) else 0
            noise = slerp(self.variation_strength, noise, self._stream(subseed)(self.small_shape))
        return paste_centred(noise, onto=stream(self.shape)) if is_resized else noise

    def _stream(self, seed: int) -> Stream:
        """A fresh generator for a seed."""
        import torch

        if self.source == "NV":
            philox = Philox(seed)
            return lambda shape: torch.from_numpy(philox.randn(shape)).to(self.device)
        where = torch.device("cpu") if self.source == "CPU" or self.device.type == "mps" else self.device
        generator = torch.Generator(where).manual_seed(seed)
        return lambda shape: torch.randn(shape, device=where, generator=generator).to(self.device)

    def _draw_of(self, shape: tuple[int, ...]) -> Draw:
        return lambda seed: self._stream(seed)(shape)


def slerp(strength: float, low: Tensor, high: Tensor) -> Tensor:
    """Noise turned from `low` (strength 0) towards `high` (1) along the sphere, for tensors (C, h, w).

    As in A1111 the vectors run along dim 1, the height, and where they are nearly parallel the straight mixture has its
    weights the wrong way round; both are kept, since pictures depend on them.
    """
    low_unit = low / low.norm(dim=1, keepdim=True)
    high_unit = high / high.norm(dim=1, keepdim=True)
    cosine = (low_unit * high_unit).sum(1)
    if cosine.mean() > NEARLY_PARALLEL:
        return low * strength + high * (1 - strength)
    angle = cosine.acos()
    sine = angle.sin()
    low_share = (((1.0 - strength) * angle).sin() / sine).unsqueeze(1)
    high_share = ((strength * angle).sin() / sine).unsqueeze(1)
    return low_share * low + high_share * high


def paste_centred(noise: Tensor, *, onto: Tensor) -> Tensor:
    """`onto` (C, H, W) with `noise` (C, h, w) in its middle; what is larger than `onto` is cut on both sides."""
    result = onto.clone()
    (y, from_y, rows), (x, from_x, columns) = (
        _overlap(small, large) for small, large in zip(noise.shape[1:], onto.shape[1:], strict=True)
    )
    result[:, y : y + rows, x : x + columns] = noise[:, from_y : from_y + rows, from_x : from_x + columns]
    return result


def _overlap(small: int, large: int) -> tuple[int, int, int]:
    """Where to put, where to take from, and how much, along one axis; odd surpluses lose one more (A1111)."""
    offset = (large - small) // 2
    return (offset, 0, small) if offset >= 0 else (0, -offset, small + 2 * offset)


def _unit_increment(path: BrownianPath, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    return path.increment(float(sigma), float(sigma_next)) / (sigma_next - sigma).abs().sqrt()
