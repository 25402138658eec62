"""The command line: A1111's flags, ours beside them, as one frozen value.

`parse(argv)` reads them; nothing here acts on them. Flags that another design made pointless are accepted, so that an
old `webui-user.sh` keeps starting, and `Flags.notices()` names them in one line. `COMMANDLINE_ARGS` is the launcher's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from modules.errors import InvalidRequest, SettingsError, UnknownName
from modules.registry import did_you_mean

IGNORE_UNKNOWN = "IGNORE_CMD_ARGS_ERRORS"
"""Environment variable: when set to anything, unknown flags are skipped instead of refused, as in A1111."""


def flag(default: Any, text: str, *, group: str, value: str = "", many: bool = False, inert: str = "") -> Any:
    """A flag: its help `text`, its `group` in `--help`, the name of its `value` (none for a switch).

    `many` takes several values after one flag or the flag several times. `inert` says why the flag does nothing here.
    """
    return Field(
        default, description=text, json_schema_extra={"group": group, "value": value, "many": many, "inert": inert}
    )


def _paths(default: Any, text: str, value: str = "DIR") -> Any:
    return flag(default, text, group="paths", value=value)


def _server(default: Any, text: str, value: str = "") -> Any:
    return flag(default, text, group="server", value=value)


def _inert(default: Any, why: str, value: str = "") -> Any:
    return flag(default, f"accepted, without effect: {why}", group="accepted without effect", value=value, inert=why)


_NO_LONGER = "A1111 ignores it too"


class Flags(BaseModel):
    """Every flag under A1111's name for it (`--no-half` is `no_half`); `None` means "not given"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # paths
    data_dir: str | None = _paths(None, "base folder of what is yours: settings, outputs, models, extensions")
    models_dir: str | None = _paths(None, "base folder of models (default: <data>/models)")
    ckpt: str | None = _paths(None, "a checkpoint to list and to load first", "FILE")
    ckpt_dir: str | None = _paths(None, "a further folder of checkpoints")
    config: str | None = _paths(None, "model yaml used where a checkpoint has none beside it", "FILE")
    vae_path: str | None = _paths(None, "use this VAE always; switches the VAE settings off", "FILE")
    vae_dir: str | None = _paths(None, "a further folder of VAE files")
    embeddings_dir: str | None = _paths(None, "folder of textual inversion embeddings")
    hypernetwork_dir: str | None = _paths(None, "folder of hypernetworks")
    lora_dir: str | None = _paths(None, "folder of LoRA networks")
    lyco_dir_backcompat: str | None = _paths(None, "folder of LyCORIS networks")
    localizations_dir: str | None = _paths(None, "folder of localisation files")
    styles_file: tuple[str, ...] = flag(
        (), "styles file, wildcards allowed; may be repeated", group="paths", value="FILE", many=True
    )
    esrgan_models_path: str | None = _paths(None, "a further folder of ESRGAN upscalers")
    bsrgan_models_path: str | None = _paths(None, "a further folder of BSRGAN upscalers")
    realesrgan_models_path: str | None = _paths(None, "a further folder of RealESRGAN upscalers")
    dat_models_path: str | None = _paths(None, "a further folder of DAT upscalers")
    swinir_models_path: str | None = _paths(None, "a further folder of SwinIR upscalers")
    scunet_models_path: str | None = _paths(None, "a further folder of ScuNET upscalers")
    ldsr_models_path: str | None = _paths(None, "a further folder of LDSR upscalers")
    gfpgan_models_path: str | None = _paths(None, "a further folder of GFPGAN and what finds faces for it")
    gfpgan_dir: str | None = _paths(None, "the same")
    gfpgan_model: str | None = _paths(None, "which file to use where there are several GFPGANs", "FILE")
    codeformer_models_path: str | None = _paths(None, "a further folder of CodeFormer and what finds faces for it")
    ui_config_file: str | None = _paths(None, "defaults of the page (default: <data>/ui-config.json)", "FILE")
    ui_settings_file: str | None = _paths(None, "settings file (default: <data>/config.json)", "FILE")

    # server
    listen: bool = _server(False, "answer on all addresses (0.0.0.0), not only on this machine")
    server_name: str | None = _server(None, "address to answer on", "ADDRESS")
    port: int | None = _server(None, "port (default: 7860, or the next free one)", "PORT")
    share: bool = _server(False, "make a public gradio link; a password is made up unless --gradio-auth is given")
    share_without_password: bool = _server(False, "with --share: let in whoever knows the link")
    subpath: str | None = _server(None, "path under which a reverse proxy serves the page", "PATH")
    timeout_keep_alive: int = _server(30, "seconds an idle connection is kept", "SECONDS")
    tls_keyfile: str | None = _server(None, "private key for https", "FILE")
    tls_certfile: str | None = _server(None, "certificate for https", "FILE")
    disable_tls_verify: bool = _server(False, "accept a self-signed certificate")
    cors_allow_origins: str | None = _server(None, "origins whose pages may call this server, with commas", "LIST")
    cors_allow_origins_regex: str | None = _server(None, "the same as one regular expression", "REGEX")
    gradio_auth: str | None = _server(None, "logins as user:password,user:password", "LOGINS")
    gradio_auth_path: str | None = _server(None, "file with logins, one or more a line", "FILE")
    gradio_allowed_path: tuple[str, ...] = flag(
        (), "a further folder whose files the page may show; may be repeated", group="server", value="DIR", many=True
    )
    autolaunch: bool = _server(False, "open the page in the browser at start")
    theme: str | None = _server(None, "light or dark, whatever the browser prefers", "light|dark")
    ui_debug_mode: bool = _server(False, "serve the page without loading a model")

    # api
    api: bool = flag(False, "serve /sdapi/v1 also where it is not on by default", group="api")
    api_auth: str | None = flag(None, "logins for the API as user:password,…", group="api", value="LOGINS")
    api_keys_path: str | None = flag(
        None, "file with API keys, name:key a line; `./webui.sh api-key NAME` makes one", group="api", value="FILE"
    )
    api_log: bool = flag(False, "log every API request", group="api")
    nowebui: bool = flag(False, "serve the API only, on port 7861 unless --port says otherwise", group="api")
    api_server_stop: bool = flag(False, "allow stopping and restarting through the API", group="api")
    skip_load_model_at_start: bool = flag(False, "load the model with the first job, not at start", group="api")

    # security
    disable_safe_unpickle: bool = _inert(False, "pickles are always read safely")
    enable_insecure_extension_access: bool = flag(
        False, "allow installing extensions although others can reach the page", group="security"
    )
    hide_ui_dir_config: bool = flag(False, "folders and name patterns cannot be changed", group="security")
    freeze_settings: bool = flag(False, "no setting can be changed", group="security")
    freeze_settings_in_sections: str | None = flag(
        None, "sections, separated by commas, whose settings cannot be changed", group="security", value="LIST"
    )
    freeze_specific_settings: str | None = flag(
        None, "settings, separated by commas, that cannot be changed", group="security", value="LIST"
    )

    # extensions
    disable_all_extensions: bool = flag(False, "start without any extension", group="extensions")
    disable_extra_extensions: bool = flag(False, "start with the built-in extensions only", group="extensions")

    # precision and memory
    precision: str = flag("autocast", "autocast, full (float32) or half", group="precision", value="autocast|full|half")
    no_half: bool = flag(False, "keep the networks in float32", group="precision")
    no_half_vae: bool = flag(False, "keep the VAE in float32", group="precision")
    upcast_sampling: bool = flag(False, "sample in float32 around half-precision weights", group="precision")
    disable_nan_check: bool = flag(False, "do not stop when a network yields NaN", group="precision")
    medvram: bool = flag(False, "keep text encoder, UNet and VAE on the device one at a time", group="memory")
    medvram_sdxl: bool = flag(False, "as --medvram, for SDXL only", group="memory")
    lowvram: bool = flag(False, "as --medvram, and the UNet block by block: slow", group="memory")
    opt_channelslast: bool = flag(False, "channels-last memory layout", group="memory")

    # attention
    xformers: bool = flag(False, "prefer xformers attention", group="attention")
    force_enable_xformers: bool = flag(False, "the same: what passes a small test is used", group="attention")
    opt_sdp_attention: bool = flag(False, "prefer PyTorch's attention", group="attention")
    opt_sdp_no_mem_attention: bool = flag(False, "the same, deterministic", group="attention")
    opt_sub_quad_attention: bool = flag(False, "prefer sub-quadratic attention", group="attention")
    opt_split_attention: bool = flag(False, "prefer sliced attention (Doggettx)", group="attention")
    opt_split_attention_v1: bool = flag(False, "prefer sliced attention (V1)", group="attention")
    opt_split_attention_invokeai: bool = flag(False, "prefer sliced attention (InvokeAI)", group="attention")
    disable_opt_split_attention: bool = flag(False, "plain attention unless another flag chooses", group="attention")

    # devices
    device_id: str | None = flag(None, "which graphics card to use, from 0", group="devices", value="N")
    use_cpu: tuple[str, ...] = flag(
        (),
        "parts that run on the CPU: all, sd, interrogate, esrgan, gfpgan, codeformer",
        group="devices",
        value="PART",
        many=True,
    )

    # models
    no_hashing: bool = flag(False, "never compute sha256 of checkpoints", group="models")

    # misc
    loglevel: str | None = flag(None, "DEBUG, INFO, WARNING or ERROR", group="misc", value="LEVEL")
    log_startup: bool = flag(False, "print how long each part of the start took", group="misc")
    exit: bool = flag(False, "leave after installing", group="misc")
    dump_sysinfo: bool = flag(False, "write a report about this installation and leave", group="misc")
    no_prompt_history: bool = flag(False, "do not keep the last parameters in params.txt", group="misc")
    filenames_max_length: int = flag(128, "longest value of one file name pattern", group="misc", value="N")
    unix_filenames_sanitization: bool = flag(False, "forbid only / in file names", group="misc")
    disable_console_progressbars: bool = flag(False, "no line of progress while `generate` runs", group="misc")
    enable_console_prompts: bool = flag(False, "print prompts; sets the default of the setting", group="misc")

    # read by webui.sh
    reinstall_torch: bool = flag(False, "install PyTorch anew, then start", group="installing")
    reinstall_xformers: bool = flag(
        False, "install xformers anew where there is an NVIDIA card, then start", group="installing"
    )
    skip_install: bool = flag(False, "install nothing, whatever is missing", group="installing")
    skip_prepare_environment: bool = flag(False, "the same", group="installing")

    # accepted without effect
    max_batch_count: int = _inert(16, _NO_LONGER, "N")
    always_batch_cond_uncond: bool = _inert(False, _NO_LONGER)
    unload_gfpgan: bool = _inert(False, _NO_LONGER)
    deepdanbooru: bool = _inert(False, _NO_LONGER)
    show_negative_prompt: bool = _inert(False, _NO_LONGER)
    gradio_queue: bool = _inert(True, _NO_LONGER)
    gradio_img2img_tool: str | None = _inert(None, _NO_LONGER, "NAME")
    gradio_inpaint_tool: str | None = _inert(None, _NO_LONGER, "NAME")
    add_stop_route: bool = _inert(False, "--api-server-stop does it")
    ngrok_region: str | None = _inert(None, _NO_LONGER, "REGION")
    ngrok: str | None = _inert(None, "use --share or your own tunnel", "TOKEN")
    ngrok_options: str | None = _inert(None, "use --share or your own tunnel", "JSON")
    no_gradio_queue: bool = _inert(False, "jobs wait in a queue of our own")
    gradio_debug: bool = _inert(False, "use --loglevel DEBUG")
    use_textbox_seed: bool = _inert(False, "the seed box takes any number")
    lowram: bool = _inert(False, "weights are memory-mapped")
    disable_model_loading_ram_optimization: bool = _inert(False, "weights are memory-mapped")
    xformers_flash_attention: bool = _inert(False, "xformers chooses by itself")
    use_ipex: bool = _inert(False, "PyTorch's own build for Intel cards is used where it is installed")
    no_download_sd_model: bool = _inert(False, "nothing is downloaded unasked")
    do_not_download_clip: bool = _inert(False, "nothing is downloaded unasked")
    administrator: bool = _inert(False, "nothing asks for it")
    no_progressbar_hiding: bool = _inert(False, "the progress bar is never hidden")
    skip_python_version_check: bool = _inert(False, "webui.sh takes Python 3.10 to 3.13")
    skip_version_check: bool = _inert(False, "versions are pinned in requirements.txt")
    update_check: bool = _inert(False, "updates are git's business")
    skip_torch_cuda_test: bool = _inert(False, "without a GPU the processor is used")
    textual_inversion_templates_dir: str | None = _inert(None, "embeddings are made here, not trained", "DIR")
    clip_models_path: str | None = _inert(None, "pictures are described without CLIP", "DIR")
    allow_code: bool = _inert(False, "no script runs code typed into the page")
    update_all_extensions: bool = _inert(False, "the Extensions tab updates them")
    sub_quad_q_chunk_size: int = _inert(1024, "chunks have 1024 queries", "N")
    sub_quad_kv_chunk_size: int | None = _inert(None, "chunks have 4096 keys", "N")
    sub_quad_chunk_threshold: int | None = _inert(None, "every layer goes in chunks", "PERCENT")
    test_server: bool = _inert(False, "./webui.sh test does it")

    @field_validator("port")
    @classmethod
    def _is_a_port(cls, port: int | None) -> int | None:
        if port is not None and not 0 <= port <= 65535:
            raise PydanticCustomError("port", "a port is a number up to 65535")
        return port

    @property
    def given(self) -> frozenset[str]:
        """Names of the flags that were on the command line."""
        return frozenset(self.model_fields_set)

    @property
    def data_path(self) -> Path:
        """The data folder: `--data-dir`, else the folder of the program."""
        return Path(self.data_dir).expanduser().absolute() if self.data_dir else Path(__file__).parents[2]

    def made_folder(self, *names: str) -> Path:
        """A folder below the data folder, made when it is not there; SettingsError when it cannot be."""
        folder = self.data_path.joinpath(*names)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{folder} cannot be made: {error.strerror or error}; the data folder must be one that can be written, "
                "choose another with --data-dir"
            ) from error
        return folder

    @property
    def models_path(self) -> Path:
        """The models folder: `--models-dir`, else `models` in the data folder."""
        return Path(self.models_dir).expanduser().absolute() if self.models_dir else self.data_path / "models"

    @property
    def settings_path(self) -> Path:
        """The settings file: `--ui-settings-file`, else `config.json` in the data folder."""
        return (
            Path(self.ui_settings_file).expanduser().absolute()
            if self.ui_settings_file
            else self.data_path / "config.json"
        )

    @property
    def is_reachable_by_others(self) -> bool:
        """Whether somebody on another machine can open the page."""
        local = {None, "127.0.0.1", "localhost", "::1"}
        return self.share or self.listen or self.server_name not in local

    def settings(self) -> dict[str, Any]:
        """The settings that given flags decide, by key."""
        return {"enable_console_prompts": True} if self.enable_console_prompts else {}

    def notices(self) -> tuple[str, ...]:
        """One line for all given flags that do nothing here; empty if there are none."""
        named = [
            f"{spelling(name)} ({why})"
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set and (why := _extra(field)["inert"])
        ]
        return (f"accepted, without effect: {', '.join(named)}",) if named else ()


