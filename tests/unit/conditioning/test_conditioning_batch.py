from __future__ import annotations

import pytest
import torch

from modules.conditioning.batch import encode_batch
from modules.conditioning.cache import ConditioningCache
from modules.conditioning.embeddings import EmbeddingTable
from modules.conditioning.layouts import sinusoids
from modules.errors import InvalidPrompt, UnknownName
from modules.generation.part import Size
from modules.models.embedding import Embedding
from modules.settings.stable_diffusion import GenerationOptions

from .conftest import make_model, make_tower

END, START = 49407, 49406
LONG = ", ".join(f"item number {index} of the long list" for index in range(12))  # more than one chunk


def encode(model, prompts, negatives=None, *, steps=8, embeddings=None, cache=None, clip_skip=1, **more):
    prompts = [prompts] if isinstance(prompts, str) else prompts
    given = {key: more.pop(key) for key in ("first_pass_steps", "networks", "size") if key in more}
    return encode_batch(
        model,
        prompts,
        [""] * len(prompts) if negatives is None else negatives,
        steps=steps,
        options=GenerationOptions(**more),
        clip_skip=clip_skip,
        embeddings=embeddings or EmbeddingTable(),
        cache=cache,
        **({"size": Size(width=64, height=96)} | given),
    )


def positive(model, prompt, **arguments):
    return encode(model, prompt, **arguments).at(0).positive.crossattn[0]


def straight(model, text, *, clip_skip=1, tower=0):
    """The encoder's own answer to a short text, without anything of ours between."""
    tower = model.towers[tower]
    tokens = [START, *tower.tokenize(text), END]
    tokens += [tower.pad_id] * (77 - len(tokens))
    return tower.encode(torch.tensor([tokens]), replaced=[[]], clip_skip=clip_skip)[0][0]


def close(one, other):
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-5)


def test_a_plain_prompt_is_what_the_encoder_says(sd1):
    conditioning = encode(sd1, "a photo of a cat", ["blurry"]).at(0)
    assert close(conditioning.positive.crossattn[0], straight(sd1, "a photo of a cat"))
    assert close(conditioning.negative.crossattn[0], straight(sd1, "blurry"))
    assert conditioning.parts == (((0, 1.0),),) and conditioning.positive.vector is None and conditioning.padded is None


def test_clip_skip_reaches_the_encoder(sd1):
    assert close(positive(sd1, "a cat", clip_skip=2), straight(sd1, "a cat", clip_skip=2))
    assert not close(positive(sd1, "a cat", clip_skip=2), positive(sd1, "a cat"))


def test_another_padding_follows_the_first_end_token():
    model = make_model("sd2", make_tower("open_clip_h", seed=4))
    assert close(positive(model, "a cat"), straight(model, "a cat"))


# Emphasis


def test_original_emphasis_restores_the_mean_of_the_chunk(sd1):
    hidden, weights = straight(sd1, "a red cat"), torch.ones(77)
    weights[2:4] = 1.5
    weighted = hidden * weights[:, None]
    expected = weighted * hidden.mean() / weighted.mean()
    assert torch.allclose(positive(sd1, "a (red cat:1.5)"), expected, atol=1e-5)
    assert close(positive(sd1, "a (red cat:1.5)", emphasis="No norm"), weighted)
    assert close(positive(sd1, "a (red cat:1.5)", emphasis="Ignore"), hidden)
    assert close(positive(sd1, "a (red cat:1.5)", emphasis="None"), straight(sd1, "a (red cat:1.5)"))


def test_the_mean_is_taken_over_all_texts_of_a_schedule_as_often_as_they_stand_in_it(sd1):
    texts = ["a (red:1.5) cat", "a (red:1.5) dog", "a (red:1.5) cat"]  # three steps of an alternation
    hidden = torch.stack([straight(sd1, text.replace("(red:1.5)", "red")) for text in texts])
    weights = torch.ones(77)
    weights[2] = 1.5
    weighted = hidden * weights[:, None]
    expected = weighted * (hidden.mean() / weighted.mean())
    batch = encode(sd1, "a (red:1.5) [cat|dog]", steps=3)
    for step, call in enumerate((0, 2, 3)):  # the first segment lasts for the calls 0 and 1
        assert torch.allclose(batch.at(call).positive.crossattn[0], expected[step], atol=1e-5)


def test_legacy_emphasis_weighs_by_brackets_and_knows_no_break(sd1):
    text = "a (red cat) BREAK b"
    weights = torch.ones(77)
    weights[2:4] = 1.1
    expected = straight(sd1, "a red cat break b") * weights[:, None]
    assert close(positive(sd1, text, use_old_emphasis_implementation=True, emphasis="No norm"), expected)


