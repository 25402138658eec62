"""The compact table stands for CLIP's whole vocabulary."""

import torch

from tools.starter.architecture import END_TOKEN, POSITIONS, START_TOKEN, VOCABULARY
from tools.starter.concepts import CONCEPTS
from tools.starter.scenes import SceneSampler
from tools.starter.tokens import CompactVocabulary, encode, with_fillers

VOCABULARY_OF_ALL = CompactVocabulary.of(CONCEPTS)


def test_every_caption_is_made_of_known_tokens():
    sampler = SceneSampler(CONCEPTS, seed=4)
    for _ in range(300):
        assert VOCABULARY_OF_ALL.unknown not in VOCABULARY_OF_ALL.rows(sampler.sample().caption)


def test_padding_is_clips_start_then_words_then_ends():
    rows = VOCABULARY_OF_ALL.pad([VOCABULARY_OF_ALL.rows("a cat"), []])
    assert rows.shape == (2, POSITIONS)
    assert rows[1, 0] == VOCABULARY_OF_ALL.start and (rows[1, 1:] == VOCABULARY_OF_ALL.end).all()
    assert (rows[0, 3:] == VOCABULARY_OF_ALL.end).all()


def test_expanding_puts_each_row_at_its_clip_id_and_the_unknown_row_everywhere_else():
    table = torch.arange(len(VOCABULARY_OF_ALL)).float()[:, None]
    full = VOCABULARY_OF_ALL.expand(table)
    assert full.shape == (VOCABULARY, 1)
    (cat,) = encode("cat")
    assert full[cat] == VOCABULARY_OF_ALL.rows("cat")[0]
    assert full[START_TOKEN] == VOCABULARY_OF_ALL.start and full[END_TOKEN] == VOCABULARY_OF_ALL.end
    assert full[encode("zeppelin")[0]] == VOCABULARY_OF_ALL.unknown


def test_fillers_keep_the_caption_whole():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        rows = with_fillers([5, 6, 7], unknown=99, generator=generator, share=1.0)
        assert [row for row in rows if row != 99] == [5, 6, 7]
