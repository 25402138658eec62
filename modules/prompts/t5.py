"""T5's unigram tokenizer, for SD 3's third text encoder; its vocabulary ships in `data/` (see the NOTICE there)."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources

END_ID, PAD_ID = 1, 0


class T5Tokenizer:
    """Text to token ids as the encoder was trained with; upper case and punctuation count."""

    end_id = END_ID
    pad_id = PAD_ID

    def __init__(self) -> None:
        from tokenizers import Tokenizer  # here: the front never needs it

        packed = resources.files("modules.prompts").joinpath("data", "t5_tokenizer.json.gz").read_bytes()
        self._tokenizer = Tokenizer.from_str(gzip.decompress(packed).decode("utf-8"))

    def encode(self, text: str) -> list[int]:
        """Token ids without the end token, never truncated."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids


@cache
def t5_tokenizer() -> T5Tokenizer:
    """The one tokenizer: making it takes half a second."""
    return T5Tokenizer()