def spelling(name: str) -> str:
    """The command line spelling of a flag's field: `no_half` → `--no-half`."""
    return "--" + name.replace("_", "-")


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Flags:
    """The flags in `argv` (without the program's name).

    Raises UnknownName for a flag that does not exist, unless IGNORE_CMD_ARGS_ERRORS is set, and InvalidRequest for a
    value that does not fit. `-h` and `--help` print and exit, as argparse does.
    """
    given, unknown = parser().parse_known_args(list(argv))
    if unknown and not environment.get(IGNORE_UNKNOWN):
        asked = unknown[0].split("=", 1)[0]
        names = tuple(spelling(name) for name in Flags.model_fields)
        raise UnknownName(
            f'no flag named "{asked}"{did_you_mean(asked.replace("_", "-"), names)}'
            if asked.startswith("-")
            else f'"{asked}" belongs to no flag; flags begin with --, and --help lists them'
        )
    try:
        return Flags(**vars(given))
    except ValidationError as error:
        problem = error.errors()[0]
        raise InvalidRequest(f"{spelling(str(problem['loc'][0]))}: {problem['msg']}") from error


def parser(program: str = "webui.sh") -> argparse.ArgumentParser:
    """An argparse parser for all flags; what is not given is absent from its result."""
    made = _Parser(prog=program, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in Flags.model_fields.items():
        extra = _extra(field)
        if extra["group"] not in groups:
            groups[extra["group"]] = made.add_argument_group(extra["group"])
        group = groups[extra["group"]]
        text = (field.description or "").replace("%", "%%")
        if not extra["value"]:
            group.add_argument(spelling(name), dest=name, action="store_true", help=text)
            continue
        choices = extra["value"].split("|") if "|" in extra["value"] else None
        shape: dict[str, Any] = {"nargs": "+", "action": "extend"} if extra["many"] else {}
        metavar = None if choices else extra["value"]
        group.add_argument(spelling(name), dest=name, choices=choices, metavar=metavar, help=text, **shape)
    return made


class _Parser(argparse.ArgumentParser):
    """argparse that raises our error where it would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(f"the command line cannot be read: {message}; --help lists the flags")


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra
