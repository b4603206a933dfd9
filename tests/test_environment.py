"""The scripts' own environment: made once, by one of several, and anew where it cannot work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multiview.support import programs
from multiview.support.errors import InputError, exit_status

ROOT = Path(__file__).parents[1]
# Makes environments of copies of itself, and takes a while to install; what it does is in the file CALLS.
PYTHON = """#!/bin/sh
case "$*" in
  *"-m venv "*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
  *"-m pip install"*) echo "$0" >>"$CALLS"; sleep "${PAUSE:-0.5}" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the scripts, in a folder with a space, with a program for its command."""
    folder = tmp_path / "my project"
    (folder / "my py").mkdir(parents=True)
    for name in ("environment.sh", "run_experiments.sh", "setup.py", "requirements-predict.txt"):
        shutil.copy(ROOT / name, folder)
    for name, text in (("my py/python3", PYTHON), ("multiview", '#!/bin/sh\necho "$@"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def start(project: Path, script: Path | None = None, **environment: str) -> subprocess.Popen:
    """`run_experiments.sh demo` in a session of its own."""
    more = {"MULTIVIEW_PYTHON": f"{project}/my py/python3", "CALLS": f"{project}/calls", **environment}
    path = f"{project}:{os.environ['PATH']}"
    return subprocess.Popen(
        [script or project / "run_experiments.sh", "demo"],
        env=os.environ | {"PATH": path} | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip


def calls(project: Path) -> int:
    return len((project / "calls").read_text().splitlines())


def test_it_is_made_once_and_by_one(project: Path) -> None:
    """Of two at the same time, one waits; a third finds it there."""
    both = [start(project) for _ in range(2)]
    said = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert {out for out, _ in said} == {f"reproduce demo --root {project}\n"}
    assert sum("Waiting for another process" in err for _, err in said) == 1
    assert start(project).wait(60) == 0 and calls(project) == 1
    assert not (project / ".venv.lock").exists()


def test_it_is_made_anew_where_it_cannot_work(project: Path, tmp_path: Path) -> None:
    """In a copy of the project, whose scripts would run the other's code; and where its Python is gone."""
    assert start(project).wait(60) == 0 and calls(project) == 1
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    assert start(copy).wait(60) == 0 and calls(copy) == 2
    assert (copy / "calls").read_text().splitlines()[-1].startswith(str(copy))
    (project / ".venv" / "bin" / "python").unlink()
    (project / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    assert start(project).wait(60) == 0 and calls(project) == 2


def test_it_goes_on_after_an_interruption_and_a_kill(project: Path) -> None:
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start(project, PAUSE="30")
        while not (project / "calls").exists():
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == status
        assert ("interrupted; the same command continues" in said) == (status == 130)
        (project / "calls").unlink()
    assert start(project).wait(60) == 0 and calls(project) == 1


def test_what_another_machine_makes_is_waited_for(project: Path) -> None:
    """Whose processes are not to be seen here."""
    (project / ".venv.lock").mkdir()
    (project / ".venv.lock" / "process").write_text("elsewhere 0 999999")
    process = start(project)
    assert process.stderr and "Waiting for another process that makes .venv" in process.stderr.readline()
    shutil.rmtree(project / ".venv.lock")
    assert process.wait(60) == 0 and calls(project) == 1


def test_scripts_are_found_by_links_and_whatever_cd_prints(project: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "run").symlink_to("../my project/run_experiments.sh")
    process = start(project, tmp_path / "links" / "run", CDPATH=".")
    assert process.communicate(timeout=60)[0] == f"reproduce demo --root {project}\n"


def test_another_python_that_does_not_fit_is_named(project: Path) -> None:
    process = start(project, MULTIVIEW_PYTHON="/no such/python")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "expected Python 3.10 to 3.13, found none as /no such/python" in said
    assert not (project / ".venv.lock").exists()


def test_commands_are_found_where_pip_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside Python in an environment, in a user's own folder without one."""
    python, user = tmp_path / "usr" / "python3", tmp_path / "home" / "bin"
    user.mkdir(parents=True)
    (user / "some-command").write_text("#!/bin/sh\n")
    (user / "some-command").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setenv("PATH", "/usr/bin")
    with pytest.raises(InputError, match="expected the command some-command beside .*python3, found none"):
        programs.script("some-command")
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme=None: str(user if scheme else tmp_path / "usr"))
    assert programs.script("some-command") == str(user / "some-command")


@pytest.mark.parametrize(
    ("package", "advice"),
    [("jax", "say pip install '.[jax]'"), ("torch", "backend tensorflow or jax, found torch; set KERAS_BACKEND"),
     ("pandas", "expected the package pandas, found none; say pip install .")],
)  # fmt: skip
def test_what_is_not_installed_is_named(package: str, advice: str, capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    assert exit_status("multiview", fail) == 1
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize("found", ["TensorFlow", "foo"])
def test_a_backend_that_there_is_not_is_named(found: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "multiview.cli", "predict", "esc10", "a.wav"],
        env={**os.environ, "KERAS_BACKEND": found},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    line = f"multiview: error: expected Keras's backend tensorflow or jax, found {found}; set KERAS_BACKEND or "
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
