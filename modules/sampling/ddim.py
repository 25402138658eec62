"""DDIM and DDIM CFG++: from one discrete time to an earlier one along the predicted noise.

Song et al. 2020, "Denoising Diffusion Implicit Models" (arXiv:2010.02502), equation 12; Chung et al. 2024, "CFG++"
(arXiv:2406.08070), algorithm 2. A run makes one update fewer than it has times and ends at the first of them, as in
A1111: with a single time there is none, and x comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.sampling.sampler import NoisePredictor, Step, Steps, TimestepRun, sampler

if TYPE_CHECKING:
    from torch import Tensor


@sampler("DDIM", grid="timesteps", aliases=("ddim",), eta_setting="eta_ddim", uses=frozenset({"eta"}))
def ddim(run: TimestepRun) -> Steps:
    """x0 and the direction to the next level both from the guided noise."""
    return _ddim(run, direction=lambda epsilon: epsilon)


@sampler(
    "DDIM CFG++",
    grid="timesteps",
    aliases=("ddim_cfgpp",),
    eta_setting="eta_ddim",
    cfg_divisor=12.5,
    uses=frozenset({"eta"}),
)
def ddim_cfgpp(run: TimestepRun) -> Steps:
    """x0 from the guided noise, the direction from the noise without the prompt, so that x stays near the data."""
    return _ddim(run, direction=lambda epsilon: run.predictor.unconditional)


def _ddim(run: TimestepRun, *, direction: Callable[[Tensor], Tensor]) -> Steps:
    x, grid = run.x, DiscreteGrid.of(run)
    for index in range(len(run.timesteps) - 1):
        at = len(run.timesteps) - 1 - index
        start, epsilon = x, predict_at(run.predictor, x, run.timesteps[at])
        alpha, alpha_previous = grid.alphas[at], grid.previous[at]
        sigma = grid.sigma(at, run.options.eta)
        denoised = (x - grid.noise_share[at] * epsilon) / alpha.sqrt()
        rest = (1.0 - alpha_previous - sigma**2).clamp(min=0)  # an eta over 1 asks for more noise than fits
        towards = rest.sqrt() * direction(epsilon)
        # Drawn even where sigma is 0: A1111's generators advance there, and so must ours.
        x = alpha_previous.sqrt() * denoised + towards + sigma * run.noise.next()
        yield Step(index, grid.level(at), start, denoised)
    return x


@dataclass(frozen=True)
class DiscreteGrid:
    """The numbers of DDIM and PLMS at each time of a run, as scalar tensors of the latents' precision.

    A1111 rounds each to float32 before it is used; those that involve the previous time are computed in float64 first.
    """

    alphas: Tensor  # (L,) ᾱ at each time
    previous: Tensor  # (L,) ᾱ at the time before; at the first time its own
    noise_share: Tensor  # (L,) sqrt(1 − ᾱ)
    exact: Tensor  # (L,) `alphas` in float64, on the CPU
    exact_rest: Tensor  # (L,) 1 − ᾱ, rounded to float32 before it became float64
    exact_previous: Tensor  # (L,) in float64, on the CPU

    @classmethod
    def of(cls, run: TimestepRun) -> DiscreteGrid:
        table = run.alphas_cumprod.cpu()
        alphas = table[list(run.timesteps)]
        previous = table[[run.timesteps[0], *run.timesteps[:-1]]]

        def placed(values: Tensor) -> Tensor:
            return values.to(run.x.dtype).to(run.x.device)  # in this order: some devices have no float64

        return cls(
            alphas=placed(alphas),
            previous=placed(previous),
            noise_share=placed((1 - alphas).sqrt()),
            exact=alphas.double(),
            exact_rest=(1 - alphas).double(),
            exact_previous=previous.double(),
        )

    def sigma(self, at: int, eta: float) -> Tensor:
        """The fresh noise of the step from time `at`: equation 16, which eta 1 makes DDPM's."""
        alpha, previous = self.exact[at], self.exact_previous[at]
        exact = eta * ((1 - previous) / self.exact_rest[at] * (1 - alpha / previous)).sqrt()
        return exact.to(self.alphas.dtype).to(self.alphas.device)

    def level(self, at: int) -> float:
        """The noise level σ at a time, in the variance-exploding scale that a Step tells."""
        return ((1 - self.exact[at]) / self.exact[at]).sqrt().item()


def predict_at(predictor: NoisePredictor, x: Tensor, timestep: int | float) -> Tensor:
    """ε at one time, told to the predictor once a picture."""
    return predictor(x, x.new_full((len(x),), timestep))
