"""How quick the gallery is with 50,000 pictures: over its routes, as the page asks for them."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.history import routes
from modules.outputs.history import Entry, History
from tests.benchmarks.measure import table

ROWS = 50_000
_REPEATS = 5

WORDS = """
    cat dog castle forest sunset portrait oil painting city rain neon river mountain robot girl boy knight dragon
    masterpiece detailed soft light cinematic 8k ultra wide lens bokeh watercolor sketch anime realistic 森林 猫
""".split()  # noqa: SIM905


def entry(number: int, dice: random.Random) -> Entry:
    """A picture as people make them: 30 words of prompt, one of eight models, sometimes a LoRA."""
    prompt = ", ".join(dice.choices(WORDS, k=30)) + (f" <lora:style{number % 40}:0.8>" if number % 3 == 0 else "")
    return Entry(
        path=Path(f"outputs/txt2img-images/{number // 500}/{number:05}.png"), created=1.7e9 + number * 60.0,
        modified_ns=number, width=512, height=768, size_bytes=600_000, seed=number, steps=20,
        model=f"model{number % 8}", sampler=dice.choice(("Euler a", "DPM++ 2M")), prompt=prompt,
        negative_prompt="blurry, low quality, watermark", infotext=prompt + "\nSteps: 20, Sampler: Euler a, Seed: 1",
    )  # fmt: skip


def history(rows: int = ROWS) -> str:
    """Pages, searches and filters as JSON: the first call of each, and the best of a few."""
    dice = random.Random(1)
    asked = {
        "first page": "",
        "page at the end": f"offset={rows - 100}",
        "a common word": "text=cat",
        "three words": "text=castle rain robot",
        "the beginning of a word": "text=cas",
        "a phrase": 'text="oil painting"',
        "a word that is nowhere": "text=zebra",
        "without a word": "text=castle -rain",
        "Chinese inside a sentence": "text=森林",
        "a seed": "text=31415",
        "the beginning of seeds": "text=31",
        "a file name": "text=00042.png",
        "a tag": "text=best",
        "stars": "text=★★",
        "tag and word": "text=best castle",
        "model and sampler": "model=model3&sampler=Euler a",
        "LoRA and word": "lora=style3&text=cat",
        "size and pictures only": "size=512x768&role=sample",
        "one day": f"since={1.7e9}&until={1.7e9 + 86400}",
    }
    with tempfile.TemporaryDirectory() as folder:
        index = History(Path(folder) / "history.sqlite", Path(folder))
        started = time.perf_counter()
        for start in range(0, rows, 1000):
            index.add_entries([entry(number, dice) for number in range(start, min(rows, start + 1000))])
        index.tag(range(1, rows, 10), "best", owner="")
        index.tag(range(1, rows, 50), "★★★", owner="")
        indexed_s = time.perf_counter() - started
        client = _client(index, Path(folder))
        lines = []
        addresses = {name: f"/history?{query}" for name, query in asked.items()}
        for name, address in {**addresses, "the filters' choices": "/history/choices"}.items():
            times = []
            for _ in range(_REPEATS):
                started = time.perf_counter()
                answer = client.get(address)
                times.append((time.perf_counter() - started) * 1000)
                answer.raise_for_status()
            found = answer.json().get("total", "")
            lines.append([name, found, f"{times[0]:.1f} ms", f"{min(times):.1f} ms"])
        client.close()
        index.close()
    title = f"Gallery with {rows:,} pictures (indexed in {indexed_s:.1f} s)"
    return table(title, ["asked", "found", "first", "best"], lines)


def _client(index: History, data: Path) -> TestClient:
    app = SimpleNamespace(history=index, data_dir=data, closing=threading.Event(), history_owner=lambda owner: "")
    web = FastAPI()
    web.include_router(routes(app))
    return TestClient(web, headers={"x-webui-owner": "browser:1"})
