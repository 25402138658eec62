"""A report about this installation for a bug report: versions, machine, flags and changed settings; never a secret."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from modules.app import App

SECRET_FLAGS = frozenset({"gradio_auth", "gradio_auth_path", "api_auth", "api_keys_path", "ngrok", "tls_keyfile"})
"""Flags whose values are told to nobody, here and in /sdapi/v1/cmd-flags."""

HIDDEN = "***"
_ROOT = Path(__file__).parents[2]
_PACKAGES = (
    "torch", "diffusers", "transformers", "safetensors", "gradio", "fastapi", "uvicorn", "pydantic", "numpy", "pillow",
    "xformers",
)  # fmt: skip
_VARIABLES = (
    "COMMANDLINE_ARGS", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "TORCH_COMMAND",
    "TORCH_INDEX_URL", "OMP_NUM_THREADS",
)  # fmt: skip
_WITH_FLAGS = "COMMANDLINE_ARGS"


def report(app: App) -> dict[str, Any]:
    """Plain JSON values; quick enough for a route (a git call of at most two seconds, once)."""
    memory = psutil.virtual_memory()
    return {
        "Platform": platform.platform(),
        "Python": sys.version.split()[0],
        "Commit": _commit(),
        "Flags": told_flags(app),
        "Worker": app.supervisor.report,
        "CPU": {"model": platform.processor(), "threads": psutil.cpu_count(), "cores": psutil.cpu_count(logical=False)},
        "RAM": {"total": memory.total, "used": memory.used, "available": memory.available},
        "Packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "Environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ and name != _WITH_FLAGS},
        "Settings": app.settings.changed_from_defaults(),
        "Settings' problems": list(app.settings.problems),
        "Extensions": [
            {"name": one.name, "builtin": one.is_builtin, "active": one.is_active} for one in app.extensions.all
        ],
        "Checkpoints": len(app.catalog.checkpoints),
    }  # fmt: skip


def told_flags(app: App) -> dict[str, Any]:
    """The flags that were given, secret ones without their values."""
    values = app.flags.model_dump(mode="json")
    return {name: HIDDEN if name in SECRET_FLAGS else values[name] for name in sorted(app.flags.given)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the program's folder, None where there is no git or no repository."""
    try:
        asked = subprocess.run(
            ["git", "-C", str(_ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
