"""LCM: jump to x0, then back up to the next level with fresh noise.

Luo et al. 2023, "Latent Consistency Models" (arXiv:2310.04378), algorithm 3. Its denoiser is
`prediction.denoise_consistency` over `prediction.ConsistencyLevels`.
"""

from __future__ import annotations

from itertools import pairwise

from modules.sampling.sampler import SigmaRun, Step, Steps, sampler
from modules.sampling.steps import denoised_at


@sampler("LCM", aliases=("k_lcm",), uses_consistency_levels=True, renoises=True)
def lcm(run: SigmaRun) -> Steps:
    """Multistep consistency sampling: a handful of steps is enough for a model distilled for it."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        x = denoised
        if sigma_next > 0:
            x = x + sigma_next * run.noise.next()
        yield Step(index, sigma.item(), start, denoised)
    return x
