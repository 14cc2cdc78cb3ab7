"""Processes of tests that have imported torch already behave as others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
ENDS = {
    "sys.exit(3)": 3,
    "sys.exit('a word')": 1,
    "1 / 0": 1,
    "os._exit(7)": 7,
    "os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
    "os.kill(os.getpid(), signal.SIGSEGV)": -signal.SIGSEGV,
    "pass": 0,
}


@pytest.mark.parametrize(("statement", "status"), ENDS.items())
def test_it_ends_as_python_does(warm_python, statement, status):
    command = ["-c", f"import os, signal, sys; {statement}"]
    warm, cold = (subprocess.run([python, *command], capture_output=True) for python in (warm_python, sys.executable))
    assert warm.returncode == cold.returncode == status
    assert warm.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


def test_it_has_the_arguments_folder_environment_and_streams_of_its_call(warm_python, tmp_path):
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['WORD'], sys.path[0], sys.stdin.read())"
    given = {"cwd": tmp_path, "env": {**os.environ, "WORD": "a b"}, "input": "said", "capture_output": True}
    warm, cold = (
        subprocess.run([python, "-u", "-c", code, "--one", "t w o"], text=True, **given)
        for python in (warm_python, sys.executable)
    )
    assert warm.stdout == cold.stdout != ""
    tmp_path.joinpath("own.py").write_text("import sys; print(sys.argv[1:], __name__, sys.path[0])")
    warm, cold = (
        subprocess.run([python, "-m", "own", "word"], text=True, **given) for python in (warm_python, sys.executable)
    )
    assert warm.stdout == cold.stdout != ""


def test_it_has_imported_torch_already_and_so_have_the_processes_it_starts(warm_python):
    code = "import subprocess, sys; print('torch' in sys.modules, flush=True); "
    code += "subprocess.run([sys.executable, '-c', \"import sys; print('torch' in sys.modules)\"])"
    assert subprocess.run([warm_python, "-c", code], capture_output=True, text=True).stdout == "True\nTrue\n"


def test_what_it_cannot_do_python_does(warm_python):
    done = subprocess.run(
        [warm_python, "-X", "dev", "-c", "import sys; print(sys.flags.dev_mode)"], capture_output=True
    )
    assert done.stdout == b"True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_command_that_called_it(warm_python, tmp_path, number):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen([warm_python, "-c", code]) as called:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        process = int((tmp_path / "pid").read_text())
        called.send_signal(number)
        assert called.wait(60) == -number
    for _ in range(200):
        if not os.path.exists(f"/proc/{process}"):
            break
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{process}")
