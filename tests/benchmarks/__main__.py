"""`python -m tests.benchmarks [NAME …]` runs the benchmarks and prints their tables."""

from __future__ import annotations

import sys

from tests.benchmarks.generation import pictures, precision
from tests.benchmarks.history import history
from tests.benchmarks.load import load, soak
from tests.benchmarks.loading import loading, lora, switching
from tests.benchmarks.page import page
from tests.benchmarks.start_up import start_up

BENCHMARKS = {
    each.__name__: each for each in (start_up, page, pictures, precision, loading, switching, lora, history, load, soak)
}


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise SystemExit(f"no benchmark named {', '.join(unknown)}; there is {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        print(BENCHMARKS[name](), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
