from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompts.chunks import Chunk, EmbeddingNames, cut, cut_legacy, empty_chunk
from modules.prompts.counter import count_tokens, unbalanced_brackets
from modules.prompts.emphasis import Piece, parse, plain
from modules.prompts.tokenizer import ClipTokenizer, clip_tokenizer, merges, open_clip_tokenizer, vocabulary

COMMA, END, START = 267, 49407, 49406


def numbers(text: str) -> list[int]:
    """A tokenizer in which a test can see what it does: a word is a number, "," is the comma."""
    return [COMMA if word == "," else int(word) for word in text.split()]


def words(count: int, token: int = 5) -> str:
    return " ".join([str(token)] * count)


def contents(chunk: Chunk) -> list[int]:
    return list(chunk.tokens[1 : 1 + chunk.used])


# The tokenizer; ids as OpenAI's own tokenizer gives them


@pytest.mark.parametrize(
    "text, ids",
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  Photo\nof a CAT ", [320, 1125, 539, 320, 2368]),
        ("", []),
        (", !", [267, 256]),
        ("2024", [273, 271, 273, 275]),  # digits one by one
        ("it's", [585, 568]),
        ("it’s", [585, 568]),  # ftfy straightens the quote
        ("café", [15304]),
        ("rock &amp; roll", [2172, 261, 3341]),  # ftfy itself undoes entities in a text without "<"
    ],
)
def test_clip_tokens(text, ids):
    assert clip_tokenizer().encode(text) == ids


def test_only_open_clip_undoes_entities_that_ftfy_leaves():
    text = "<b> rock &amp; roll"
    assert open_clip_tokenizer().encode(text) == open_clip_tokenizer().encode("<b> rock & roll")
    assert clip_tokenizer().encode(text) != clip_tokenizer().encode("<b> rock & roll")


def test_special_tokens_can_be_written_in_each_tokenizers_spelling():
    assert clip_tokenizer().encode("a<|endoftext|>b") == [320, END, 321]
    assert END not in clip_tokenizer().encode("<end_of_text>")
    assert open_clip_tokenizer().encode("<start_of_text>") == [START]


def test_the_vocabulary_is_complete():
    assert len(vocabulary()) == len(set(vocabulary())) == 49408
    assert vocabulary()[COMMA] == ",</w>" and vocabulary()[2368] == "cat</w>"


@given(st.text())
def test_any_text_has_tokens_and_case_and_spaces_do_not_matter(text):
    tokens = clip_tokenizer().encode(text)
    assert all(0 <= token < 49408 for token in tokens)
    assert clip_tokenizer().encode(f"  {text}\n") == tokens


def test_text_of_letters_and_signs_round_trips():
    text = "a red-haired woman, 35mm photo (by someone) [draft] 😀 猫"
    texts = [vocabulary()[token] for token in clip_tokenizer().encode(text)]
    assert (
        "".join(texts).replace("</w>", " ").startswith("a red - haired woman , 3 5 mm photo ( by someone ) [ draft ]")
    )


