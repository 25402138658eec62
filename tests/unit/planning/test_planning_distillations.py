from __future__ import annotations

import pytest

from modules.planning.distillations import distillation


@pytest.mark.parametrize(
    "name, title",
    [
        ("sd_xl_turbo_1.0_fp16", "Turbo"),
        ("DreamShaperXL_v21TurboDPMSDE", "Turbo"),
        ("sdxl_lightning_4step", "Lightning"),
        ("realvisxlV50_v50LightningBakedvae", "Lightning"),
        ("LCM_Dreamshaper_v7_4k", "LCM"),
        ("Hyper-SDXL-4step", "Hyper-SD"),
        ("hyperrealism", None),
        ("turbovision", None),
        ("v1-5-pruned-emaonly", None),
    ],
)
def test_a_distilled_checkpoint_is_told_by_a_word_of_its_name(name: str, title: str | None) -> None:
    found = distillation(name)
    assert (found.title if found else None) == title