def test_legacy_emphasis_leaves_other_encoders_alone():
    model = make_model("sd2", make_tower("open_clip_h", seed=4))
    assert close(positive(model, "a (cat)", use_old_emphasis_implementation=True), positive(model, "a (cat)"))


def test_a_weight_that_is_no_number_fails_before_anything_is_encoded(sd1):
    with pytest.raises(InvalidPrompt):
        encode(sd1, "a [cat:(dog:1.2.3):0.5]")


def test_emphasis_is_seen_in_any_text(sd1):
    assert encode(sd1, "a cat", ["(bad)"]).emphasis_seen
    assert not encode(sd1, "a [cat:dog:0.5]", ["bad"]).emphasis_seen  # the bracket is gone once scheduled
    assert not encode(sd1, "a (cat)", use_old_emphasis_implementation=True).emphasis_seen


# Schedules, AND, batches


def test_texts_change_at_their_call_and_the_same_texts_are_the_same_object(sd1):
    batch = encode(sd1, "a [cat:dog:0.5]", steps=8)
    assert close(batch.at(4).positive.crossattn[0], straight(sd1, "a cat"))  # switch at 4: calls 0 to 4
    assert close(batch.at(5).positive.crossattn[0], straight(sd1, "a dog"))
    assert batch.at(0) is batch.at(4) and batch.at(5) is not batch.at(4)
    assert batch.texts == ("a cat", "a dog", "")
    turns = encode(sd1, "[a|b]", steps=8)
    assert turns.at(3) is turns.at(5) and turns.at(3) is not turns.at(4)


def test_the_hires_pass_has_its_own_part_of_the_timeline(sd1):
    batch = encode(sd1, "a [cat:dog:1.5]", steps=4, first_pass_steps=8)
    assert close(batch.at(0).positive.crossattn[0], straight(sd1, "a cat"))
    assert close(batch.at(3).positive.crossattn[0], straight(sd1, "a dog"))


def test_parts_of_and_are_rows_with_weights_picture_by_picture(sd1):
    step = encode(sd1, ["a cat :1.2 AND a dog :-0.6", "a bird"]).at(0)
    assert step.parts == (((0, 1.2), (1, -0.6)), ((2, 1.0),))
    for row, text in enumerate(["a cat", "a dog", "a bird"]):
        assert close(step.positive.crossattn[row], straight(sd1, text))
    assert step.negative.crossattn.shape[0] == 2


def test_a_negative_prompt_has_no_and(sd1):
    step = encode(sd1, "a cat", ["bad AND blurry :0.5"]).at(0)
    assert close(step.negative.crossattn[0], straight(sd1, "bad AND blurry :0.5"))


def test_a_picture_in_a_batch_has_the_conditioning_it_has_alone(sd1):
    together = encode(sd1, ["a (cat:1.3)", "a [dog|bird]", "a fish"]).at(2).positive.crossattn
    alone = encode(sd1, "a [dog|bird]").at(2).positive.crossattn
    assert close(together[1], alone[0])


def test_shorter_parts_go_on_with_their_last_vector(sd1):
    step = encode(sd1, "a cat BREAK at night AND a dog").at(0)
    assert step.positive.crossattn.shape[1] == 154 and not step.same_length
    short = straight(sd1, "a dog")
    assert close(step.positive.crossattn[1], torch.cat([short, short[-1:].expand(77, -1)]))


def test_shorter_texts_of_one_schedule_go_on_with_an_empty_chunk(sd1):
    step = encode(sd1, "[a cat:a cat BREAK at night:0.5]").at(0)
    assert close(step.positive.crossattn[0], torch.cat([straight(sd1, "a cat"), straight(sd1, "")]))


def test_break_makes_chunks_that_are_encoded_alone(sd1):
    assert close(positive(sd1, "a cat BREAK at night"), torch.cat([straight(sd1, "a cat"), straight(sd1, "at night")]))


def test_numbers_of_prompts_must_agree(sd1):
    with pytest.raises(ValueError, match="2 prompts and 1 negative"):
        encode(sd1, ["a", "b"], ["c"])


def test_old_timelines_are_reported_only_when_they_make_a_difference(sd1):
    assert encode(sd1, "a [cat:dog:1.0]", use_old_scheduling=True).old_timelines_differ
    assert not encode(sd1, "a [cat:dog:0.5]", use_old_scheduling=True).old_timelines_differ
    assert not encode(sd1, "a [cat:dog:1.0]").old_timelines_differ


# Padding of positive and negative


def test_without_padding_lengths_differ(sd1):
    step = encode(sd1, LONG, ["bad"]).at(0)
    assert step.positive.crossattn.shape[1] == 154 and step.negative.crossattn.shape[1] == 77 and step.padded is None


