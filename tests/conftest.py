"""Fixtures of all tests: the small model and the real one, and sessions that gate them."""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedgate import sentences
from embedgate.core.model import DEFAULT_MODEL, Model, resolve
from embedgate.core.settings import Settings
from embedgate.encoders.registry import EncoderFactory, Registry

if TYPE_CHECKING:
    from embedgate.checks import Check, Context
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.portions import Needs
    from embedgate.vectors.engines.base import EngineFactory


KINDS = {
    "unit": "builds no encoder, and runs no session of pytest: what tox -e quick runs",
    "model": "builds encoders of a model, or runs sessions of pytest; given to what asks for their fixtures",
    "slow(proves)": "takes more than ten seconds; says what it proves",
}
HEAVY = {"small", "minilm", "pytester", "warm_python"}


def pytest_configure(config: pytest.Config) -> None:
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")


@pytest.fixture(scope="session", autouse=True)
def keep_messages(pytestconfig: pytest.Config) -> Iterator[None]:
    """Where EMBEDGATE_MESSAGES names a folder, what embedgate says in these tests is kept there, to be read through."""
    folder = os.environ.get("EMBEDGATE_MESSAGES")
    if folder is None:
        yield
        return
    from helpers.messages import Messages

    messages = Messages()
    messages.listen()
    yield
    Path(folder).mkdir(exist_ok=True)
    worker = getattr(pytestconfig, "workerinput", {}).get("workerid", "all")
    messages.write(Path(folder) / f"{worker}.jsonl")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with its kind, and puts files with slow tests first, so that no process waits for their end."""
    for item in items:
        if not any(item.get_closest_marker(kind.partition("(")[0]) for kind in KINDS):
            item.add_marker("model" if HEAVY & set(item.fixturenames) else "unit")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Where `coverage run` started the session, tells how much of each package the tests ran."""
    if "coverage" not in sys.modules or hasattr(config, "workerinput"):
        return
    from helpers.covered import table

    if lines := table():
        terminalreporter.section("coverage of embedgate's packages")
        terminalreporter.write_line(lines)


@pytest.fixture(scope="module", autouse=True)
def imports_frozen() -> None:
    """Takes what is alive before a file out of garbage collection: nearly all of it are imports, which never end.

    Looking at them takes each collection half a second, and sessions ask for many.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def outside_ci() -> Iterator[None]:
    """The sessions that tests run are a person's, wherever the tests run.

    In CI no baseline may be approved, and where pytest-xdist says that it runs, pytest-benchmark measures nothing.
    """
    with pytest.MonkeyPatch.context() as patch:
        from embedgate.approved.base import VARIABLES

        for name in ("CI", *VARIABLES, "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory, request) -> Path:
    """A folder of the tests of one run, in whatever process of pytest-xdist, and of no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def small(shared) -> Model:
    """The small model: enough wherever the quality of a real one is not what is tested."""
    from helpers.small import small_model

    return small_model(shared)


@pytest.fixture(scope="session")
def model(small) -> Model:
    """The model that tests are about, unless a folder or a file says otherwise."""
    return small


@pytest.fixture(scope="session")
def minilm() -> Model:
    """The bundled all-MiniLM-L6-v2."""
    return resolve(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def cache(shared) -> Path:
    """Built artefacts."""
    folder = shared / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def preloaded() -> None:
    """Before pytester takes note of the modules there are."""
    from helpers.preloaded import preload

    preload()


@pytest.fixture(scope="session")
def warm_python() -> Iterator[Path]:
    """Python that has imported torch already, where the system has all that it needs."""
    if sys.platform != "linux":
        yield Path(sys.executable)
        return
    from helpers import warm

    with tempfile.TemporaryDirectory() as folder, warm.warm_python(Path(folder)) as command:
        yield command


@pytest.fixture
def warm(warm_python, monkeypatch) -> None:
    """The processes that a test starts have imported torch already."""
    monkeypatch.setattr(sys, "executable", str(warm_python))


@pytest.fixture
def project(preloaded, pytester, cache, model, monkeypatch) -> pytest.Pytester:
    """The folder of a host project, whose sessions gate the small model."""
    monkeypatch.setenv("EMBEDGATE_CACHE", str(cache))
    pytester.makeini(f"[pytest]\ngate_model = {model.path}\n")
    return pytester


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Path:
    """A file of a dozen sentence pairs, for sessions in which it does not matter what the texts are."""
    rows = [{"sentence1": f"text {i}", "sentence2": f"other {i}", "score": i % 6} for i in range(12)]
    file = tmp_path_factory.mktemp("data") / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


@pytest.fixture
def few_cases() -> Iterator[None]:
    """The approved set of generated sentences, cut to two cases of each relation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "SIZE", 20)
        sentences.approved_set.cache_clear()
        yield
    sentences.approved_set.cache_clear()


@pytest.fixture(scope="module")  # of the module's own model
def context_with(cache, model) -> Callable[..., Context]:
    """Makes what checks judge by, over the small model, with combinations of the test's own added."""
    from embedgate.checks import CheckRegistry, Context
    from embedgate.runtime.plan import Plan
    from embedgate.vectors.engines.base import EngineRegistry

    def make(
        factories: Mapping[str, EncoderFactory] = {},
        *,
        family: int = 40,
        added_engines: Mapping[str, EngineFactory] = {},
        added_checks: Sequence[Check] = (),
        needs: Callable[[Plan], Needs | None] = lambda _: None,
        **options,
    ) -> Context:
        registry = Registry()
        for combination, factory in factories.items():
            registry.add(combination, factory)
        engines = EngineRegistry()
        for name, factory in added_engines.items():
            engines.add(name, factory)
        checks = CheckRegistry()
        for check in added_checks:
            checks.add(check)
        settings = Settings(**{"model": str(model.path), "cache": cache, **options})
        plan = Plan.of(settings, registry, engines)
        return Context(plan, checks, families={"quality": family, "slices": family}, needs=needs(plan))

    return make
