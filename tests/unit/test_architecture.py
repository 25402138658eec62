"""The map in `modules/README.md`, enforced: who imports whom, and what the front must not load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From left to right as in the README; a module may import what stands to its right, and nothing beside or left of it.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "webui",
        "cli",
        "server",
        "ui api",
        "app batches checkpoint_in_use extras pictures recipes worker",
        "jobs planning extensions outputs postprocessing",
        "engine",
        "conditioning faces upscaling",
        "models",
        "networks infotext",
        "sampling",
        "generation prompts",
        "images settings",
        "registry errors databases",
    )
)
# The contract between front and worker is vocabulary, although it lies beside what implements it. `recipes`, `batches`,
# `extras`, `pictures` and `checkpoint_in_use` are parts of `app` in files of their own; `worker` is the other process's
# composition root.
PLACES = {"jobs.worker": "generation"}
TOGETHER = (
    {"app", "batches", "checkpoint_in_use", "extras", "pictures", "recipes"},
    {"registry", "errors", "databases"},
    {"prompts", "generation"},
)

HEAVY = ("torch", "diffusers", "transformers")
MAY_LOAD_HEAVY = ("networks", "conditioning", "engine", "faces", "models")
TORCH_FREE_MODELS = (
    "models.catalog",
    "models.files",
    "models.places",
    "models.caption",
    "models.faces",
    "models.embedding_card",
    "models.header",
    "models.family",
    "models.folders",
    "models.views",
    "models.families",
    "models.hashes",
    "models.sidecars",
)
ENGINE_CONTRACT = "engine.stages"  # scripts are written against it, in the front too
WORKER_SIDE = ("worker",)


def module_name(path: Path) -> str:
    """`jobs.queue` for modules/jobs/queue.py."""
    parts = path.relative_to(ROOT / "modules").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def sources() -> list[Path]:
    return sorted(path for path in (ROOT / "modules").rglob("*.py") if module_name(path))


def imports(tree: ast.AST, *, at_top: bool) -> Iterator[tuple[str, int]]:
    """Imported module names with their lines; `at_top` leaves out functions and `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "modules":
                yield from ((f"modules.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)) or (
            at_top and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ):
            continue
        else:
            yield from imports(node, at_top=at_top)


def layer_of(name: str) -> int:
    """The place of a module's layer from the left, by its first part."""
    first = PLACES.get(name, name).split(".")[0]
    return next(place for place, names in enumerate(LAYERS) if first in names)


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_to_the_right(path):
    own = module_name(path)
    for imported, line in imports(ast.parse(path.read_text("utf-8")), at_top=False):
        if not imported.startswith("modules."):
            continue
        other = imported.removeprefix("modules.")
        own_folder = PLACES.get(own, own).split(".")[0]
        other_folder = PLACES.get(other, other).split(".")[0]
        if own_folder == other_folder or any({own_folder, other_folder} <= group for group in TOGETHER):
            continue
        where = f"{path.relative_to(ROOT)}:{line}"
        assert layer_of(own) < layer_of(other), (
            f"{where}: {own_folder} must not import {other_folder} (modules/README.md)"
        )


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_torch_is_loaded_only_where_the_map_allows_it(path):
    own = module_name(path)
    is_worker_side = own.startswith(MAY_LOAD_HEAVY) or own in WORKER_SIDE
    if is_worker_side and not own.startswith(TORCH_FREE_MODELS) and own != ENGINE_CONTRACT:
        return
    for imported, line in imports(ast.parse(path.read_text("utf-8")), at_top=True):
        assert imported.split(".")[0] not in HEAVY, (
            f"{path.relative_to(ROOT)}:{line}: import {imported} inside a function"
        )


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_gradio_and_fastapi_stay_in_their_doors(path):
    own = module_name(path)
    for imported, line in imports(ast.parse(path.read_text("utf-8")), at_top=False):
        library = imported.split(".")[0]
        where = f"{path.relative_to(ROOT)}:{line}"
        if library == "gradio":
            assert own.startswith("ui") or own == "server", f"{where}: gradio is only for ui/ and server.py"
        if library in ("fastapi", "starlette"):
            assert own.startswith("api") or own == "server", f"{where}: fastapi is only for api/ and server.py"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_nothing_loads_pickles_without_a_guard(path):
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        words = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        where = f"{path.relative_to(ROOT)}:{node.lineno}"
        if called == "torch.load":
            assert words.get("weights_only") == "True", f"{where}: torch.load needs weights_only=True"
        assert called not in ("pickle.load", "pickle.loads", "eval", "exec"), f"{where}: {called} runs what it reads"
        assert words.get("allow_pickle", "False") == "False", f"{where}: allow_pickle runs what it reads"


def test_the_front_starts_without_torch(tmp_path):
    program = (
        "import json, sys\n"
        "from modules.cli import flags_from\n"
        "from modules.app import App\n"
        "from modules.server import rules_from\n"
        f"app = App(flags_from(['--data-dir', {str(tmp_path)!r}]))\n"
        "rules_from(app.flags)\n"
        "from modules.ui import blocks\n"
        "blocks.build(app)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & set(HEAVY), f"the front loaded {sorted(loaded & set(HEAVY))}"
    assert "gradio" in loaded  # the program above really built the page
