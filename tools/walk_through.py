"""Follows README's "Gate your own model" to the letter, in another repository, from a built wheel; times every step.

python tools/walk_through.py [--keep FOLDER]

The wheel is built from this checkout and installed by README's own line into a new environment. The repository is an
empty folder with a small model, a quantized ONNX file of it and data of its own. README's commands come one after
another, and each must end as README says. In between, the shipped file is damaged, and the gate must be red. It needs a
package index, some minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECTION = "## Gate your own model"
INSTALL, INIT, APPROVE = "pip install", "embedgate init", "embedgate approve"
REPORT, UPGRADE, UPDATE = "--gate-report", "--gate-incumbent", "--gate-update"
PERSON = {"NAME": "Ada", "EMAIL": "ada@example.org"}
GATE = "pytest --pyargs embedgate.suites"
# Made by the new environment's own libraries.
MAKE = """
import sys
from pathlib import Path
from helpers import shipped
from helpers.small import small_model
import numpy as np, shutil
from safetensors.numpy import load_file, save_file

folder = Path(sys.argv[1])
made = small_model(folder).path
made.rename(folder / "my-model")
shutil.copytree(folder / "my-model", folder / "my-new-model")
file, random = folder / "my-new-model/model.safetensors", np.random.default_rng(0)
tensors = load_file(file)
save_file({name: each * (1 + random.normal(0, 1e-3, each.shape)).astype(each.dtype) for name, each in tensors.items()},
          file, {"format": "pt"})
for name in ("my-model", "my-new-model"):
    onnx = folder / name / "onnx"
    onnx.mkdir()
    shipped.dynamic_int8(shipped.export(folder / name, folder / "fp32.onnx"), onnx / "model_int8.onnx")
shipped.damaged(folder / "fp32.onnx", folder / "damaged.onnx", share=0.5)
shipped.dynamic_int8(folder / "damaged.onnx", folder / "damaged_int8.onnx")
(folder / "fp32.onnx").unlink()
(folder / "damaged.onnx").unlink()
(folder / "small.lock").unlink()
"""


def readme_commands() -> list[str]:
    """The commands of README's section, in its order."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition(f"{SECTION}\n")[2].partition("<!-- options")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    lines = (re.sub(r"\s+# .*", "", line) for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


@dataclass
class Walk:
    """A walk through a repository of its own.

    Attributes:
        folder: The repository.
        environment: What commands see.
        steps: What was done, and the seconds each took.
    """

    folder: Path
    environment: dict[str, str]
    steps: list[tuple[str, float]] = field(default_factory=list)

    def take(self, what: str, command: str, *, status: int = 0, says: str = "", where: Path | None = None) -> str:
        """Runs a command, which must end with a status and say something."""
        started = time.perf_counter()
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=where or self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.steps.append((what, time.perf_counter() - started))
        print(f"{self.steps[-1][1]:6.0f} s  {what}: {command.splitlines()[0]}", flush=True)
        if done.returncode != status or says not in done.stdout:
            sys.exit(f"{done.stdout[-6000:]}\nexit status {done.returncode}, expected {status} and {says!r}")
        return done.stdout

    def seconds(self, last: str) -> float:
        """How long it took from the first step to the end of one."""
        names = [what for what, _ in self.steps]
        return sum(seconds for _, seconds in self.steps[: names.index(last) + 1])


