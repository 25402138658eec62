"""Every exception this product raises on purpose, as one tree.

WebuiError                      something a person can be told about
├── InvalidRequest              what was asked cannot be done as asked; nothing was started
│   ├── UnknownName             no such sampler, model, style, setting …; suggests the nearest
│   ├── InvalidPrompt           a prompt that A1111 refuses too, such as "(a:1.2.3)"
│   └── InvalidImage            not a picture, too many pixels, or a mask that does not fit
├── ModelError                  a model file that cannot be used
│   ├── ModelFileBroken         truncated, mislabelled, tensors missing or of the wrong shape
│   ├── ModelFileUnsafe         a pickle that wants more than tensors; names what it wanted
│   └── ModelUnsupported        a sound file of a kind we do not run; says which
├── GenerationError             a job that started and failed
│   ├── NotEnoughMemory         says how much was needed, how much is free, and what to do
│   └── NotANumber              the network or the VAE produced NaN; says which and what to do
├── SavingError                 a picture could not be written; it stays downloadable
├── SettingsError               a settings file or value that cannot be used
├── NotPermitted                the caller may not do this (frozen setting, somebody else's job …)
├── QueueFull                   too many jobs wait already; try again later
└── WorkerDied                  the process that owned the job ended; says why, as far as known
"""

from __future__ import annotations


class WebuiError(Exception):
    """Something a person can be told about: what was asked, what is the case, what to do."""


class InvalidRequest(WebuiError):
    """What was asked cannot be done as asked; `field` names the request field at fault, as a dotted path."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownName(InvalidRequest):
    """A name that nothing here has."""


class InvalidPrompt(InvalidRequest):
    """A prompt that cannot be given a meaning."""


class InvalidImage(InvalidRequest):
    """An image that cannot be used: not a picture, too many pixels, or of the wrong size."""


class ModelError(WebuiError):
    """A model file that cannot be used."""


class ModelFileBroken(ModelError):
    """Truncated, mislabelled, or with tensors missing or of the wrong shape."""


class ModelFileUnsafe(ModelError):
    """A pickle that asks for more than tensors."""


class ModelUnsupported(ModelError):
    """A sound file of a kind that is not supported."""


class GenerationError(WebuiError):
    """A job that started and failed."""


class NotEnoughMemory(GenerationError):
    """The device ran out of memory after every fallback was tried."""


class NotANumber(GenerationError):
    """The network or the VAE produced NaN or infinity."""


class SavingError(WebuiError):
    """A picture could not be written."""


class SettingsError(WebuiError):
    """A settings file or value that cannot be used."""


class NotPermitted(WebuiError):
    """The caller may not do this."""


class QueueFull(WebuiError):
    """Too many jobs are waiting; `retry_after_s` is a guess at when there will be room."""

    def __init__(self, message: str, *, retry_after_s: float = 10.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerDied(WebuiError):
    """The process that owned a job ended before the job did."""
