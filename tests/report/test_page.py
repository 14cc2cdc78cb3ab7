"""`report.html` in a browser: whoever opens it can read all of it, find their way in it, and trust it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import made_up
from helpers.chromium import browser, chromium

from embedgate.report import html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright", reason="pip install playwright")
pytestmark = pytest.mark.skipif(not chromium(), reason="no Chromium is installed here: apt-get install chromium")

PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Pages, written once."""
    folder, found = tmp_path_factory.mktemp("pages"), {}
    for name, make in {
        "everything": made_up.everything,
        "green": made_up.green,
        "long": lambda: made_up.long(3000),
    }.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(html.render(make()), "utf-8")
    return found


@pytest.fixture(scope="module")
def opened(started, files):
    """Opens a page; what it asks for and complains of is in `page.asked` and `page.said`."""
    page = started.new_page(viewport={"width": DESKTOP, "height": 900})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def open_(name: str, width: int = DESKTOP, scheme: str = "light") -> Page:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        asked.clear()
        said.clear()
        page.goto(files[name].as_uri())
        return page

    open_.asked, open_.said = asked, said
    return open_


def shown(page: Page, selector: str) -> int:
    return page.locator(f"{selector}:not([hidden])").count()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_axe_finds_nothing(opened, width):
    """With all that can be folded open, so that all of it is looked at; in the dark, colours alone are others."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened("everything", width)
    page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    checked = {rule["id"] for rule in found.response["passes"]}
    assert {"color-contrast", "html-has-lang", "label", "svg-img-alt", "scrollable-region-focusable"} <= checked
    page.emulate_media(color_scheme="dark")
    dark = Axe().run(page, options={"runOnly": ["color-contrast"]})
    assert dark.violations_count == 0, dark.generate_report()
    assert dark.response["passes"]


def test_axe_sees_what_is_wrong(opened):
    """So that its finding nothing says something."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened("green")
    page.evaluate("document.querySelector('[name=words]').parentElement.replaceWith(document.createElement('input'))")
    (found,) = Axe().run(page, options={"runOnly": ["label"]}).response["violations"]
    assert found["id"] == "label"


