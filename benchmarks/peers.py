"""The same model with the same faults, asked of embedgate and of other tools: writes the tables of docs/peers.md.

    python benchmarks/peers.py --data stsb/test.csv --python mteb=~/envs/mteb --python polygraphy=~/envs/polygraphy
    python benchmarks/peers.py --data stsb/test.csv --python mteb=~/envs/mteb --peer mteb --fault cls
    python benchmarks/peers.py --write

The file is the test part of STS-B in English (https://ixa2.si.ehu.eus/stswiki, also `mteb/stsbenchmark-sts` of the
hub): a CSV of first sentence, second sentence and grade. Each tool runs from an environment of its own, a folder with
`bin/`; what goes into it stands in `PEERS`. A tool without one is not asked. What was measured is kept in
`benchmarks/peers/found.json`, cell by cell, and `--write` writes the tables of the page from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

HERE = Path(__file__).with_name("peers")
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pages  # noqa: E402
from faults import FAULTS, NAMED, Fault, Form, build, file_of, reference_of  # noqa: E402

FOUND = HERE / "found.json"
PAGE = HERE.parents[1] / "docs" / "peers.md"
# Seconds that a tool may take for a fault, and a server to start.
PATIENCE = 1800
START_SECONDS = 600


@dataclass(frozen=True)
class Peer:
    """A tool, and how it is asked.

    Attributes:
        title: As the tables call it.
        forms: What it takes: the form in which a fault occurs, else the first that it has.
        script: The file in `benchmarks/peers` that asks it: shell with the variables of `_surroundings`, or Python with
            the arguments WORK, FAULT and DATA.
        lines: The files whose lines a user writes.
        environment: Whose environment it runs from.
        distribution: Whose version is told.
        installed: How its environment is made.
        names: What of its output tells a cause.
        only: The faults that it can be asked about; all of its forms without.
        scripts: Another script for a form.
        rule: Whether it judges at all.
        says: What of its output is kept, the last match.
    """

    title: str
    forms: tuple[Form, ...]
    script: str
    lines: tuple[str, ...]
    environment: str
    distribution: str
    installed: str
    names: str = r"(?!)"
    only: tuple[str, ...] = ()
    scripts: dict[Form, str] = field(default_factory=dict)
    rule: bool = True
    says: str = r"\S.*"

    def form_of(self, fault: Fault) -> Form | None:
        """The form in which it is asked about a fault; None where it cannot be."""
        if self.only and fault.name not in self.only:
            return None
        return next((form for form in (fault.form, *self.forms) if form in self.forms and form in fault.forms), None)


def _polygraphy(title: str, script: str) -> Peer:
    return Peer(
        title,
        ("onnx",),
        script,
        (script, "polygraphy_inputs.py"),
        "polygraphy",
        "polygraphy",
        "pip install polygraphy==0.53.6 onnxruntime==1.32.0 transformers==5.23.0",
        says=r"(?:FAILED|PASSED) \| Runtime",
    )


PEERS = {
    "embedgate-quick": Peer(
        "embedgate, quick",
        ("onnx", "folder", "encoder", "server"),
        "embedgate.sh",
        ("embedgate.sh",),
        "embedgate",
        "embedgate",
        "pip install 'embedgate[cpu]'",
        names=r"cause: .*",
        scripts={"encoder": "embedgate_encoder.sh"},
    ),
    "mteb": Peer(
        "MTEB, vLLM's rule",
        ("encoder",),
        "mteb_rule.py",
        ("mteb_rule.py",),
        "mteb",
        "mteb",
        "pip install mteb==2.26.24 onnxruntime==1.32.0",
    ),
    "embed-parity": Peer(
        "embed-parity",
        ("server",),
        "embed_parity.sh",
        ("embed_parity.sh",),
        "embed-parity",
        "embed-parity",
        "pip install 'embed-parity[sentence-transformers]==0.3.0' onnxruntime==1.32.0",
        names=r"^  - .*",
        says=r"(?:Overall .*)|(?:embed-parity: exec.*)",
    ),
    "quant-regress": Peer(
        "quant-regress",
        ("encoder",),
        "quant_regress_rule.py",
        ("quant_regress_rule.py",),
        "quant-regress",
        "quant-regress",
        "pip install quant-regress==1.1.0 sentence-transformers==6.2.0 onnxruntime==1.32.0",
    ),
    "polygraphy": _polygraphy("Polygraphy, 1e-5", "polygraphy_default.sh"),
    "polygraphy-cosine": _polygraphy("Polygraphy, cosine 0.997", "polygraphy_cosine.sh"),
    "nncf": Peer(
        "NNCF accuracy control",
        ("onnx",),
        "nncf_rule.py",
        ("nncf_rule.py",),
        "embedgate",
        "nncf",
        "pip install nncf==3.4.0 openvino==2026.4.1 transformers==5.23.0 scipy",
        only=("int8", "layer-calibration"),
        says=r"the score falls.*",
    ),
    "optimum-benchmark": Peer(
        "optimum-benchmark",
        ("folder",),
        "optimum_benchmark_rule.py",
        ("optimum_benchmark_rule.py",),
        "optimum-benchmark",
        "optimum-benchmark",
        "pip install optimum-benchmark==0.6.0 'transformers<5' 'datasets<5'",
        rule=False,
        says=r"a batch takes.*",
    ),
}


def asked(peer: Peer, fault: Fault, root: Path, work: Path, data: Path) -> dict[str, Any]:
    """Asks a tool about a fault.

    Returns:
        `verdict` is `red`, `green`, `error` or `no rule`; `seconds` is wall time, the start of the tool and of a server
        apart; `says` is what it said at last, `causes` what it said of the cause.
    """
    form = peer.form_of(fault)
    assert form is not None
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        surroundings = _surroundings(fault, form, root, work, data, Path(scratch))
        server = _served(root, work, fault, surroundings["URL"]) if form == "server" else None
        script = str(HERE / peer.scripts.get(form, peer.script))
        python = str(root / "bin" / "python")
        command = (
            ["bash", "-e", script] if script.endswith(".sh") else [python, script, str(work), fault.name, str(data)]
        )
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, env=surroundings, cwd=scratch, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            code, out, err = 124, "", f"no answer in {PATIENCE} s"
        finally:
            if server is not None:
                server.terminate()
                server.wait()
    seconds = time.monotonic() - started
    return {
        "verdict": _verdict(peer, code, out + err),
        "seconds": round(seconds, 1),
        "form": form,
        "says": _plain(["", *re.findall(peer.says, out + "\n" + err)][-1]),
        "causes": sorted({_plain(cause) for cause in re.findall(peer.names, out, re.MULTILINE)})[:8],
        "version": _version(root, peer.distribution),
        "date": date.today().isoformat(),
    }


def _plain(said: str) -> str:
    """One line without this machine's paths."""
    return re.sub(r"/[\w.+-]+(?:/[\w.+-]+)+", "...", said).strip()[:300]