def test_neither_torch_nor_transformers_is_needed():
    script = (
        "import sys; from modules.prompts.counter import count_tokens;"
        "from modules.prompts.tokenizer import clip_tokenizer;"
        "assert str(count_tokens('a [cat:dog:3]', clip_tokenizer().encode)) == '2/75';"
        "print(sorted({'torch', 'transformers', 'lark', 'clip'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def joined_pair_by_pair(word: str) -> list[int]:
    """The definition: join every occurrence of the most frequent pair, until no pair is in the table."""
    ranks = {pair: rank for rank, pair in enumerate(merges())}
    symbols = [vocabulary()[byte - 33] for byte in word.encode("ascii")]  # "!" is token 0
    symbols[-1] += "</w>"
    while pairs := [pair for pair in pairwise(symbols) if pair in ranks]:
        best = min(pairs, key=ranks.__getitem__)
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined
    return [vocabulary().index(symbol) for symbol in symbols]


@settings(max_examples=40, deadline=None)
@given(st.text("aeinorstlmbk", min_size=1, max_size=30))
def test_pairs_are_joined_in_the_order_of_their_frequency(word):
    assert clip_tokenizer().encode(word) == joined_pair_by_pair(word)


def test_a_long_text_without_spaces_takes_no_long_time():
    text = "".join(chr(0x4E00 + index * 37 % 20_000) for index in range(20_000))
    started = time.perf_counter()
    assert len(clip_tokenizer().encode(text)) > 20_000
    assert time.perf_counter() - started < 5


# Chunks


def test_a_chunk_is_77_tokens_with_start_end_and_padding():
    (chunk,) = cut([Piece("1 2", 1.5)], numbers)
    assert chunk.tokens == (START, 1, 2, *[END] * 74) and len(chunk.tokens) == 77
    assert chunk.weights == (1.0, 1.5, 1.5, *[1.0] * 74)


def test_75_tokens_fill_one_chunk_and_76_take_two():
    assert [chunk.used for chunk in cut([Piece(words(75))], numbers)] == [75]
    assert [chunk.used for chunk in cut([Piece(words(76))], numbers)] == [75, 1]


def test_nothing_still_makes_one_chunk():
    assert cut(parse(""), numbers) == (Chunk(empty_chunk().tokens, empty_chunk().weights),)


def test_break_closes_even_an_empty_chunk():
    assert [chunk.used for chunk in cut(parse("1 BREAK 2"), numbers)] == [1, 1]
    assert [chunk.used for chunk in cut(parse("BREAK BREAK 2"), numbers)] == [0, 0, 1]
    assert [chunk.used for chunk in cut(parse("1 BREAK"), numbers)] == [1]


@pytest.mark.parametrize(
    "after_comma, used",
    [(0, [75, 1]), (19, [56, 20]), (20, [75, 1])],  # 75 - position of the comma: 1, 20 and 21
)
def test_a_full_chunk_wraps_at_a_comma_at_most_20_tokens_back(after_comma, used):
    text = f"{words(74 - after_comma)} , {words(after_comma)} 9"
    assert [chunk.used for chunk in cut([Piece(text)], numbers, backtrack=20)] == used


def test_backtracking_can_be_switched_off():
    text = f"{words(70)} , {words(4)} 9"
    assert [chunk.used for chunk in cut([Piece(text)], numbers, backtrack=0)] == [75, 1]


def test_a_comma_that_comes_when_the_chunk_is_full_opens_the_next_one():
    chunks = cut([Piece(f"{words(70)} , {words(4)} , 9")], numbers)
    assert contents(chunks[1]) == [COMMA, 9]


def test_weights_move_with_their_tokens():
    chunks = cut([Piece(f"{words(70)} ,"), Piece(words(4, 7), 1.3), Piece("9", 0.5)], numbers)
    assert contents(chunks[1]) == [7, 7, 7, 7, 9]
    assert chunks[1].weights[1:6] == (1.3, 1.3, 1.3, 1.3, 0.5)


def names(**entries: tuple[list[int], int]) -> EmbeddingNames[str]:
    return EmbeddingNames.of((tuple(tokens), name, vectors) for name, (tokens, vectors) in entries.items())


def test_an_embedding_stands_for_its_name_and_the_longest_name_wins():
    known = names(short=([7], 2), long=([7, 8], 3))
    (chunk,) = cut([Piece("1 7 8 7 9", 1.2)], numbers, names=known)
    assert contents(chunk) == [1, 0, 0, 0, 0, 0, 9]
    assert chunk.embeddings == ((1, "long"), (4, "short"))
    assert chunk.weights[1:8] == (1.2,) * 7


def test_of_two_embeddings_with_the_same_name_the_first_is_used():
    known = EmbeddingNames.of([((7,), "first", 1), ((7,), "second", 1)])
    assert cut([Piece("7")], numbers, names=known)[0].embeddings == ((0, "first"),)


def test_an_embedding_is_not_split_over_two_chunks():
    chunks = cut([Piece(f"{words(74)} 7")], numbers, names=names(two=([7], 2)))
    assert [chunk.used for chunk in chunks] == [74, 2]
    assert chunks[1].embeddings == ((0, "two"),)


def test_wrapping_at_a_comma_leaves_an_embedding_behind_as_a1111_does():
    chunks = cut([Piece(f"{words(70)} , 7 1 1 9")], numbers, names=names(two=([7], 2)))
    assert chunks[0].embeddings == ((71, "two"),) and chunks[0].used == 71
    assert contents(chunks[1]) == [0, 0, 1, 1, 9] and chunks[1].embeddings == ()


def test_legacy_emphasis_weighs_by_bracket_tokens_in_one_window():
    tokenizer = clip_tokenizer()
    chunk = cut_legacy("a (red cat:1.5) [old] BREAK", tokenizer.encode, vocabulary())
    # "a", then "red cat : 1 . 5" inside the brackets, "old", and BREAK as an ordinary word
    weights = [1.0, *[1.1] * 6, 1 / 1.1, 1.0]
    assert chunk.weights[1 : 1 + chunk.used] == pytest.approx(weights)
    assert contents(chunk)[:3] == tokenizer.encode("a red cat")
    assert len(cut_legacy(words(90), tokenizer.encode, vocabulary()).tokens) == 77


@given(st.text(alphabet="1 ,", max_size=300), st.integers(0, 74))
def test_no_token_is_lost_or_moved(text, backtrack):
    text = " ".join(text)
    chunks = cut(plain(text), numbers, backtrack=backtrack)
    assert [token for chunk in chunks for token in contents(chunk)] == numbers(text)
    assert all(len(chunk.tokens) == len(chunk.weights) == 77 for chunk in chunks)


# The counter


@pytest.mark.parametrize(
    "prompt, shown",
    [
        ("", "0/75"),
        ("a cat", "2/75"),
        ("a (cat:1.3)", "2/75"),
        ("a cat <lora:something:1>", "2/75"),
        ("a cat # with a comment", "2/75"),
        ("a cat AND a big red dog", "4/75"),
        ("a [cat:big red dog:0.5]", "4/75"),
        ("a BREAK b", "76/150"),
        ("(a:1.2.3)", "9/75"),  # being typed: counted as it stands
    ],
)
def test_the_counter_shows_the_longest_variant(prompt, shown):
    assert str(count_tokens(prompt, clip_tokenizer().encode)) == shown


def test_a_negative_prompt_has_no_and():
    assert count_tokens("a AND b", clip_tokenizer().encode, negative=True).used == 3


def test_the_bracket_checker_names_what_does_not_match():
    assert unbalanced_brackets(r"(a [b] \( {c") == ('"(" 1 times, ")" 0 times', '"{" 1 times, "}" 0 times')
    assert unbalanced_brackets("(a) [b] {c}") == ()


def test_both_tokenizers_agree_on_ordinary_text():
    assert isinstance(clip_tokenizer(), ClipTokenizer)
    assert clip_tokenizer().encode("a photo, of a cat") == open_clip_tokenizer().encode("a photo, of a cat")
