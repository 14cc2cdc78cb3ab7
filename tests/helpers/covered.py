"""How much of each package the tests ran, where `coverage run` started the session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import coverage

import embedgate


def table() -> str:
    """A line for each package below embedgate; empty where nobody counts.

    What the processes of pytest-xdist ran is counted as well, and what processes that tests started ran.
    """
    running = coverage.Coverage.current()
    if running is None:
        return ""
    running.stop()
    running.save()
    whole = coverage.Coverage(data_file=running.get_option("run:data_file"), config_file=running.config.config_file)
    whole.combine()
    root = Path(embedgate.__file__).parent
    statements, ran = Counter[str](), Counter[str]()
    for file in sorted(root.rglob("*.py")):
        lines, missing = _lines(whole, file)
        package = file.relative_to(root).parts[0] if file.parent != root else root.name
        statements[package] += lines
        ran[package] += lines - missing
    told = [*statements.items(), ("all", statements.total())]
    ran["all"] = ran.total()
    return "\n".join(f"{package:12} {ran[package] / n:6.1%} of {n:6,} statements" for package, n in told if n)


def _lines(whole: coverage.Coverage, file: Path) -> tuple[int, int]:
    _, lines, _, missing, _ = whole.analysis2(str(file))
    return len(lines), len(missing)