def _verdict(peer: Peer, code: int, output: str) -> str:
    if code not in (0, 1) or "Traceback (most recent call last)" in output:
        return "error"
    if not peer.rule:
        return "no rule" if code == 0 else "error"
    return "green" if code == 0 else "red"


def _surroundings(fault: Fault, form: Form, root: Path, work: Path, data: Path, scratch: Path) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    keys = f"::promise={fault.promise},name={fault.name.replace('-', '_')}"
    candidates = {"server": f"{url}::api=tei,promise=fp32", "encoder": ""}
    own = {
        "BIN": root / "bin",
        "HERE": HERE,
        "SCRATCH": scratch,
        "WORK": work,
        "FAULT": fault.name,
        "DATA": data,
        "REFERENCE": reference_of(work, fault, "folder"),
        "REFERENCE_ONNX": reference_of(work, fault, "onnx"),
        "ONNX": file_of(work, fault, "onnx"),
        "URL": url,
        "CANDIDATE": candidates.get(form) or f"{file_of(work, fault, form)}{keys}",
        "PYTHONPATH": HERE,
        "HF_HUB_OFFLINE": 1,
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def _served(root: Path, work: Path, fault: Fault, url: str) -> subprocess.Popen[bytes]:
    command = [str(root / "bin" / "python"), str(HERE / "serve.py"), str(work), fault.name, url.rpartition(":")[2]]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(f"{url}/health", timeout=5).close()
            return server
        except (URLError, OSError):
            time.sleep(0.2)
    server.kill()
    raise TimeoutError(f"the server of {fault.name} did not start; run: {' '.join(command)}")


def _version(root: Path, distribution: str) -> str:
    line = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    command = [str(root / "bin" / "python"), "-c", line]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def written(peer: Peer) -> int:
    """The lines that a user writes: of code and commands, without comments, docstrings and empty lines."""
    return sum(_lines(HERE / name) for name in peer.lines)


def _lines(path: Path) -> int:
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        text = re.sub(r'^\s*""".*?"""$', "", text, flags=re.DOTALL | re.MULTILINE)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())