@pytest.mark.parametrize("prompt, negative", [(LONG, "bad"), ("a cat", LONG)])
def test_pad_conds_appends_the_encoded_empty_prompt_to_the_shorter(sd1, prompt, negative):
    step = encode(sd1, prompt, [negative], pad_cond_uncond=True).at(0)
    assert step.same_length and step.padded == "Pad conds"
    shorter = step.negative if negative == "bad" else step.positive
    assert close(shorter.crossattn[0, 77:], straight(sd1, ""))


def test_pad_conds_v0_wins_and_repeats_or_cuts_the_negative(sd1):
    step = encode(sd1, LONG, ["bad"], pad_cond_uncond=True, pad_cond_uncond_v0=True).at(0)
    assert step.padded == "Pad conds v0"
    assert close(step.negative.crossattn[0, 77:], straight(sd1, "bad")[-1:].expand(77, -1))
    assert encode(sd1, "a cat", [LONG], pad_cond_uncond_v0=True).at(0).negative.crossattn.shape[1] == 77


def test_padding_is_reported_only_where_it_was_needed(sd1):
    batch = encode(sd1, f"[a cat:{LONG}:3] AND b", pad_cond_uncond=True, steps=8)
    assert encode(sd1, "a cat", ["bad"], pad_cond_uncond=True).at(0).padded is None
    assert batch.at(7).padded == "Pad conds"


# Textual inversion


def test_an_embedding_replaces_the_vectors_of_its_name(sd1):
    vectors = torch.randn(3, 16)
    table = EmbeddingTable.for_model([Embedding("tiny emb", {"": vectors}, "abc")], sd1)
    batch = encode(sd1, "a Tiny Emb here", embeddings=table)
    tower = sd1.towers[0]
    tokens = [START, *tower.tokenize("a"), 0, 0, 0, *tower.tokenize("here")]
    tokens += [END] * (77 - len(tokens))
    expected, _ = tower.encode(torch.tensor([tokens]), replaced=[[(1, vectors)]], clip_skip=1)
    assert close(batch.at(0).positive.crossattn[0], expected[0])
    assert [embedding.name for embedding in batch.embeddings] == ["tiny emb"]


def test_used_embeddings_come_as_a1111_lists_them(sd1, sdxl):
    known = [Embedding(name, {"": torch.randn(1, 16)}, name * 4) for name in ("aaa", "bbb", "ccc")]
    table = EmbeddingTable.for_model(known, sd1)
    batch = encode(sd1, "bbb aaa bbb", ["ccc aaa"], embeddings=table)
    assert [e.name for e in batch.embeddings] == ["bbb", "aaa", "ccc", "aaa"]  # positive first, negative after it
    both = Embedding("aaa", {"clip_l": torch.randn(1, 16), "clip_g": torch.randn(1, 24)}, "a")
    batch = encode(sdxl, "aaa", embeddings=EmbeddingTable.for_model([both], sdxl))
    assert [e.name for e in batch.embeddings] == ["aaa", "aaa"]  # once a tower


def test_embeddings_of_other_models_are_skipped_and_named(sd1, sdxl):
    wide = Embedding("wide", {"": torch.randn(1, 768)})
    split = Embedding("split", {"clip_l": torch.randn(1, 16), "clip_g": torch.randn(1, 24)})
    huge = Embedding("huge", {"": torch.randn(76, 16)})
    assert EmbeddingTable.for_model([wide, split, huge], sd1).skipped == ("wide", "split", "huge")
    assert EmbeddingTable.for_model([wide, split, huge], sdxl).skipped == ("wide", "huge")


def test_another_embedding_of_the_same_name_is_not_taken_from_the_cache(sd1):
    cache = ConditioningCache()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        table = EmbeddingTable.for_model([Embedding("emb", {"": torch.randn(1, 16)})], sd1)
        results.append(positive(sd1, "an emb", embeddings=table, cache=cache))
    assert not close(*results)


# SDXL


def test_sdxl_puts_its_towers_side_by_side_at_the_last_layer_but_one(sdxl):
    step = encode(sdxl, "a cat", ["bad"]).at(0)
    l_side = straight(sdxl, "a cat", clip_skip=2, tower=0)
    g_side = straight(sdxl, "a cat", tower=1)
    assert close(step.positive.crossattn[0], torch.cat([l_side, g_side], dim=-1))


def test_clip_skip_moves_sdxls_first_tower_only_when_the_setting_says_so(sdxl):
    usual = positive(sdxl, "a cat")
    assert close(positive(sdxl, "a cat", clip_skip=3), usual)
    asked = positive(sdxl, "a cat", clip_skip=3, sdxl_clip_l_skip=True)
    assert close(asked[:, :16], straight(sdxl, "a cat", clip_skip=3)) and close(asked[:, 16:], usual[:, 16:])


