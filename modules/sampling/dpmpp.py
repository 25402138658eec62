"""The DPM-Solver++ family: solvers for x0 in exponential form, with t = −ln σ.

Lu et al. 2022, "DPM-Solver++" (arXiv:2211.01095); the stochastic and third-order multistep ones are Katherine
Crowson's (k-diffusion), built on the same expansion.
"""

from __future__ import annotations

from itertools import pairwise

from modules.sampling.sampler import SigmaRun, Step, Steps, sampler
from modules.sampling.steps import ancestral_split, denoised_at, derivative, from_log_time, log_time


@sampler("DPM++ 2M", aliases=("k_dpmpp_2m",), default_schedule="Karras")
def dpmpp_2m(run: SigmaRun) -> Steps:
    """Second-order multistep, one call a step: algorithm 2. The first step and the step to level 0 are first order."""
    x, previous = run.x, None
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        t, t_next = log_time(sigma), log_time(sigma_next)
        h = t_next - t
        extrapolated = denoised
        if previous is not None and sigma_next > 0:
            r = (t - log_time(run.sigmas[index - 1])) / h
            extrapolated = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * previous
        x = (from_log_time(t_next) / from_log_time(t)) * x - (-h).expm1() * extrapolated
        previous = denoised
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler(
    "DPM++ SDE",
    aliases=("k_dpmpp_sde",),
    default_schedule="Karras",
    calls_per_step=2,
    is_brownian=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpmpp_sde(run: SigmaRun) -> Steps:
    """Single-step, two calls: half a stochastic step, then a whole one with the x0 predicted there."""
    x, options = run.x, run.options
    brownian = run.noise.brownian(run.sigma_min, run.sigma_max)
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        if sigma_next == 0:
            x = x + derivative(x, sigma, denoised) * (sigma_next - sigma)
        else:
            t, t_next = log_time(sigma), log_time(sigma_next)
            t_half = t + (t_next - t) * 0.5
            # The levels are computed back from t: A1111 does so, and the Brownian path is asked at exactly these.
            at, half, end = from_log_time(t), from_log_time(t_half), from_log_time(t_next)

            down, up = ancestral_split(at, half, options.eta)
            t_down = log_time(down)
            halfway = (from_log_time(t_down) / at) * x - (t - t_down).expm1() * denoised
            halfway = halfway + brownian(at, half) * options.s_noise * up
            denoised_half = denoised_at(run.denoiser, halfway, half)

            down, up = ancestral_split(at, end, options.eta)
            t_down = log_time(down)
            x = (from_log_time(t_down) / at) * x - (t - t_down).expm1() * denoised_half
            x = x + brownian(at, end) * options.s_noise * up
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler(
    "DPM++ 2M SDE",
    aliases=("k_dpmpp_2m_sde",),
    default_schedule="Exponential",
    is_brownian=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpmpp_2m_sde(run: SigmaRun) -> Steps:
    """DPM++ 2M for the SDE, with the midpoint form of the second-order term."""
    return _dpmpp_2m_sde(run, is_heun=False)


@sampler(
    "DPM++ 2M SDE Heun",
    aliases=("k_dpmpp_2m_sde_heun",),
    default_schedule="Exponential",
    is_brownian=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpmpp_2m_sde_heun(run: SigmaRun) -> Steps:
    """DPM++ 2M for the SDE, with Heun's form of the second-order term."""
    return _dpmpp_2m_sde(run, is_heun=True)


def _dpmpp_2m_sde(run: SigmaRun, *, is_heun: bool) -> Steps:
    """SDE-DPM-Solver++(2M) of the paper's section 5, for eta 1; eta 0 gives DPM++ 2M."""
    x, eta, previous, h_previous = run.x, run.options.eta, None, None
    brownian = run.noise.brownian(run.sigma_min, run.sigma_max)
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        if sigma_next == 0:
            x = denoised
        else:
            h = log_time(sigma_next) - log_time(sigma)
            eta_h = eta * h
            decay = -(-h - eta_h).expm1()
            x = sigma_next / sigma * (-eta_h).exp() * x + decay * denoised
            if previous is not None:
                weight = decay / (-h - eta_h) + 1 if is_heun else 0.5 * decay
                x = x + weight * (1 / (h_previous / h)) * (denoised - previous)
            if eta:
                noise = brownian(sigma, sigma_next) * sigma_next * (-(-2 * eta_h).expm1()).sqrt()
                x = x + noise * run.options.s_noise
            previous, h_previous = denoised, h
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler(
    "DPM++ 2S a",
    aliases=("k_dpmpp_2s_a",),
    default_schedule="Karras",
    calls_per_step=2,
    reseeds=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpmpp_2s_ancestral(run: SigmaRun) -> Steps:
    """Second-order single-step (algorithm 1, r = 1/2) to a level below the next one, then fresh noise up to it."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        down, up = ancestral_split(sigma, sigma_next, run.options.eta)
        if down == 0:
            x = x + derivative(x, sigma, denoised) * (down - sigma)
        else:
            t, t_down = log_time(sigma), log_time(down)
            h = t_down - t
            t_half = t + 0.5 * h
            halfway = (from_log_time(t_half) / from_log_time(t)) * x - (-h * 0.5).expm1() * denoised
            denoised_half = denoised_at(run.denoiser, halfway, from_log_time(t_half))
            x = (from_log_time(t_down) / from_log_time(t)) * x - (-h).expm1() * denoised_half
        if sigma_next > 0:
            x = x + run.noise.next() * run.options.s_noise * up
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler(
    "DPM++ 3M SDE",
    default_schedule="Exponential",
    aliases=("k_dpmpp_3m_sde",),
    discards_penultimate=True,
    is_brownian=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpmpp_3m_sde(run: SigmaRun) -> Steps:
    """Third-order multistep for the SDE: x0 and its first two divided differences in t, each with its φ function."""
    x, eta = run.x, run.options.eta
    brownian = run.noise.brownian(run.sigma_min, run.sigma_max)
    history: list = []  # (denoised, h) of the last two steps, latest first
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        if sigma_next == 0:
            x = denoised
        else:
            h = log_time(sigma_next) - log_time(sigma)
            h_eta = h * (eta + 1)
            x = (-h_eta).exp() * x + -(-h_eta).expm1() * denoised
            if history:
                (denoised_1, h_1), *older = history
                phi_2 = (-h_eta).expm1() / h_eta + 1
                r0 = h_1 / h
                first = (denoised - denoised_1) / r0
                if older:
                    ((denoised_2, h_2),) = older
                    r1 = h_2 / h
                    second = (denoised_1 - denoised_2) / r1
                    phi_3 = phi_2 / h_eta - 0.5
                    x = x + phi_2 * (first + (first - second) * r0 / (r0 + r1)) - phi_3 * ((first - second) / (r0 + r1))
                else:
                    x = x + phi_2 * first
            if eta:
                noise = brownian(sigma, sigma_next) * sigma_next * (-(-2 * h * eta).expm1()).sqrt()
                x = x + noise * run.options.s_noise
            history = [(denoised, h), *history[:1]]
        yield Step(index, sigma.item(), start, denoised)
    return x
