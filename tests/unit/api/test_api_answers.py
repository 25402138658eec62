"""What a wrong body is answered."""

from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

from modules.api.answers import add_error_answers
from modules.errors import UnknownName


class Asked(BaseModel):
    prompt: str
    steps: int = 1


def client() -> TestClient:
    web = FastAPI()
    add_error_answers(web)

    @web.post("/sdapi/v1/ask")
    def ask(body: Asked) -> dict[str, int]:
        return {"steps": body.steps}

    return TestClient(web, raise_server_exceptions=False)


def test_a_wrong_value_is_named_and_not_sent_back():
    answer = client().post("/sdapi/v1/ask", json={"prompt": "a cat", "steps": "x" * 10_000})
    (told,) = answer.json()["detail"]
    assert answer.status_code == 422 and told["loc"] == ["body", "steps"]
    assert set(told) == {"loc", "msg", "type"} and len(answer.content) < 1000


def test_a_message_that_quotes_a_book_keeps_its_beginning_and_its_end():
    web = FastAPI()
    add_error_answers(web)

    @web.get("/sdapi/v1/{kind}")
    def refuse(kind: str) -> None:
        words = f'no sampler named "{"x" * 100_000}"; did you mean "Euler"?'
        raise UnknownName(words) if kind == "ours" else HTTPException(422, words)

    asking = TestClient(web, raise_server_exceptions=False)
    for kind in ("ours", "fastapis"):
        answer = asking.get(f"/sdapi/v1/{kind}")
        said = answer.json()["detail"]
        assert said.startswith('no sampler named "xxx') and said.endswith('did you mean "Euler"?')
        assert (answer.status_code, answer.json()["errors"]) == (422, said) and len(answer.content) < 10_000