def test_sdxl_is_told_pooled_text_and_sizes(sdxl):
    vector = encode(sdxl, f"a cat BREAK {LONG}", sdxl_crop_top=8, sdxl_crop_left=16).at(0).positive.vector[0]
    tower = sdxl.towers[1]
    tokens = [START, *tower.tokenize("a cat"), END]
    pooled = tower.encode(torch.tensor([tokens + [0] * (77 - len(tokens))]), replaced=[[]], clip_skip=1)[1]
    assert close(vector[:20], pooled[0])  # of the first chunk only
    sizes = torch.tensor([96.0, 64, 8, 16, 96, 64])  # height and width; crop; target height and width
    assert close(vector[20:], sinusoids(sizes).flatten())


def test_sinusoids_are_cosines_then_sines_of_falling_frequencies():
    (row,) = sinusoids(torch.tensor([3.0]), width=4)
    angles = torch.tensor([3.0, 3.0 / 100])  # 10000 ** (-1/2) = 1 / 100
    assert close(row, torch.cat([angles.cos(), angles.sin()]))


def test_only_an_empty_negative_prompt_is_zeroed(sdxl):
    empty = encode(sdxl, "", [""]).at(0)
    assert empty.negative.crossattn.abs().max() == 0 and empty.negative.vector[0, :20].abs().max() == 0
    assert empty.negative.vector[0, 20:].abs().max() > 0  # sizes stay
    assert empty.positive.crossattn.abs().max() > 0
    assert encode(sdxl, "", [" "]).at(0).negative.crossattn.abs().max() > 0


def test_the_refiner_is_told_an_aesthetic_score():
    tower = make_tower("clip_g", seed=3, final_norm=False, projection=torch.randn(24, 20))
    step = encode(make_model("sdxl", tower, variant="refiner"), "a cat", ["bad"]).at(0)
    for side, score in ((step.positive, 6.0), (step.negative, 2.5)):
        assert side.crossattn.shape[-1] == 24
        assert close(side.vector[0, 20:], sinusoids(torch.tensor([96.0, 64, 0, 0, score])).flatten())


def test_a_family_without_a_layout_is_named(sd1):
    with pytest.raises(UnknownName, match='"flux"'):
        encode(make_model("flux", *sd1.towers), "a")


# The cache


def count(model, *arguments, **more) -> int:
    tower = model.towers[0]
    before = tower.encoded
    encode(model, *arguments, **more)
    return tower.encoded - before


def test_each_distinct_text_is_encoded_once(sd1):
    assert count(sd1, ["a cat"] * 4, ["bad"] * 4) == 2
    assert count(sd1, "a [cat|dog] here", steps=20) == 3  # with the empty negative prompt


def test_the_cache_lives_between_jobs_and_weights_do_not_matter_to_it(sd1):
    cache = ConditioningCache()
    assert count(sd1, "a cat", ["bad"], cache=cache) == 2
    assert count(sd1, "a (cat:1.3)", ["bad"], cache=cache, size=Size(width=8, height=8)) == 0
    assert count(sd1, f"{LONG}, a", ["bad"], cache=cache) == 2
    assert count(sd1, f"{LONG}, a big dog", ["bad"], cache=cache) == 1  # only the last chunk is new


@pytest.mark.parametrize("change", [{"clip_skip": 2}, {"networks": (("lora", 0.5),)}])
def test_what_changes_the_encoder_is_part_of_the_key(sd1, change):
    cache = ConditioningCache()
    encode(sd1, "a cat", ["bad"], cache=cache)
    assert count(sd1, "a cat", ["bad"], cache=cache, **change) == 2


def test_two_models_do_not_share_what_they_encoded(sd1):
    cache = ConditioningCache()
    other = make_model("sd1", make_tower("clip_l", seed=9, layer="clip-skip"))
    assert not close(positive(sd1, "a cat", cache=cache), positive(other, "a cat", cache=cache))


def test_nothing_is_kept_when_the_setting_says_so(sd1):
    cache = ConditioningCache()
    assert count(sd1, "a cat", cache=cache, persistent_cond_cache=False) == 2
    assert count(sd1, "a cat", cache=cache, persistent_cond_cache=False) == 2


def test_the_cache_drops_what_was_not_used_for_longest(sd1):
    cache = ConditioningCache(limit_bytes=2 * 77 * 16 * 4)  # two chunks of a tower 16 wide
    encode(sd1, "a", ["b"], cache=cache)
    encode(sd1, "a", ["c"], cache=cache)  # "b" is the oldest now
    assert count(sd1, "a", ["c"], cache=cache) == 0
    assert count(sd1, "b", ["c"], cache=cache) == 1


def test_cached_tensors_are_not_changed_by_what_is_done_to_them(sd1):
    cache = ConditioningCache()
    first = encode(sd1, "a cat", cache=cache).at(0).positive.crossattn
    first.zero_()
    assert close(positive(sd1, "a cat", cache=cache), straight(sd1, "a cat"))
