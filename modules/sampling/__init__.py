"""Samplers, schedules and noise. Importing this package registers every sampler and schedule, without loading torch.

A new sampler is a file with a decorated generator (`sampler.py` has the contract) and a line below. The order of the
lines, and within each file, is the order of A1111's drop-down.
"""

# ruff: noqa: I001
from modules.sampling import dpmpp
from modules.sampling import euler
from modules.sampling import lms
from modules.sampling import heun
from modules.sampling import dpm2
from modules.sampling import dpm_solver
from modules.sampling import restart
from modules.sampling import ddim
from modules.sampling import plms
from modules.sampling import unipc
from modules.sampling import lcm
from modules.sampling import schedules

__all__ = [
    "ddim",
    "dpm2",
    "dpm_solver",
    "dpmpp",
    "euler",
    "heun",
    "lcm",
    "lms",
    "plms",
    "restart",
    "schedules",
    "unipc",
]
