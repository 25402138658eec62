"""BERT's word-piece tokenizer (uncased), for CompVis' text-to-image model; its vocabulary ships in `data/` (NOTICE).

Wu et al. 2016 (arXiv:1609.08144), section 4.1; Devlin et al. 2018 (arXiv:1810.04805).
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources

START_ID, END_ID, PAD_ID, COMMA_ID = 101, 102, 0, 1010


class BertTokenizer:
    """Text to token ids as bert-base-uncased makes them: lower case, no accents, signs by themselves."""

    start_id = START_ID
    end_id = END_ID
    comma_id = COMMA_ID

    def __init__(self) -> None:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers  # here: the front never needs it

        packed = resources.files("modules.prompts").joinpath("data", "bert_vocabulary.txt.gz").read_bytes()
        words = gzip.decompress(packed).decode("utf-8").removesuffix("\n").split("\n")
        ids = {word: index for index, word in enumerate(words)}
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def encode(self, text: str) -> list[int]:
        """Token ids without start and end, never truncated."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids


@cache
def bert_tokenizer() -> BertTokenizer:
    """The one tokenizer of CompVis' text-to-image model."""
    return BertTokenizer()
