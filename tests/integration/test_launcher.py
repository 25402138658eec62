"""`webui.sh` as people call it: from another folder, through a path with spaces, with an environment that is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.support.server import ROOT, small_checkpoints


@pytest.fixture
def clone(tmp_path):
    """The program under a path with spaces, with the environment that runs the tests marked as installed."""
    folder = tmp_path / "my web ui"
    folder.mkdir()
    for name in ("webui.sh", "webui.py", "requirements.txt", "constraints.txt", "requirements-test.txt"):
        shutil.copy2(ROOT / name, folder / name)
    for name in ("modules", "extensions"):
        (folder / name).symlink_to(ROOT / name)
    bin_folder = folder / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bin_folder / "python").chmod(0o755)
    gpu = "nvidia" if Path("/proc/driver/nvidia/version").exists() else "none"
    requirements = b"".join((folder / name).read_bytes() for name in ("requirements.txt", "constraints.txt"))
    count = subprocess.run(["cksum"], input=requirements, capture_output=True, check=True).stdout
    (folder / "venv" / ".webui-installed").write_text(f"{count.decode().strip()}|{gpu}|")
    return folder


def run(clone, *arguments, cwd="/", **environment):
    clean = {key: value for key, value in os.environ.items() if key not in ("TORCH_COMMAND", "venv_dir", "python_cmd")}
    return subprocess.run(
        [str(clone / "webui.sh"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**clean, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def test_generate_makes_a_picture_from_any_folder_with_relative_paths(clone, tmp_path):
    done = run(
        clone, "generate", "a red apple", "--seed", "1", "--steps", "2", "--width", "64", "--height", "64", "--sampler",
        "Euler", "--out", "out/apple.png", "--data-dir", "data", "--ckpt-dir", str(small_checkpoints()), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "apple.png")
    image = Image.open(tmp_path / "out" / "apple.png")
    assert image.size == (64, 64)
    assert image.info["parameters"].startswith("a red apple\nSteps: 2, Sampler: Euler")


def test_a_second_start_costs_the_launcher_next_to_nothing(clone):
    (clone / "webui.py").write_text("print('started')\n")
    started = time.perf_counter()
    done = run(clone)
    assert done.stdout == "started\n"
    assert "Installing" not in done.stderr
    python_s = time.perf_counter()
    subprocess.run([sys.executable, str(clone / "webui.py")], capture_output=True)
    own_s = (python_s - started) - (time.perf_counter() - python_s)
    assert own_s < 0.3  # what the launcher adds to starting Python, which is not its business


@pytest.mark.parametrize("word", ["export ", ""])
def test_flags_come_from_the_command_line_and_from_the_users_file(clone, word):
    (clone / "webui-user.sh").write_text(f"{word}COMMANDLINE_ARGS=\"--port 1 --ckpt-dir 'a b'\"\n")
    (clone / "webui.py").write_text("import os, sys; print(sys.argv[1:], os.environ['COMMANDLINE_ARGS'])\n")
    assert run(clone, "--listen", "x y").stdout == "['--listen', 'x y'] --port 1 --ckpt-dir 'a b'\n"


def test_exit_leaves_after_installing(clone):
    done = run(clone, "--exit")
    assert (done.returncode, done.stdout) == (0, "Everything is installed; leaving because of --exit\n")


def test_commands_that_make_no_pictures_do_not_mind_the_flags_of_every_start(clone):
    done = run(clone, "api-key", "bot", COMMANDLINE_ARGS="--listen --port 8080")
    assert done.returncode == 0, done.stderr
    assert "The line for the file of --api-keys-path:\nbot:" in done.stdout


def test_a_wrong_flag_is_one_clear_line(clone):
    done = run(clone, "--no-haf")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith('webui: no flag named "--no-haf"; did you mean "--no-half"')


@pytest.mark.parametrize(
    "flags, told",
    [
        (["generate", "x", "--out", "a.xyz"], 'pictures cannot be written as ".xyz"'),
        (["generate", "x", "--out", "/"], "/ is a folder; name a file in it with --out"),
        (["generate", "x", "--out", "/proc/a.png"], "/proc/a.png cannot be written: No such file or directory"),
        (["--port", "99999"], "--port: a port is a number up to 65535"),
        (["--server-name", "nobody.invalid", "--nowebui"], "the server cannot answer on nobody.invalid: "),
        (["--tls-certfile", "/none.pem", "--nowebui"], "https cannot be used with --tls-certfile /none.pem"),
        (["--data-dir", "/dev/null/data"], "/dev/null/data/cache cannot be made: Not a directory"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(clone, tmp_path, flags, told):
    data = [] if "--data-dir" in flags else ["--data-dir", str(tmp_path / "data")]
    done = run(clone, *flags, *data, "--ckpt-dir", str(small_checkpoints()))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "loaded" not in done.stderr


def test_nothing_is_installed_when_told_so(clone):
    (clone / "venv" / ".webui-installed").unlink()
    (clone / "webui.py").write_text("print('started')\n")
    done = run(clone, COMMANDLINE_ARGS="--listen --skip-install")
    assert (done.stdout, done.stderr) == ("started\n", "")


@pytest.mark.parametrize(
    "flag, removed", [("--reinstall-torch", "torch torchvision xformers"), ("--reinstall-xformers", "xformers")]
)
def test_packages_are_installed_anew_when_told_so(clone, flag, removed):
    python, log = clone / "venv" / "bin" / "python", clone / "pip.log"
    real = python.rename(python.with_name("python-real"))
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] && echo "$@" >>"{log}" && exit 0\nexec "{real}" "$@"\n')
    python.chmod(0o755)
    (clone / "webui.py").write_text("print('started')\n")
    assert run(clone, flag, TORCH_COMMAND="pip install the-torch-i-want").stdout == "started\n"
    _version, first, *others = log.read_text().splitlines()
    assert first.endswith(f"uninstall --quiet --yes {removed}")
    assert any("install the-torch-i-want" in line for line in others)
    log.write_text("")
    run(clone, TORCH_COMMAND="pip install the-torch-i-want")
    assert log.read_text() == ""  # once


@pytest.mark.parametrize(
    "capabilities, chosen",
    [
        ("8.6", "torch==2.10.0 torchvision==0.25.0 xformers==0.0.35"),
        ("6.1", "https://download.pytorch.org/whl/cu126 torch==2.10.0+cu126 torchvision==0.25.0+cu126"),
        (
            "12.0\n6.1",
            "torch==2.10.0 torchvision==0.25.0 xformers==0.0.35",
        ),  # the old card's build has none for the new
    ],
)
@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the builds for NVIDIA cards that webui.sh names are x86-64's"
)
def test_the_build_of_pytorch_fits_the_card(clone, capabilities, chosen):
    log, tools = clone / "pip.log", clone / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f'#!/bin/sh\n[ "$1" = -L ] && exit 0\nprintf "{capabilities}\\n"\n')
    (tools / "nvidia-smi").chmod(0o755)
    interposed(clone, f'[ "$2" = pip ] && echo "$@" >>"{log}" && exit 0')
    (clone / "webui.py").write_text("print('started')\n")
    assert run(clone, "--reinstall-torch", PATH=f"{tools}:{os.environ['PATH']}").stdout == "started\n"
    assert any(line.endswith(chosen) for line in log.read_text().splitlines())


def test_without_an_environment_of_its_own_the_python_that_is_there_is_used(clone):
    (clone / "cache").mkdir()
    (clone / "venv" / ".webui-installed").rename(clone / "cache" / ".webui-installed")
    shutil.move(clone / "venv", clone / "mine")
    (clone / "webui.py").write_text("print('started')\n")
    done = run(clone, venv_dir="-", python_cmd=str(clone / "mine" / "bin" / "python"))
    assert (done.stdout, done.stderr) == ("started\n", "")
    assert not (clone / "venv").exists()


def test_a_report_about_the_installation_is_written_instead_of_serving(clone, tmp_path):
    done = run(clone, "--dump-sysinfo", "--api-auth", "a:secret", "--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("sysinfo-*.json")
    assert done.stdout.strip() == str(report)
    assert json.loads(report.read_text("utf-8"))["Flags"]["dump_sysinfo"] is True
    assert "secret" not in report.read_text("utf-8")


def interposed(clone, script):
    """The environment's Python with a shell script in front, which sees the arguments first."""
    python = clone / "venv" / "bin" / "python"
    real = python.rename(python.with_name("python-real"))
    python.write_text(f'#!/bin/sh\n{script}\nexec "{real}" "$@"\n')
    python.chmod(0o755)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_installation_that_is_stopped_ends_with_all_it_started_and_goes_on_next_time(clone, how):
    (clone / "venv" / ".webui-installed").unlink()
    (clone / "webui.py").write_text("print('started')\n")
    pid, log = clone / "pip.pid", clone / "pip.log"
    interposed(
        clone,
        f'[ "$2 $4" = "pip --no-input" ] && echo "$@" >>"{log}" && [ ! -f "{clone}/goes on" ] && '
        f'{{ sleep 600 & echo $! >"{pid}.new"; mv "{pid}.new" "{pid}"; wait; }}\n'
        '[ "$2 $4" = "pip --no-input" ] && exit 0',
    )
    environment = {**os.environ, "TORCH_COMMAND": "pip --no-input"}
    started = subprocess.Popen([str(clone / "webui.sh")], stderr=subprocess.PIPE, text=True, env=environment)
    while not pid.exists():
        assert started.poll() is None
        time.sleep(0.02)
    sleeping = psutil.Process(int(pid.read_text()))
    started.send_signal(how)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 128 + how
    assert told.rstrip().endswith("Stopped; the next start goes on with the installation.")
    assert not psutil.wait_procs([sleeping], timeout=20)[1], "what pip had started stayed behind"
    log.write_text("")
    (clone / "goes on").touch()
    assert run(clone, **environment).stdout == "started\n"
    assert f"-r {clone}/requirements.txt" in log.read_text()
    assert not list(clone.glob("*.installing"))


