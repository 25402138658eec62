"""The command line as A1111's users type it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from modules.errors import InvalidRequest, UnknownName
from modules.settings import flags

A1111_FLAGS = """
--data-dir --models-dir --ckpt --ckpt-dir --config --vae-path --vae-dir --embeddings-dir --hypernetwork-dir
--lora-dir --lyco-dir-backcompat --textual-inversion-templates-dir --localizations-dir --styles-file
--codeformer-models-path --gfpgan-models-path --esrgan-models-path --bsrgan-models-path --realesrgan-models-path
--dat-models-path --swinir-models-path --scunet-models-path --ldsr-models-path --clip-models-path --gfpgan-dir
--gfpgan-model --ui-config-file --ui-settings-file --listen --server-name --port --share --ngrok --ngrok-options
--subpath --timeout-keep-alive --tls-keyfile --tls-certfile --disable-tls-verify --cors-allow-origins
--cors-allow-origins-regex --gradio-auth --gradio-auth-path --gradio-allowed-path --gradio-debug
--no-gradio-queue --autolaunch --theme --use-textbox-seed --ui-debug-mode --api --api-auth --api-log --nowebui
--api-server-stop --skip-load-model-at-start --enable-insecure-extension-access --disable-safe-unpickle
--allow-code --hide-ui-dir-config --freeze-settings --freeze-settings-in-sections --freeze-specific-settings
--disable-all-extensions --disable-extra-extensions --update-all-extensions --precision --no-half --no-half-vae
--upcast-sampling --disable-nan-check --medvram --medvram-sdxl --lowvram --lowram
--disable-model-loading-ram-optimization --opt-channelslast --xformers --force-enable-xformers
--xformers-flash-attention --opt-sdp-attention --opt-sdp-no-mem-attention --opt-sub-quad-attention
--sub-quad-q-chunk-size --sub-quad-kv-chunk-size --sub-quad-chunk-threshold --opt-split-attention
--opt-split-attention-v1 --opt-split-attention-invokeai --disable-opt-split-attention --device-id --use-cpu
--use-ipex --no-hashing --no-download-sd-model --do-not-download-clip --skip-python-version-check
--skip-torch-cuda-test --skip-version-check --reinstall-xformers --reinstall-torch --update-check --skip-install
--skip-prepare-environment --test-server --log-startup --dump-sysinfo --exit --loglevel --no-prompt-history
--filenames-max-length --unix-filenames-sanitization --disable-console-progressbars --no-progressbar-hiding
--administrator --max-batch-count --always-batch-cond-uncond --unload-gfpgan --ngrok-region --deepdanbooru
--show-negative-prompt --gradio-queue --gradio-img2img-tool --gradio-inpaint-tool --add-stop-route
--enable-console-prompts
"""


def test_the_command_line_of_the_parity_corpus_is_understood():
    line = (
        "--nowebui --api --use-cpu all --no-half --precision full --skip-torch-cuda-test --skip-version-check "
        "--no-download-sd-model --ckpt-dir a/b --vae-dir v --embeddings-dir e --lora-dir l --styles-file styles.csv"
    )
    read = flags.parse(line.split(), {})
    assert read.nowebui and read.api and read.no_half
    assert read.use_cpu == ("all",)
    assert read.precision == "full"
    assert (read.ckpt_dir, read.vae_dir, read.embeddings_dir, read.lora_dir) == ("a/b", "v", "e", "l")
    assert read.styles_file == ("styles.csv",)


def test_nothing_given_is_every_default():
    assert flags.parse([], {}) == flags.Flags()
    assert flags.parse([], {}).given == frozenset()


def test_a_repeatable_flag_collects_all_its_values():
    read = flags.parse(["--styles-file", "a.csv", "--styles-file", "b*.csv", "c.csv", "--use-cpu", "sd", "esrgan"], {})
    assert read.styles_file == ("a.csv", "b*.csv", "c.csv")
    assert read.use_cpu == ("sd", "esrgan")


def test_a_flag_without_effect_is_accepted_and_said_in_one_line():
    (line,) = flags.parse(["--ngrok", "token", "--always-batch-cond-uncond", "--medvram"], {}).notices()
    assert "--ngrok" in line and "--always-batch-cond-uncond" in line
    assert "--medvram" not in line and "\n" not in line


def test_an_unknown_flag_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownName, match="--no-half-vae"):
        flags.parse(["--no-half-vea"], {})


def test_a_stray_word_is_refused():
    with pytest.raises(UnknownName, match="belongs to no flag"):
        flags.parse(["--listen", "yes"], {})


def test_an_underscore_for_a_dash_is_suggested_away():
    with pytest.raises(UnknownName, match="--no-half"):
        flags.parse(["--no_half"], {})


def test_the_environment_can_let_unknown_flags_pass():
    assert flags.parse(["--brand-new", "--listen"], {flags.IGNORE_UNKNOWN: "1"}).listen


@pytest.mark.parametrize("line", (["--port", "eighty"], ["--precision", "double"], ["--port"]))
def test_a_value_that_does_not_fit_is_refused_naming_the_flag(line):
    with pytest.raises(InvalidRequest, match=line[0]):
        flags.parse(line, {})


def test_flags_cannot_be_abbreviated():
    with pytest.raises(UnknownName):
        flags.parse(["--xform"], {})


@pytest.mark.parametrize(
    "line, reachable",
    [
        ([], False),
        (["--listen"], True),
        (["--share"], True),
        (["--server-name", "127.0.0.1"], False),
        (["--server-name", "10.0.0.1"], True),
    ],
)
def test_it_is_known_whether_others_can_open_the_page(line, reachable):
    assert flags.parse(line, {}).is_reachable_by_others is reachable


def test_folders_follow_the_data_folder_unless_given(tmp_path):
    read = flags.parse(["--data-dir", str(tmp_path)], {})
    assert read.models_path == tmp_path / "models"
    assert read.settings_path == tmp_path / "config.json"
    assert flags.parse(["--data-dir", str(tmp_path), "--models-dir", "/m"], {}).models_path.as_posix() == "/m"


def test_every_flag_of_the_reference_list_exists():
    assert set(A1111_FLAGS.split()) <= {flags.spelling(name) for name in flags.Flags.model_fields}


ROOT = Path(flags.__file__).parents[2]
LAUNCHER = ROOT / "webui.sh"


def names_used_in_the_program():
    """Every attribute, keyword and text constant of the code outside flags.py, and every property of `Flags` itself."""
    found = set()
    for folder in ("modules", "extensions"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            if path == Path(flags.__file__):  # the fields themselves are no use of them
                tree = ast.Module([node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)], [])
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_every_flag_does_something_or_is_told_to_do_nothing():
    """A flag that nobody reads must be marked with `_inert`, whose reason is printed when it is given."""
    used, launcher = names_used_in_the_program(), LAUNCHER.read_text("utf-8")
    silent = [
        flags.spelling(name)
        for name, field in flags.Flags.model_fields.items()
        if not field.json_schema_extra["inert"]
        and name not in used
        and f"asks_for {flags.spelling(name)}" not in launcher
    ]
    assert not silent, f"accepted, not read anywhere, and nobody is told: {', '.join(silent)}"


def test_a_flag_that_is_told_to_do_nothing_is_read_nowhere():
    """The other way round: a flag that has an effect after all must not be told off."""
    inert = {name for name, field in flags.Flags.model_fields.items() if field.json_schema_extra["inert"]}
    read = set()
    for path in (ROOT / "modules").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if owner in ("flags", "policy") and node.attr in inert:
                    read.add(f"{node.attr} in {path.name}")
    assert not read
