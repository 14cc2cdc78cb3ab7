"""Python that has imported torch already, for tests that start processes: they call it instead of `sys.executable`.

Importing torch and Sentence Transformers takes a process some ten seconds. A server imports them once. For each call
of the command it forks a process, which gets the arguments, folder, environment, streams and other handles of the call. The command
passes signals on, and ends as the process does. Linux alone has all that this needs.

Two things differ from a process of its own: functions registered with `atexit` do not run, and what Python or a library
reads from the environment when it starts is the server's. A test of either starts `sys.executable` without `warm`.

    python -m helpers.warm DESCRIPTOR COMMAND
"""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# It imports little, and so it starts in some twenty milliseconds.
CLIENT = """
import json, os, signal, socket, sys

ENDED = "the server of warm processes has ended: its reason is in the output of the test that first used it"

def told(**how):
    said = server.recv(8, socket.MSG_WAITALL)
    if len(said) < 8:
        sys.exit(ENDED)
    return int.from_bytes(said, "big", **how)

def inherited(number):
    try:
        return os.get_inheritable(number)
    except OSError:
        return False

handles = [0, 1, 2, *(n for n in map(int, os.listdir("/proc/self/fd")) if n > 2 and inherited(n))]
server = socket.socket(socket.AF_UNIX)
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), handles]).encode()
try:
    server.connect({place!r})
    socket.send_fds(server, [len(call).to_bytes(8, "big")], handles)
    server.sendall(call)
    process = told()
except OSError:
    sys.exit(ENDED)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(process, number))
status = told(signed=True)
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """The command, for as long as the context is open.

    Args:
        folder: An empty folder, of a path that is short enough for a socket.
    """
    place, client, command = folder / "socket", folder / "client.py", folder / "python"
    client.write_text(CLIENT.format(place=str(place)), "utf-8")
    own = shlex.join([sys.executable, "-IS", str(client)])
    command.write_text(f'#!/bin/sh\nexec {own} "$@"\n', "utf-8")
    command.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(64)
        own = [sys.executable, "-m", __name__, str(listener.fileno()), str(command)]
        server = subprocess.Popen(
            own, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
        )
    try:
        yield command
    finally:
        server.stdin.close()  # with which it ends
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


def _serve(listener: socket.socket, command: str) -> None:
    from helpers.preloaded import preload

    preload()
    sys.executable = command
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # or each process that ended would stay, for nobody waits for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Forks the process that was called, and tells how it ended; returns in neither."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, *_ = socket.recv_fds(connection, 8, 250)
    with connection.makefile("rb") as said:
        arguments, folder, environment, numbers = json.loads(said.read(int.from_bytes(size, "big")))
    process = os.fork()
    if process == 0:
        connection.close()
        # Above all numbers, so that none is overwritten before it is in its place.
        spare = [fcntl.fcntl(stream, fcntl.F_DUPFD, max(numbers) + 1) for stream in streams]
        for stream in {*streams}.difference(numbers):
            os.close(stream)
        for number, stream in zip(numbers, spare, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        status = _become(arguments, folder, environment)
        threading._shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # Python would wait for threads of libraries that only the server has
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    ended = os.pidfd_open(process)
    connection.sendall(process.to_bytes(8, "big"))
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(process, signal.SIGKILL)  # as its caller was
    _, status = os.waitpid(process, 0)
    connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
    os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """Does what Python does with these arguments, and gives its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *filter(None, paths)]
    sys.modules["__main__"] = main = ModuleType("__main__")
    words = arguments[1:] if arguments[:1] == ["-u"] else arguments
    try:
        if words[:1] == ["-c"]:
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), main.__dict__)
        elif words and words[0].startswith("-m"):
            module, rest = (words[1], words[2:]) if words[0] == "-m" else (words[0][2:], words[1:])
            sys.path[0] = folder
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            os.execv(REAL, [REAL, *arguments])
    except SystemExit as told:
        if told.code is None or isinstance(told.code, int):
            return int(told.code or 0)
        print(told.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    REAL = sys.executable
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
