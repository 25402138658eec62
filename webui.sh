#!/usr/bin/env bash
# Sets up what the web UI needs, once, and runs it. From any folder; every flag is passed on.
#
#   ./webui.sh                                        serve the page
#   ./webui.sh generate "a red apple" --out a.png     make a picture without a browser
#   ./webui.sh test [pytest arguments]                run the tests
#
# webui-user.sh beside this file may set COMMANDLINE_ARGS, python_cmd, venv_dir, TORCH_COMMAND (see webui-user.sh.example).
unset CDPATH
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do # called by a link to it; macOS has no readlink -f
    target="$(readlink -- "$script")"
    case "$target" in /*) script="$target" ;; *) script="$(dirname -- "$script")/$target" ;; esac
done
here="$(cd -- "$(dirname -- "$script")" && pwd -P)"
# shellcheck source=/dev/null
[ -f "$here/webui-user.sh" ] && . "$here/webui-user.sh"
set -u # not before: that file may well add to variables that are not set
export COMMANDLINE_ARGS="${COMMANDLINE_ARGS:-}" # also where that file only sets it
[ "${1:-}" = -f ] && shift                      # A1111's "I know that I am root"; it matters to nothing here

venv="${venv_dir:-$here/venv}"
case "$venv" in
    -) ;; # no environment of our own: packages go to the Python that is there, as A1111 means it
    /*) ;;
    *) venv="$here/$venv" ;;
esac
python="$venv/bin/python" # venv_dir=-: see set_up
stamps="$venv"
[ "$venv" = - ] && stamps="$here/cache"
cpu_wheels="https://download.pytorch.org/whl/cpu"
old_card_wheels="https://download.pytorch.org/whl/cu126"

fail() {
    printf 'webui.sh: %s\n' "$1" >&2
    exit 1
}

# Whether a flag is on the command line or in COMMANDLINE_ARGS.
asks_for() {
    case " $COMMANDLINE_ARGS $given " in *" $1 "*) return 0 ;; esac
    return 1
}
given="$*"

say() { printf '%s\n' "$1" >&2; }

# Runs a step of the installation in a process group of its own: a signal ends all of it, not this script alone.
running=""
step() {
    local code
    set -m
    "$@" </dev/null &
    running=$!
    set +m
    wait "$running"
    code=$?
    running=""
    return "$code"
}
stopped() {
    [ -n "$running" ] && kill -TERM -- "-$running" 2>/dev/null && wait "$running" 2>/dev/null
    say "Stopped; the next start goes on with the installation."
    exit "$1"
}

# One installation at a time: a second start waits for the first.
lock="$stamps.installing"
take_lock() {
    local owner told=""
    mkdir -p -- "$(dirname -- "$lock")"
    until mkdir -- "$lock" 2>/dev/null; do
        [ -d "$lock" ] || [ -w "$(dirname -- "$lock")" ] || fail "$(dirname -- "$lock") cannot be written; put the web UI, or venv_dir in webui-user.sh, where you may write"
        owner="$(cat "$lock/pid" 2>/dev/null || true)"
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf -- "$lock"
            continue
        fi
        [ -n "$told" ] || say "Waiting for another webui.sh (process ${owner:-unknown}) that installs here; if there is none, delete $lock"
        told=yes
        sleep 1
    done
    printf '%s' "$$" >"$lock/pid"
    trap 'rm -rf -- "$lock"' EXIT
    trap 'stopped 130' INT
    trap 'stopped 143' TERM HUP
}
release_lock() {
    rm -rf -- "$lock"
    trap - EXIT INT TERM HUP
}

has_nvidia() { [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }; }

# Whether an NVIDIA card is older than Volta (GTX 9xx, GTX 10xx): of today's builds only those for CUDA 12.6 have code
# for them, and none for Blackwell (10.0 and above), which therefore wins where both are in one machine.
has_old_card() {
    nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        awk -F. '/^ *[0-9]+[.][0-9]/ { if ($1 < 7) old = 1; if ($1 >= 10) new = 1 } END { exit !(old && !new) }'
}

has_amd() { [ -e /dev/kfd ]; }

# ── Python ──────────────────────────────────────────────────────────────────────────────────────────────────────────

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${python_cmd:-}" ]; then
        is_supported "$python_cmd" || fail "python_cmd is \"$python_cmd\", which is not a Python from 3.10 to 3.13; set it to one in webui-user.sh"
        printf '%s' "$python_cmd"
        return
    fi
    for candidate in python3.12 python3.11 python3.13 python3.10 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_supported "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    case "$(uname -s)" in
        Darwin) fail "no Python from 3.10 to 3.13 was found; get one with: brew install python@3.12" ;;
        *) fail "no Python from 3.10 to 3.13 was found; get one with your system's packages (Debian and Ubuntu: apt install python3 python3-venv) or name it: python_cmd=/path/to/python3.12 ./webui.sh" ;;
    esac
}

make_venv() {
    local found
    found="$(find_python)" || exit 1
    "$found" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$found has no venv module; on Debian and Ubuntu: apt install python3-venv"
    say "Making the environment in $venv with $("$found" --version) …"
    step "$found" -m venv "$venv" || { discard_venv; fail "the environment could not be made; see above"; }
}

# Only what is an environment is ever deleted: venv_dir may name anything.
discard_venv() {
    if [ -f "$venv/pyvenv.cfg" ] || [ -L "$venv" ] || [ -z "$(ls -A -- "$venv" 2>/dev/null)" ]; then
        rm -rf -- "$venv"
    else
        fail "$venv is not a Python environment, and not empty; name another folder with venv_dir in webui-user.sh"
    fi
}

# ── packages ────────────────────────────────────────────────────────────────────────────────────────────────────────

pip() { "$python" -m pip --disable-pip-version-check --no-input "$@"; }

# Wheels only: nothing is ever built on somebody's machine.
pip_wheels() { step pip install --only-binary :all: --prefer-binary "$@"; }

answers_quickly() {
    "$python" - "$1" <<'PYTHON' >/dev/null 2>&1
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/torch/", method="HEAD"), timeout=5)
PYTHON
}

install_torch() {
    if [ -n "${TORCH_COMMAND:-}" ]; then
        say "Installing PyTorch as TORCH_COMMAND says …"
        local words=() word
        while IFS= read -r word; do words+=("$word"); done < <(printf '%s' "$TORCH_COMMAND" | xargs -n1 printf '%s\n')
        step "$python" -m "${words[@]}" || fail "TORCH_COMMAND failed: $TORCH_COMMAND"
    elif has_nvidia && [ "$(uname -s)-$(uname -m)" = "Linux-x86_64" ] && has_old_card; then
        say "Installing PyTorch for older NVIDIA cards (about 3 GB) …"
        pip_wheels --extra-index-url "$old_card_wheels" torch==2.10.0+cu126 torchvision==0.25.0+cu126 || no_network "PyTorch"
    elif has_nvidia && [ "$(uname -s)-$(uname -m)" = "Linux-x86_64" ]; then
        say "Installing PyTorch for NVIDIA cards, with xformers (about 3 GB) …"
        # this build of xformers is made for exactly this PyTorch
        pip_wheels torch==2.10.0 torchvision==0.25.0 xformers==0.0.35 || {
            say "xformers could not be installed; going on without it"
            pip_wheels torch==2.10.0 torchvision==0.25.0 || no_network "PyTorch"
        }
    elif [ "$(uname -s)-$(uname -m)" = Darwin-x86_64 ]; then
        fail "there is no current PyTorch for Macs with Intel processors; on Apple silicon use a Python made for arm64 (python_cmd in webui-user.sh), else name a build of your own with TORCH_COMMAND there"
    elif [ "$(uname -s)" = Darwin ] || has_nvidia; then
        say "Installing PyTorch …"
        pip_wheels torch==2.13.0 || no_network "PyTorch"
    else
        say "Installing PyTorch for the CPU: no NVIDIA card was found …"
        has_amd && say "There is an AMD card. To use it, copy webui-user.sh.example to webui-user.sh, take the # away from its line for ROCm, and start again."
        pip_wheels --retries 1 --timeout 15 --quiet torch==2.13.0+cpu 2>/dev/null ||
            { answers_quickly "$cpu_wheels" && pip_wheels --extra-index-url "$cpu_wheels" torch==2.13.0+cpu; } ||
            pip_wheels torch==2.13.0 || no_network "PyTorch"
    fi
}

no_network() {
    fail "$1 could not be installed; see the message above. If this machine has no network, set PIP_INDEX_URL or PIP_FIND_LINKS to where packages are, or choose the build yourself with TORCH_COMMAND in webui-user.sh"
}

# What the environment was made for; as long as it is the same, nothing is installed and no Python is started for it.
wanted_stamp() {
    local gpu=none
    [ -e /proc/driver/nvidia/version ] && gpu=nvidia
    printf '%s|%s|%s' "$(cat -- "$here/requirements.txt" "$here/constraints.txt" | cksum)" "$gpu" "${TORCH_COMMAND:-}"
}

is_as_wanted() { [ -x "$python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }

# Whether the environment has pip, after giving it one if need be: it may never have been finished, or be uv's.
has_pip() {
    [ -x "$python" ] || return 1
    "$python" -m pip --version >/dev/null 2>&1 || step "$python" -m ensurepip >/dev/null 2>&1
}

set_up() {
    local stamp="$stamps/.webui-installed" wanted anew="" unfinished
    if [ "$venv" = - ]; then
        python="$(find_python)" || exit 1
        python="$(command -v "$python")"
        mkdir -p -- "$stamps"
    fi
    if asks_for --skip-install || asks_for --skip-prepare-environment; then
        [ -x "$python" ] || fail "there is no $python, and --skip-install forbids to make it"
        return
    fi
    wanted="$(wanted_stamp)"
    if asks_for --reinstall-torch; then
        anew="torch torchvision xformers"
    elif asks_for --reinstall-xformers; then
        anew="xformers"
    fi
    if [ -z "$anew" ] && is_as_wanted; then return; fi
    take_lock
    if [ -z "$anew" ] && is_as_wanted; then # the start that we waited for has done it
        release_lock
        return
    fi
    if [ "$venv" != - ] && ! has_pip; then
        discard_venv
        make_venv
    fi
    # shellcheck disable=SC2086  # several names
    [ -n "$anew" ] && step pip uninstall --quiet --yes $anew
    is_supported "$python" || fail "$venv was made with a Python that is not 3.10 to 3.13; delete that folder and start again"
    # only a change of machine or of the wish touches a PyTorch that is there
    unfinished="$stamps/.webui-torch-unfinished"
    if [ -n "$anew" ] || [ -f "$unfinished" ] || ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' ||
        { [ -f "$stamp" ] && [ "$(cut -d'|' -f2- "$stamp")" != "$(printf '%s' "$wanted" | cut -d'|' -f2-)" ]; }; then
        : >"$unfinished"
        install_torch
        rm -f -- "$unfinished"
    fi
    say "Installing the other packages …"
    pip_wheels --quiet -r "$here/requirements.txt" || no_network "what the web UI needs"
    printf '%s' "$wanted" >"$stamp.new" && mv -f "$stamp.new" "$stamp"
    release_lock
}

# ── tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────

set_up_tests() {
    local stamp="$stamps/.webui-tests-installed" wanted
    wanted="$(cksum <"$here/requirements-test.txt")"
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        say "Installing what the tests need …"
        pip_wheels --quiet -r "$here/requirements-test.txt" || no_network "what the tests need"
        printf '%s' "$wanted" >"$stamp"
    fi
    find_browser || install_browser
}

find_browser() {
    local name
    if [ -n "${CHROMIUM:-}" ] && [ -x "$CHROMIUM" ]; then return 0; fi
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if CHROMIUM="$(command -v "$name")"; then
            export CHROMIUM
            return 0
        fi
    done
    unset CHROMIUM
    "$python" - <<'PYTHON' >/dev/null 2>&1
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not os.path.exists(playwright.chromium.executable_path))
PYTHON
}

install_browser() {
    say "Getting a browser for the tests …"
    local as_root=()
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then as_root=(env); elif sudo -n true 2>/dev/null; then as_root=(sudo -n); fi
    fi
    if [ ${#as_root[@]} -gt 0 ]; then
        { "${as_root[@]}" apt-get -qq update && "${as_root[@]}" apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 &&
            find_browser && return 0
    fi
    "$python" -m playwright install chromium >/dev/null 2>&1 && find_browser && return 0
    fail "no browser for the tests: neither Debian's chromium nor Playwright's own could be installed; install Chromium or Chrome, or set CHROMIUM to the path of one"
}

# ── go ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

if [ "${1:-}" = test ]; then
    shift
    set_up
    set_up_tests
    cd -- "$here" || exit 1
    exec "$python" -m pytest "$@"
fi
set_up
exec "$python" "$here/webui.py" "$@"