def main() -> None:
    """Asks, keeps what was found, and writes the tables."""
    options = _options()
    found = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    if not options.write:
        roots = {"embedgate": Path(sys.prefix), **dict(_root(each) for each in options.python)}
        # What other faults were built of is left alone.
        work = options.work.resolve() / sha256((HERE / "faults.py").read_bytes()).hexdigest()[:12]
        build(work)
        for name in options.fault or NAMED:
            for key in options.peer or PEERS:
                peer = PEERS[key]
                kept = found.get(key, {}).get(name)
                if peer.environment not in roots or peer.form_of(NAMED[name]) is None or (kept and options.missing):
                    continue
                try:
                    cell = asked(peer, NAMED[name], roots[peer.environment], work, options.data.resolve())
                except TimeoutError as error:
                    print(f"{key:20} {name:18} not run: {error}", flush=True)
                    continue
                print(
                    f"{key:20} {name:18} {cell['verdict']:8} {cell['seconds']:7.1f} s  {cell['says'][:90]}", flush=True
                )
                # Another process may have added cells meanwhile.
                found = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
                found.setdefault(key, {})[name] = cell
                FOUND.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), found), "utf-8")


def with_tables(page: str, found: dict[str, dict[str, Any]]) -> str:
    """The page with its tables as they are now, each between its two marks."""
    return pages.with_tables(page, "peers.py", tables(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("stsb/test.csv"), help="the pairs, a CSV")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=FOLDER", help="a tool's environment")
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this tool (repeatable)")
    parser.add_argument("--fault", action="append", choices=list(NAMED), help="only this fault (repeatable)")
    parser.add_argument("--missing", action="store_true", help="only what found.json does not have")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "embedgate-peers", help="for models")
    parser.add_argument("--write", action="store_true", help="ask nothing, write the tables into the page")
    return parser.parse_args()


def _root(given: str) -> tuple[str, Path]:
    name, _, folder = given.partition("=")
    return name, Path(folder).expanduser().resolve()


def tables(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The tables of docs/peers.md: who finds what, what is said of the cause, and what it takes."""
    names = list(PEERS)
    rows = [[fault.says, *(_cell(name, fault, found) for name in names)] for fault in FAULTS]
    causes = [[fault.says, *(_causes(name, fault, found) for name in NAMING)] for fault in FAULTS if not fault.sound]
    return {
        "verdicts": pages.table(["", *(PEERS[name].title for name in names)], rows),
        "causes": pages.table(["", *(PEERS[name].title for name in NAMING)], causes),
        "sums": pages.table(["", *SUMMED], [_summed(name, found) for name in names]),
    }


# The tools that say anything of a cause.
NAMING = ("embedgate-quick", "embed-parity")
SHOWN = 160
SUMMED = ("version", "faults caught", "missed", "error", "asked", "cannot be asked", "false alarms", "seconds", "lines")


def _cell(name: str, fault: Fault, found: dict[str, dict[str, Any]]) -> str:
    if PEERS[name].form_of(fault) is None:
        return ""
    cell = found.get(name, {}).get(fault.name, {"verdict": "not run"})
    if cell["verdict"] == "no rule":
        return "".join(re.findall(r"[\d.]+ times", cell["says"])[:1])
    if cell["verdict"] == "red":
        return "**false alarm**" if fault.sound else "**red**"
    return str(cell["verdict"])


def _causes(name: str, fault: Fault, found: dict[str, dict[str, Any]]) -> str:
    said = [
        re.sub(r"^(cause:|-)\s*", "", cause.strip())
        for cause in found.get(name, {}).get(fault.name, {}).get("causes", ())
    ]
    short = [cause if len(cause) <= SHOWN else f"{cause[:SHOWN]}..." for cause in said[:2]]
    return "<br>".join(short).replace("|", "\\|")


def _summed(name: str, found: dict[str, dict[str, Any]]) -> list[str]:
    peer = PEERS[name]
    cells = {fault: found.get(name, {}).get(fault.name) for fault in FAULTS}
    judged = {fault: cell for fault, cell in cells.items() if cell and peer.form_of(fault)}

    def count(verdict: str, sound: bool) -> str:
        if not peer.rule or not any(fault.sound == sound for fault in judged):
            return "no rule" if not peer.rule else "not run"
        return str(sum(cell["verdict"] == verdict and fault.sound == sound for fault, cell in judged.items()))

    seconds = sorted(cell["seconds"] for cell in judged.values() if "seconds" in cell)
    apart = sum(peer.form_of(fault) is None and not fault.sound for fault in FAULTS)
    versions = sorted({cell["version"] for cell in judged.values()})
    return [
        peer.title,
        ", ".join(versions),
        count("red", False),
        count("green", False),
        count("error", False),
        f"{sum(not fault.sound for fault in judged)} of {sum(not fault.sound for fault in FAULTS) - apart}",
        str(apart),
        count("red", True),
        " to ".join(dict.fromkeys(f"{each:.0f}" for each in (seconds[0], seconds[-1]))) if seconds else "not timed",
        str(written(peer)),
    ]


if __name__ == "__main__":
    main()
