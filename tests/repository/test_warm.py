"""Processes of tests that have imported torch already behave as others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def run(python: Path | str, *words: str, **given) -> tuple[int, str, list[str]]:
    """How it ended, what it printed, and the last line of its errors."""
    done = subprocess.run([python, *words], capture_output=True, text=True, check=False, **given)
    return done.returncode, done.stdout, done.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('a word')", 1),
        ("1 / 0", 1),
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_it_ends_as_python_does(warm_python, statement, status):
    command = ["-c", f"import os, signal, sys; {statement}"]
    warm, cold = run(warm_python, *command), run(sys.executable, *command)
    assert warm == cold
    assert warm[0] == status


def test_it_has_the_arguments_folder_environment_and_streams_of_its_call(warm_python, tmp_path):
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['WORD'], sys.path[0], sys.stdin.read())"
    given = {"cwd": tmp_path, "env": {**os.environ, "WORD": "a b"}, "input": "said"}
    tmp_path.joinpath("own.py").write_text("import sys; print(sys.argv[1:], __name__, sys.path[0])")
    for words in (["-u", "-c", code, "--one", "-u", "t w o"], ["-m", "own", "word"]):
        warm = run(warm_python, *words, **given)
        assert warm == run(sys.executable, *words, **given)
        assert warm[1]


def test_it_has_imported_torch_already_and_so_have_the_processes_it_starts(warm_python):
    own = "import sys; print('torch' in sys.modules, flush=True)"
    found = run(warm_python, "-c", f"{own}; import subprocess; subprocess.run([sys.executable, '-c', {own!r}])")
    assert found[1] == "True\nTrue\n"


def test_what_it_cannot_do_python_does(warm_python):
    assert run(warm_python, "-X", "dev", "-c", "import sys; print(sys.flags.dev_mode)")[1] == "True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_command_that_called_it(warm_python, tmp_path, number):
    file = tmp_path / "pid"
    code = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen([warm_python, "-c", code]) as called:
        _until(lambda: file.exists() and file.read_text())
        called.send_signal(number)
        assert called.wait(60) == -number
    _until(lambda: not Path("/proc", file.read_text()).exists())


def _until(happens) -> None:
    for _ in range(1200):
        if happens():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def test_a_server_that_ends_early_is_no_success(tmp_path):
    from helpers import warm

    place, client = tmp_path / "socket", tmp_path / "client.py"
    client.write_text(warm.CLIENT.format(place=str(place)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        with subprocess.Popen([sys.executable, client, "-c", "pass"], stderr=subprocess.PIPE, text=True) as called:
            connection, _ = listener.accept()
            connection.close()
            assert "the server of warm processes has ended" in called.communicate(timeout=60)[1]
    assert called.returncode == 1
