"""The OpenAPI document against the real server: bodies made from it, right and wrong, meet no 500 and no answer that it
does not describe. Few examples a route here; `SCHEMATHESIS_EXAMPLES=200` looks closer."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.core.failures import FailureGroup  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "4"))
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
    derandomize=True,
    database=None,
)

ENDLESS = {"/api/v1/jobs/events"}
"""Streams without an end."""
ELSEWHERE = {"/api/v1/history/import", "/sdapi/v1/server-kill", "/sdapi/v1/server-stop", "/sdapi/v1/server-restart"}
"""Routes that reach beyond the server: these are tested by name."""


@pytest.fixture(scope="package")
def document(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path=sorted(ENDLESS | ELSEWHERE))


def tamed(body):
    """A generated body for pictures that are made in a blink; everything else in it stays."""
    if not isinstance(body, dict):
        return body
    small = {"width": 64, "height": 64, "steps": 1, "n_iter": 1, "batch_size": 1, "hr_scale": 1, "hr_resize_x": 0,
             "hr_resize_y": 0, "hr_second_pass_steps": 1, "firstphase_width": 0, "firstphase_height": 0}  # fmt: skip
    for name, value in small.items():
        if isinstance(body.get(name), int | float) or (name in ("width", "height", "steps") and name not in body):
            body[name] = value
    return body


def tamed_job(body):
    """The same for a `GenerationRequest`; a part that is not an object stays for the server to refuse."""
    if isinstance(body, dict):
        body["size"] = {"width": 64, "height": 64}
        body["batch"] = {"size": 1, "count": 1}
        sampling = body.setdefault("sampling", {})
        if isinstance(sampling, dict):
            sampling["steps"] = 1
        if isinstance(hires := body.get("hires"), dict):
            hires.update(scale=1, steps=1, resize_width=0, resize_height=0)
    return body


TAMERS = {"/sdapi/v1/txt2img": tamed, "/sdapi/v1/img2img": tamed, "/api/v1/jobs": tamed_job}


def ask_and_check(case):
    if case.method.upper() == "POST" and (tamer := TAMERS.get(case.path)):
        case.body = tamer(case.body)
    if case.path.endswith("/result"):
        case.query["wait"] = 0
    answer = case.call(timeout=60)
    assert answer.status_code != 500, f"{case.as_curl_command()}\n{answer.text}"
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_answer_is_a_500_or_missing_from_the_document(server, document, mode):
    """One test for all routes: their number is known only when the server runs."""
    problems = []
    for found in document.get_all_operations():
        operation = found.ok()
        check = BOUNDED(given(case=operation.as_strategy(generation_mode=mode))(lambda case: ask_and_check(case)))
        try:
            check()
        except Unsatisfiable:  # a route without parameters cannot be asked wrongly
            assert mode is GenerationMode.NEGATIVE, operation.label
        except (Exception, FailureGroup) as error:  # every route is to be looked at before the test says what it found
            problems.append(f"{operation.label}: {error}")
    server.post("/jobs/resume")  # one of the routes was to pause
    assert not problems, "\n\n".join(problems)


def test_the_document_names_every_route_of_ours(server):
    """A route that is not in the document could answer anything."""
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/sdapi/v1/txt2img", "/sdapi/v1/options", "/internal/progress", "/queue/status", "/api/v1/jobs"} <= set(
        paths
    )
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert "200" in operation["responses"] or "202" in operation["responses"], (method, path)
            assert {"401", "403", "404", "422"} <= set(operation["responses"]), (method, path)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_page_about_the_api_needs_no_other_server(server, path):
    page = server.get(path)
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert b'new URL("openapi.json", base)' in page.content  # the document is what it shows
    assert not re.search(rb"(src|href)=.?(https?:)?//|@import|url\(", page.content)
