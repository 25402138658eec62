"""What a wrong body is answered."""

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from modules.api.answers import add_error_answers


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
