"""Euler's method backwards: from a clean picture up the noise levels to the noise that would lead to it.

The probability flow dx/dσ = (x − x0) / σ (Karras et al. 2022, arXiv:2206.00364, equation 1 with σ(t) = t) has one
solution through every point, so going up it is as lawful as going down (DDIM inversion, Song et al. 2020,
arXiv:2010.02502, section 4.3, is the same idea). Each step needs x0 at a place it has not been to yet; the two ways
of guessing it are A1111's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.extensions.api import NoiseSearch, SearchStart, Step, Steps

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReverseEuler(NoiseSearch):
    """A search in `steps` steps of one model call each.

    Without `adjusts_sigma` a step from σ to σ' asks the network for x0 at σ', and what is found is scaled to unit
    variance. With it, a step asks at σ, where x really is (at the first, where σ is 0, at σ' and goes half as far), and
    what is found is divided by the highest level. `randomness` 0…1 mixes the noise of the seeds in.
    """

    prompt: str
    negative_prompt: str
    cfg_scale: float
    steps: int
    randomness: float = 0.0
    adjusts_sigma: bool = False

    def run(self, start: SearchStart) -> Steps:
        x, levels = start.latents, start.sigmas.flip(0).to(start.latents)
        for index in range(len(levels) - 1):
            low, high = levels[index], levels[index + 1]
            asked = low if self.adjusts_sigma and index > 0 else high
            denoised = start.denoiser(x, asked.expand(len(x)))
            slope = (x - denoised) / asked
            if self.adjusts_sigma and index == 0:
                slope = slope / 2
            before, x = x, x + slope * (high - low)
            yield Step(index, asked.item(), before, denoised)
        return x / levels[-1] if self.adjusts_sigma else x / x.std()

    def starting(self, found: Tensor, drawn: Tensor, latents: Tensor, sigma_max: float) -> Tensor:
        """The found and the drawn noise mixed at unit variance, less what img2img will add of the picture itself."""
        share = self.randomness
        mixed = ((1 - share) * found + share * drawn) / (share**2 + (1 - share) ** 2) ** 0.5
        return mixed - latents / sigma_max
