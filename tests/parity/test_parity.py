"""The same pictures and the same infotexts as A1111, case by case, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.compare import Verdict, judge
from tests.parity.corpus import CORPUS_VARIABLE, FAST, OWN_DATA, Case, corpus_folder, read_cases
from tests.parity.server import ParityServer
from tests.parity.table import Table

pytestmark = pytest.mark.parity
HAS_CORPUS = (corpus_folder() / "cases.jsonl").is_file()
CORPUS = list(read_cases(corpus_folder())) if HAS_CORPUS else []
OWN = list(read_cases(OWN_DATA)) if (OWN_DATA / "cases.jsonl").is_file() else []


def cases() -> list[Any]:
    return [
        pytest.param(case, id=case.id, marks=[pytest.mark.fast] if case.id in FAST else [pytest.mark.slow])
        for case in CORPUS
    ]


@pytest.mark.skipif(
    not HAS_CORPUS, reason=f"no parity corpus at {corpus_folder()}; set {CORPUS_VARIABLE} to the folder of cases.jsonl"
)
@pytest.mark.parametrize("case", cases())
def test_a_recorded_call_gives_the_recorded_answer(case: Case, corpus_server: ParityServer, table: Table) -> None:
    check(case, corpus_server, table)


@pytest.mark.skipif(HAS_CORPUS, reason="the whole corpus is there, which holds these cases too")
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in OWN])
def test_a_shipped_case_gives_the_recorded_answer(case: Case, own_server: ParityServer, table: Table) -> None:
    name = case.body["override_settings"]["sd_model_checkpoint"]
    recorded = (OWN_DATA / "recorded-hash.txt").read_text().strip()
    renamed = {recorded: own_server.checkpoint_hash(name)}
    check(case, own_server, table, renamed=renamed)


def check(case: Case, server: ParityServer, table: Table, *, renamed: dict[str, str] | None = None) -> None:
    verdict = None
    try:
        images = server.generate(case)
        if not case.outputs:  # A1111 failed here; it is enough that we do not
            assert images
            table.add(case.feature, case.id, Verdict(0, 0.0, ()))
            return
        verdict = judge(case, images, renamed=renamed)
    except RuntimeError:
        table.add(case.feature, case.id, None)
        raise
    table.add(case.feature, case.id, verdict)
    assert not verdict.problems, "\n".join(verdict.problems)