def test_a_second_start_waits_for_the_one_that_installs_and_one_that_died_is_not_waited_for(clone):
    (clone / "webui.py").write_text("print('started')\n")
    stamp = clone / "venv" / ".webui-installed"
    content = stamp.read_text()
    stamp.unlink()
    lock = clone / "venv.installing"
    lock.mkdir()
    (lock / "pid").write_text(str(os.getpid()))
    waiting = subprocess.Popen([str(clone / "webui.sh")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert f"Waiting for another webui.sh (process {os.getpid()})" in waiting.stderr.readline()
    stamp.write_text(content)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (lock / "pid").write_text(str(ended.pid))
    assert waiting.communicate(timeout=60) == ("started\n", "")
    assert not lock.exists()


def test_a_folder_that_is_no_environment_is_never_deleted(clone):
    (clone / "pictures").mkdir()
    (clone / "pictures" / "one.png").write_text("precious")
    done = run(clone, venv_dir="pictures")
    assert done.returncode == 1
    assert "is not a Python environment, and not empty" in done.stderr
    assert (clone / "pictures" / "one.png").read_text() == "precious"


def test_the_users_file_may_add_to_variables_that_are_not_set_and_the_launcher_be_a_link(clone, tmp_path):
    (clone / "webui-user.sh").write_text('export COMMANDLINE_ARGS="$COMMANDLINE_ARGS --listen $NOT_SET_ANYWHERE"\n')
    (clone / "webui.py").write_text("import os; print(os.environ['COMMANDLINE_ARGS'].split())\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "webui").symlink_to("../my web ui/webui.sh")
    done = subprocess.run(
        ["bash", "bin/webui"], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "CDPATH": "/:/tmp"}
    )
    assert (done.stdout, done.stderr) == ("['--listen']\n", "")


def test_without_a_usable_python_it_says_how_to_get_one(clone):
    shutil.rmtree(clone / "venv")
    done = run(clone, python_cmd="/bin/false")
    assert done.returncode == 1
    assert "not a Python from 3.10 to 3.13" in done.stderr
