"""CLIP's byte-pair tokenizer, without torch or transformers: the front counts tokens, the towers encode with it.

The vocabulary ships in `data/` (its NOTICE says where it is from), so nothing is ever downloaded.
Sennrich et al. 2016 (arXiv:1508.07909); Radford et al. 2021 (arXiv:2103.00020), section 2.4.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from functools import cache
from heapq import heappop, heappush
from importlib import resources

END_OF_WORD = "</w>"
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
_CACHED_WORDS = 20_000


@cache
def _byte_symbols() -> tuple[str, ...]:
    """The printable character that stands for each of the 256 bytes; its place in the vocabulary is another order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in symbols)
    symbols.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return tuple(symbols[byte] for byte in range(256))


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """The 48894 pairs that are joined, the most frequent first."""
    packed = resources.files("modules.prompts").joinpath("data", "clip_merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    return tuple((left, right) for left, right in (line.split(" ") for line in lines))


@cache
def vocabulary() -> tuple[str, ...]:
    """The text of every token by id: bytes, bytes that end a word, merged pairs, start and end."""
    symbols = _byte_symbols()
    printable_first = sorted(symbols, key=lambda symbol: (ord(symbol) > 255, ord(symbol)))
    words = [*printable_first, *(symbol + END_OF_WORD for symbol in printable_first)]
    words += [left + right for left, right in merges()]
    return (*words, "<|startoftext|>", "<|endoftext|>")


class ClipTokenizer:
    """Text to token ids, exactly as the encoders were trained with it. 49406 is the start token, 49407 the end token.

    Cleaning: ftfy mends mojibake and curly quotes, white space becomes single spaces, everything is lower case.
    A prompt may spell the special tokens. `is_open_clip`: its tokenizer undoes HTML entities twice ("&amp;" is "&"),
    spells the special tokens in its own way, and sees them only where a word could begin ("!<end_of_text>" is signs
    and letters), while transformers cuts the text at them first.
    """

    start_id = 49406
    end_id = 49407
    comma_id = 267

    def __init__(self, *, is_open_clip: bool) -> None:
        self._is_open_clip = is_open_clip
        texts = ("<start_of_text>", "<end_of_text>") if is_open_clip else ("<|startoftext|>", "<|endoftext|>")
        self._specials = dict(zip(texts, (self.start_id, self.end_id), strict=True))
        self._ids = {text: index for index, text in enumerate(vocabulary())}
        self._ranks = {pair: rank for rank, pair in enumerate(merges())}
        self._special_pattern = re.compile("(" + "|".join(re.escape(text) for text in texts) + ")")
        self._words: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids of any text, without start and end, never truncated."""
        passages = [text] if self._is_open_clip else self._special_pattern.split(text)
        words = (word for passage in passages for word in self._split(self._clean(passage)))
        return [token for word in words for token in self._encode_word(word)]

    def token_texts(self) -> tuple[str, ...]:
        """The text of every token by id; a word's last token ends in `</w>`."""
        return vocabulary()

    def _clean(self, text: str) -> str:
        import ftfy  # here: it costs 30 ms, and the front only needs it once somebody types

        text = ftfy.fix_text(text)
        if self._is_open_clip:
            text = html.unescape(html.unescape(text))
        return " ".join(text.split()).lower()

    def _split(self, text: str) -> list[str]:
        """Runs of letters, single digits, runs of other signs, English contractions, special tokens."""
        words: list[str] = []
        position = 0
        while position < len(text):
            special = self._special_pattern.match(text, position)
            end = special.end() if special else self._word_end(text, position)
            if not text[position].isspace():
                words.append(text[position:end])
            position = end
        return words

    def _word_end(self, text: str, position: int) -> int:
        if contraction := _CONTRACTION.match(text, position):
            return contraction.end()
        kind = _kind(text[position])
        end = position + 1
        if kind in "LO":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        return end

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word in self._specials:
            return (self._specials[word],)
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            known = self._words[word] = tuple(self._ids[symbol] for symbol in self._merge(word))
        return known

    def _merge(self, word: str) -> list[str]:
        """The word's symbols after joining, again and again, the most frequent pair in it, the leftmost first.

        A heap of pairs over a linked list of symbols: a long text without spaces, as in Chinese, is one word. The
        vocabulary builds every symbol in only one way, so joining never makes a pair that should have come earlier.
        """
        table = _byte_symbols()
        symbols = [table[byte] for byte in word.encode("utf-8", "surrogatepass")]
        symbols[-1] += END_OF_WORD
        end = len(symbols)
        following, preceding = list(range(1, end + 1)), list(range(-1, end - 1))
        waiting: list[tuple[int, int, str, str]] = []

        def consider(left: int, right: int) -> None:
            if left >= 0 and right < end:
                rank = self._ranks.get((symbols[left], symbols[right]))
                if rank is not None:
                    heappush(waiting, (rank, left, symbols[left], symbols[right]))

        for position in range(end - 1):
            consider(position, position + 1)
        while waiting:
            _, left, first, second = heappop(waiting)
            right = following[left]
            if right == end or (symbols[left], symbols[right]) != (first, second):
                continue  # one of the two was joined with another neighbour meanwhile
            symbols[left], symbols[right] = first + second, ""
            following[left] = following[right]
            if following[right] < end:
                preceding[following[right]] = left
            consider(preceding[left], left)
            consider(left, following[left])
        return [symbol for symbol in symbols if symbol]


@cache
def clip_tokenizer() -> ClipTokenizer:
    """The tokenizer of OpenAI's CLIP-L (SD 1, SDXL's first tower), as transformers 4 runs it with ftfy present."""
    return ClipTokenizer(is_open_clip=False)


@cache
def open_clip_tokenizer() -> ClipTokenizer:
    """The tokenizer of OpenCLIP (SD 2, SDXL's second tower)."""
    return ClipTokenizer(is_open_clip=True)


def _kind(character: str) -> str:
    """L for letters, N for digits, S for space, O for every other sign."""
    if character.isspace():
        return "S"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"
