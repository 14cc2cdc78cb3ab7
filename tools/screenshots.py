"""Takes screenshots of report.html at the width of a phone and of a desktop, light and dark.

    python tools/screenshots.py out/pictures                    # of sessions that nobody ran, one of each kind
    python tools/screenshots.py out/pictures report/report.html # of a report of yours

It asks for Chromium on this machine, as tests/report/test_page.py does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from helpers.chromium import browser, chromium  # noqa: E402
from helpers.made_up import MADE  # noqa: E402

from embedgate.report import html  # noqa: E402

WIDTHS = {"phone": 390, "desktop": 1280}
HEIGHT = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("page", type=Path, nargs="*", help="a report.html; without any, sessions that nobody ran")
    parser.add_argument("--dark", action="store_true", help="as a system that prefers dark shows it")
    asked = parser.parse_args()
    if not chromium():
        sys.exit("no Chromium is installed here: apt-get install chromium")
    asked.folder.mkdir(parents=True, exist_ok=True)
    scheme = "dark" if asked.dark else "light"
    with tempfile.TemporaryDirectory() as scratch, browser() as started:
        for name, page in pages(asked.page, Path(scratch)):
            for device, width in WIDTHS.items():
                view = started.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
                view.goto(page.resolve().as_uri())
                file = asked.folder / f"{name}-{device}-{scheme}.png"
                view.screenshot(path=file, full_page=True)
                view.close()
                print(file)


def pages(given: list[Path], scratch: Path) -> Iterator[tuple[str, Path]]:
    """Names of pages, and where they are."""
    if given:
        yield from ((page.parent.name or page.stem, page) for page in given)
        return
    for name, make in MADE.items():
        page = scratch / f"{name}.html"
        page.write_text(html.render(make()), "utf-8")
        yield name, page


if __name__ == "__main__":
    main()
