"""Which sampler and schedule a text means: labels, A1111's aliases, and labels from before schedules had their own."""

from __future__ import annotations

from typing import NamedTuple

from modules.errors import UnknownName
from modules.sampling.sampler import SAMPLERS
from modules.sampling.schedules import AUTOMATIC, SCHEDULES, ScheduleInfo


class Names(NamedTuple):
    """A registered sampler and schedule; the schedule is "Automatic" where the sampler's own default is meant."""

    sampler: str
    schedule: str


def resolve(sampler_text: str, schedule_text: str | None = None, *, is_strict: bool = True) -> Names:
    """The sampler and schedule meant by two texts, as A1111 reads a request or a pasted infotext (section 3.1).

    A schedule at the end of the sampler's text wins over `schedule_text`: "DPM++ 2M Karras" is DPM++ 2M with Karras,
    and since that is its default, Automatic. Names are found exactly, by alias ("k_euler_a") or ignoring case.

    Raises UnknownName for a name that nothing has. With `is_strict=False` the answer is A1111's: an unknown sampler
    becomes the first one (DPM++ 2M), an unknown schedule Automatic.
    """
    sampler_name, schedule_label = sampler_text.strip(), (schedule_text or "").strip() or AUTOMATIC
    # A label that is a sampler as it stands keeps its name, whatever it ends with.
    if sampler_name not in SAMPLERS:
        suffixes = [
            (len(option), info.label) for info in SCHEDULES for option in _spellings(info, at_end_of=sampler_name)
        ]
        if suffixes:
            # The longest one: "Euler SGM Uniform" ends in "Uniform" too.
            length, schedule_label = max(suffixes)
            sampler_name = sampler_name[: -length - 1]
    try:
        schedule_label = SCHEDULES.name_of(schedule_label)
    except UnknownName:
        if is_strict:
            raise
        schedule_label = AUTOMATIC
    try:
        sampler_name = SAMPLERS.name_of(sampler_name)
    except UnknownName:
        if is_strict:
            raise
        sampler_name = SAMPLERS.names()[0]
    if schedule_label == SAMPLERS.get(sampler_name).default_schedule:
        schedule_label = AUTOMATIC
    return Names(sampler_name, schedule_label)


def effective_schedule(sampler_name: str, schedule_label: str) -> str:
    """The schedule that will be used: a sampler's default in place of "Automatic", if it has one."""
    if schedule_label == AUTOMATIC:
        return SAMPLERS.get(sampler_name).default_schedule or AUTOMATIC
    return SCHEDULES.name_of(schedule_label)


def _spellings(info: ScheduleInfo, *, at_end_of: str) -> list[str]:
    """Those of a schedule's label, internal name and aliases that a text ends in, after a blank."""
    text = at_end_of.casefold()
    return [option for option in (info.label, info.name, *info.aliases) if text.endswith(f" {option}".casefold())]
