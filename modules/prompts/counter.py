"""The token counter beside a prompt: how many tokens of how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from modules.errors import InvalidPrompt
from modules.prompts import comments, composition, emphasis, extra_networks
from modules.prompts.chunks import CHUNK_LENGTH, EmbeddingNames, cut
from modules.prompts.schedule import schedule


class TokenCount(NamedTuple):
    """`used` tokens, and the `limit` of the chunks they take; the page shows "12/75"."""

    used: int
    limit: int

    def __str__(self) -> str:
        return f"{self.used}/{self.limit}"


def count_tokens(
    prompt: str,
    tokenize: Callable[[str], list[int]],
    *,
    steps: int = 20,
    negative: bool = False,
    backtrack: int = 20,
    emphasis_mode: str = "Original",
    strip_comments: bool = True,
    names: EmbeddingNames | None = None,
) -> TokenCount:
    """What the longest variant of a prompt takes: over its AND parts (not for a negative prompt) and its schedule.

    Styles are to be applied before. A prompt that cannot be parsed is counted as it stands, since it is being typed.
    """
    text = comments.strip(prompt) if strip_comments else prompt
    text, _ = extra_networks.parse(text)
    parts = (text,) if negative else tuple(part.text for part in composition.split(text))
    variants = {segment.text for part in parts for segment in schedule(part, steps)}

    def used(variant: str) -> int:
        try:
            pieces = emphasis.plain(variant) if emphasis_mode == "None" else emphasis.parse(variant)
        except InvalidPrompt:
            pieces = emphasis.plain(variant)
        chunks = cut(pieces, tokenize, names=names, backtrack=backtrack)
        return CHUNK_LENGTH * (len(chunks) - 1) + chunks[-1].used

    longest = max(used(variant) for variant in variants)
    return TokenCount(longest, CHUNK_LENGTH * max(1, -(-longest // CHUNK_LENGTH)))


def unbalanced_brackets(prompt: str) -> tuple[str, ...]:
    """Half a sentence for each kind of bracket that opens and closes unequally often; escaped ones do not count."""
    unescaped = prompt.replace("\\\\", "").replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    return tuple(
        f'"{opening}" {unescaped.count(opening)} times, "{closing}" {unescaped.count(closing)} times'
        for opening, closing in ("()", "[]", "{}")
        if unescaped.count(opening) != unescaped.count(closing)
    )
