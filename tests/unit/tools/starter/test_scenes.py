"""Captions say what is in the picture, and the picture shows it."""

import numpy as np
import pytest

from tools.starter.concepts import BACKGROUNDS, CONCEPTS, TINTS, article, is_held_out
from tools.starter.scenes import Painter, Placed, Scene, SceneSampler, tinted


def test_there_are_enough_concepts_and_no_two_share_a_name():
    assert len({concept.name for concept in CONCEPTS}) == len(CONCEPTS) >= 120


@pytest.mark.parametrize(
    "words, plural, expected",
    [("cat", False, "a cat"), ("orange owl", False, "an orange owl"), ("grapes", True, "grapes")],
)
def test_articles_follow_the_next_word(words, plural, expected):
    assert article(words, plural) == expected


def test_a_caption_names_every_object_and_tint_and_the_background_unless_white(concepts):
    sampler = SceneSampler(concepts, seed=1)
    for scene in (sampler.sample() for _ in range(300)):
        for placed in scene.objects:
            assert placed.concept.name in scene.caption or placed.concept.plural in scene.caption
            assert placed.tint is None or placed.tint in scene.caption
        assert scene.background == "white" or f"{scene.background} background" in scene.caption


def test_held_out_pairs_never_occur_in_training(concepts):
    sampler = SceneSampler(concepts, seed=2, tint_share=1.0)
    drawn = {(it.concept.name, it.tint) for _ in range(500) for it in sampler.sample().objects}
    assert not any(is_held_out(name, tint) for name, tint in drawn)


def test_a_few_percent_of_the_real_pairs_are_held_out():
    held_out = [is_held_out(concept.name, tint) for concept in CONCEPTS for tint in TINTS]
    assert 0.03 < np.mean(held_out) < 0.1


def test_the_same_seed_gives_the_same_scenes(concepts):
    first, second = SceneSampler(concepts, seed=3), SceneSampler(concepts, seed=3)
    assert [first.sample() for _ in range(20)] == [second.sample() for _ in range(20)]


def test_the_picture_has_the_background_colour_and_the_object_in_its_place(sprites, concepts):
    scene = Scene((Placed(concepts[1], None, x=0.25, y=0.5, size=0.4),), "green", "left", "a box on the left")
    picture = Painter(sprites).paint(scene, 32)
    assert picture.shape == (32, 32, 3)
    assert tuple(picture[0, -1]) == BACKGROUNDS["green"]
    assert tuple(picture[16, 8]) != BACKGROUNDS["green"]
    assert (picture[:, 16:] == BACKGROUNDS["green"]).all()


@pytest.mark.parametrize("name", TINTS)
def test_a_tinted_sprite_has_the_tints_hue_and_keeps_its_outline(sprites, name):
    image = tinted(sprites[0].image, TINTS[name])
    before, after = np.asarray(sprites[0].image), np.asarray(image)
    assert (before[..., 3] == after[..., 3]).all()
    mean = after[after[..., 3] > 128][:, :3].mean(0)
    order = np.argsort(TINTS[name])
    assert (np.argsort(mean) == order).all()