@pytest.mark.parametrize("name", ["everything", "green"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_itself_scrolls_one_way_only(opened, name, width):
    page = opened(name, width)
    page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_letters_of_plots_are_large_enough_on_a_phone(opened):
    page = opened("everything", PHONE)
    heights = page.evaluate(
        "[...document.querySelectorAll('svg text')].map((text) => text.getBoundingClientRect().height)"
    )
    assert len(heights) > 50
    assert min(heights) > 9


def test_it_asks_for_nothing_and_complains_of_nothing(opened, files):
    page = opened("everything")
    page.locator("[name=words]").fill("script")
    assert opened.asked == [files["everything"].as_uri()]
    assert opened.said == []


def test_what_is_added_to_it_neither_runs_nor_loads(opened):
    """As if a text had not been escaped: the page allows its own script and style alone."""
    page = opened("green")
    page.evaluate(
        """() => {
            const added = document.createElement("div");
            added.innerHTML = `<img src=x onerror="document.title = 'ran'"><b style="position: fixed">b</b>`;
            document.body.append(added);
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
        }"""
    )
    page.wait_for_timeout(50)
    assert page.title().startswith("embedgate: pass")
    assert all("Content Security Policy" in line for line in opened.said)
    assert len(opened.said) >= 3


def test_texts_of_the_data_stay_texts(opened):
    page = opened("everything")
    page.wait_for_timeout(50)
    assert not [line for line in opened.said if line.startswith("dialog")]
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [onload], img").count() == 0
    assert page.get_by_text("<script>alert(1)</script>").count() > 5
    option = page.locator("[name=combination] option", has_text="<script>")
    assert "onerror=alert(2)" in option.inner_text()
    # What holds for its row holds for its filter.
    page.locator("[name=combination]").select_option(label=option.inner_text())
    assert shown(page, "#judgements ~ details tbody tr") == 1


def test_search_leaves_what_has_all_words(opened):
    page = opened("everything")
    findings = shown(page, ".finding")
    page.locator("[name=words]").fill("POOLING cls")
    assert 0 < shown(page, ".finding") < findings
    assert all("pooling" in text.lower() for text in page.locator(".finding:not([hidden])").all_inner_texts())
    assert page.locator("output").inner_text().endswith(f"of {page.locator('[data-of]').count()} shown")
    page.locator("[name=words]").fill("no such words at all")
    assert shown(page, ".finding") == 0
    assert shown(page, "[data-group=kind]") == 0
    page.locator("[name=words]").fill("")
    assert shown(page, ".finding") == findings
    assert page.locator("output").inner_text() == ""


def test_filters_by_verdict_kind_and_combination_leave_what_they_say(opened):
    page = opened("everything")
    page.locator("[name=verdict]").select_option("inconclusive")
    verdicts = page.locator("#judgements ~ details tbody tr:not([hidden]) td:nth-child(2)").all_text_contents()
    assert set(verdicts) == {"inconclusive"}
    assert shown(page, ".finding.is-fail") == 0
    page.locator("[name=verdict]").select_option("")
    page.locator("[name=kind]").select_option("worse than the incumbent")
    assert shown(page, ".finding") == 1
    assert page.locator("#fail ~ [data-group]:not([hidden]) h3").all_inner_texts() == [
        "Worse than the incumbent (1 of 1)"
    ]
    page.locator("[name=kind]").select_option("")
    page.locator("[name=combination]").select_option(label=made_up.BAD)
    named = page.locator("#judgements ~ details tbody tr:not([hidden]) td:first-child").all_text_contents()
    assert set(named) == {made_up.BAD}
    assert len(named) == 5


def test_folds_and_links_work_by_keyboard(opened):
    page = opened("everything")
    fold = page.locator("#judgements ~ details")
    assert not fold.evaluate("(fold) => fold.open")
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.evaluate("(fold) => fold.open")
    heading = fold.locator("th button", has_text="value")
    heading.focus()
    page.keyboard.press("Space")
    assert fold.locator("th[aria-sort=ascending]").inner_text().startswith("value")
    page.locator("nav a", has_text="Slices").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#slices"


def test_reds_are_open_and_the_rest_is_folded(opened):
    page = opened("everything")
    assert page.locator(".is-fail:not([open])").count() == 0
    assert page.locator(".is-inconclusive[open]").count() == 0
    assert page.locator(".fold[open]").count() == 0


def test_a_heading_sorts_by_number_and_what_is_not_known_comes_last(opened):
    page = opened("everything")
    page.evaluate("document.querySelector('#judgements ~ details').open = true")
    heading = page.locator("#judgements ~ details th button", has_text="value")
    column = page.locator("#judgements ~ details tbody td:nth-child(6)")
    for down in (False, True):
        heading.click()
        cells = column.all_text_contents()
        numbers = [float(cell) for cell in cells if cell]
        assert numbers == sorted(numbers, reverse=down)
        assert cells[-1] == ""


def test_a_heading_sorts_dates_as_dates_and_shares_beside_values(opened):
    page = opened("everything")
    page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
    table = page.locator("#trend ~ details table")
    table.locator("th button", has_text="approved").click()
    dates = table.locator("tbody td:nth-child(1)").all_text_contents()
    assert dates == sorted(dates)
    assert len(set(dates)) > 2
    made = ["97.50%", "0.98", "4e10ab3f00", "0.97", "2 MB", "900 kB"]
    page.evaluate(
        """(made) => {
            const body = document.querySelector("#trend ~ details tbody");
            [...body.rows].slice(made.length).forEach((row) => row.remove());
            made.forEach((text, place) => (body.rows[place].cells[1].textContent = text));
        }""",
        made,
    )
    table.locator("th button", has_text="commit").click()
    in_order = table.locator("tbody td:nth-child(2)").all_text_contents()
    assert in_order == ["0.97", "97.50%", "0.98", "900 kB", "2 MB", "4e10ab3f00"]


def test_thousands_of_judgements_are_filtered_as_one_types(opened):
    page = opened("long")
    page.locator("[name=words]").fill("2999")
    assert shown(page, "#judgements ~ details tbody tr") == 1
    assert page.locator("#judgements ~ details > summary").inner_text().startswith("Judgements (1 of 30")


def test_each_combination_has_a_place_that_links_name(opened):
    page = opened("everything")
    links = page.locator("main a[href^='#']").evaluate_all(
        "(links) => links.map((link) => link.getAttribute('href').slice(1))"
    )
    assert len(links) > 10
    assert page.evaluate("(names) => names.filter((name) => !document.getElementById(name))", links) == []


def test_links_stay_in_the_frame_that_a_notebook_shows_it_in(started, files):
    """There, what a link names is looked for in the notebook's own address."""
    page = started.new_page()
    shown_in = escape(files["green"].read_text("utf-8"), quote=True)
    page.set_content(f'<iframe sandbox="allow-scripts" srcdoc="{shown_in}"></iframe>')
    frame = page.frames[1]
    frame.locator("nav a", has_text="What ran").click()
    assert frame.locator("h1").inner_text().startswith("May it ship?")
    assert frame.evaluate("scrollY") > 500
    page.close()


def test_without_script_all_of_it_is_there(started, files):
    context = started.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["everything"].as_uri())
    assert page.locator("#filter").is_hidden()
    assert page.locator(".finding").first.is_visible()
    page.locator("#judgements ~ details > summary").click()
    assert page.locator("#judgements ~ details tbody tr").first.is_visible()
    context.close()