def main() -> None:
    """Walks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="an empty folder to walk in, which is kept")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        walk_through(options.keep.resolve())
        return
    with tempfile.TemporaryDirectory() as scratch:
        walk_through(Path(scratch))


def walk_through(place: Path) -> None:
    """Does all that README tells, and what must make it red."""
    install, init, gate, approve, again, upgrade, update = chosen(readme_commands())
    walk = Walk(place / "search", surroundings(place))
    walk.folder.mkdir()
    build(walk, place)
    walk.take("install", install)
    is_the_wheel(walk, place / "env")
    prepare(walk, place / "made")

    walk.take("init", init, says="wrote gate/tolerances.toml")
    walk.take("first verdict, red", gate, status=1, says="next step: approve")
    walk.take("first approval", approve, says="changed in gate")
    walk.take("first green", again, says="verdict: ")
    walk.take("commit", "git add -A && git commit -qm 'First values'")
    walk.take("init again", f'{init} && git diff --exit-code && test -z "$(git status --porcelain)"', says="left")

    file = walk.folder / "my-model/onnx/model_int8.onnx"
    sound = file.read_bytes()
    shutil.copy(place / "made/damaged_int8.onnx", file)
    walk.take("a damaged file, red", again, status=1, says="FAILED")
    file.write_bytes(sound)
    walk.steps.pop()  # README does not tell it

    walk.take("an upgrade, red", upgrade, status=1, says="was recorded for another model")
    walk.take("first upgrade", update, says="gate")
    walk.take("green with it", upgrade, says="verdict: ")
    for last in ("first verdict, red", "first approval", "first green", "first upgrade"):
        print(f"from an empty folder to {last}: {walk.seconds(last):.0f} s")


def surroundings(place: Path) -> dict[str, str]:
    """An environment in which `pip install embedgate` finds the wheel, in the versions of constraints.txt."""
    found = {
        name: value for name, value in os.environ.items() if not name.startswith(("EMBEDGATE_", "GITHUB_", "TOX_"))
    }
    for name in ("CI", "PYTHONPATH", "VIRTUAL_ENV"):
        found.pop(name, None)
    return found | {
        "PATH": os.pathsep.join((str(place / "env/bin"), found["PATH"])),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_FIND_LINKS": " ".join(filter(None, (str(place / "wheels"), found.get("PIP_FIND_LINKS")))),
        "EMBEDGATE_CACHE": str(place / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in PERSON.items()},
    }


def build(walk: Walk, place: Path) -> None:
    """Builds the wheel, and makes the environment to install it into: what a user is spared, or has."""
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(place / "wheels"), str(ROOT)]
    walk.take("the wheel", shlex.join(wheel), where=place)
    walk.take("an environment", shlex.join([sys.executable, "-m", "venv", str(place / "env")]), where=place)
    walk.steps.clear()


def is_the_wheel(walk: Walk, environment: Path) -> None:
    """Sees to it that what is imported is what was installed, not this checkout."""
    told = walk.take("where it lies", "python -c 'import embedgate; print(embedgate.__file__)'")
    if not told.startswith(str(environment)):
        sys.exit(f"embedgate was imported from {told}")
    walk.steps.pop()


def prepare(walk: Walk, made: Path) -> None:
    """Makes what a user has: a model with a quantized file beside it, its successor, data, a repository of git."""
    made.mkdir()
    walk.environment["PYTHONPATH"] = str(ROOT / "tests")
    walk.take("a model", f"python - {shlex.quote(str(made))} <<'END'\n{MAKE}END")
    del walk.environment["PYTHONPATH"]
    for name in ("my-model", "my-new-model"):
        (made / name).rename(walk.folder / name)
    rows = (ROOT / "fixtures/data/pairs/pairs.jsonl").read_text("utf-8").splitlines(keepends=True)
    (walk.folder / "my.jsonl").write_text("".join(rows[::3]), "utf-8")
    (walk.folder / ".gitignore").write_text("out/\n__pycache__/\n.*_cache/\n.hypothesis/\n.benchmarks/\n", "utf-8")
    walk.take("a repository", "git init -q . && git remote add origin https://github.com/acme/search.git && git add -A")
    del walk.steps[-2:]


def chosen(commands: list[str]) -> list[str]:
    """README's commands in the order in which they are followed, each found by what it is about."""
    about = (
        lambda each: each.startswith(INSTALL),
        lambda each: each.startswith(INIT),
        lambda each: each.startswith(GATE) and REPORT in each,
        lambda each: each.startswith(APPROVE),
        lambda each: each == GATE,
        lambda each: each.startswith(GATE) and UPGRADE in each and UPDATE not in each,
        lambda each: each.startswith(GATE) and UPDATE in each,
    )
    found = [[each for each in commands if is_it(each)] for is_it in about]
    if any(len(each) != 1 for each in found) or len(commands) != len(about):
        sys.exit(f"README's section has other commands than this script follows: {commands}")
    return [each for (each,) in found]


if __name__ == "__main__":
    main()
