"""Whether a prompt can be given a meaning, before anything is started for it."""

from __future__ import annotations

from modules.prompts import composition, emphasis, extra_networks
from modules.prompts.schedule import schedule


def check(prompt: str, *, steps: int, negative: bool = False, emphasis_mode: str = "Original") -> None:
    """Raise InvalidPrompt when the encoder would have to refuse one of the texts that `prompt` means over `steps`.

    `steps` are model calls, as for `schedule`. Such are a weight like the one in "(a:1.2.3)" and brackets without end;
    emphasis mode "None" has no weights, so it refuses nothing.
    """
    if emphasis_mode == "None":
        return
    parts = [prompt] if negative else [part.text for part in composition.split(extra_networks.parse(prompt)[0])]
    for text in {segment.text for part in parts for segment in schedule(part, steps)}:
        emphasis.parse(text)
