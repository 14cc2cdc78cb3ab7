"""The plan of a session: known before anything heavy is imported, so that collecting tests stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from embedgate.approved.base import Base, base_of
from embedgate.approved.transaction import settle
from embedgate.core.combination import Combination
from embedgate.core.errors import DataError, GateError
from embedgate.core.formats import shipped_among, shipped_names
from embedgate.core.hub import Repository
from embedgate.core.model import AGAINST, DEFAULT_MODEL, NO_MODEL, Model, resolve
from embedgate.core.roles import chosen_prompts
from embedgate.core.settings import Settings
from embedgate.core.spec import Spec
from embedgate.data.types import Dataset, Retrieval, Texts
from embedgate.deployed import ANSWERS, source_of, sources_of
from embedgate.deployed.files import place_of, shipped, spec_of
from embedgate.encoders.registry import Registry, is_emulated
from embedgate.encoders.sources import Source
from embedgate.metrics import ALL_TEXTS, STORED_LOSSES
from embedgate.runtime.data import data_of
from embedgate.runtime.incumbent import Incumbent, incumbent_of
from embedgate.vectors.collection import Collection, stored_in
from embedgate.vectors.engines.base import EngineCase, EngineRegistry
from embedgate.vectors.loads import SearchLoad, search_loads
from embedgate.vectors.storage import STORAGES, TRUNCATED, Storage

# Memory that a session takes beside what it searches.
SPARE_MEMORY = 2**30
# Of the collection as float32: the index that others are timed beside, and the largest of those, with what it holds.
TIMED_COPIES = 2


@dataclass(frozen=True)
class Plan:
    """The combinations and datasets of a session.

    Attributes:
        settings: What was asked for.
        registry: Every combination there is.
        combinations: Those asked for.
        datasets: Those asked for, the bundled ones in the model's languages where none was.
        engines: Every engine that a host project adds, beside embedgate's own.
        found: The model to gate, where it was needed to make the plan.
        left_data: By the name of each bundled dataset that was left out for the model's sake, why.
    """

    settings: Settings
    registry: Registry
    combinations: tuple[Combination, ...]
    datasets: tuple[Dataset, ...]
    engines: EngineRegistry = field(default_factory=EngineRegistry)
    found: Model | None = None
    left_data: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> Combination:
        """The reference on the first combination's device."""
        return self.combinations[0].reference

    @cached_property
    def encoding(self) -> tuple[Combination, ...]:
        """The combinations that have vectors of the datasets' texts."""
        return tuple(each for each in self.combinations if self.registry.source(each).answers != "own rows")

    def is_live(self, combination: Combination) -> bool:
        """Whether a combination encodes any text, here and now."""
        return self.registry.source(combination).answers == "any text"

    @cached_property
    def by_night(self) -> tuple[Combination, ...]:
        """The combinations that this CPU emulates, and that were not asked for: they would take most of a session.

        They are asked at the depth `nightly` alone.
        """
        if self.settings.combinations:
            return ()
        return tuple(each for each in self.combinations if not each.is_reference and is_emulated(each))

    @cached_property
    def stored(self) -> tuple[Combination, ...]:
        """The combinations that are stored vectors, and know those of their own texts alone."""
        return tuple(each for each in self.combinations if each not in self.encoding)

    def recording(self, combination: Combination) -> Path | None:
        """The file that a combination's answers are to be kept in; None where they are not."""
        source, folder = self.registry.source(combination), self.settings.record
        if folder is None or not source.origin or not self.is_live(combination):
            return None
        return folder / f"{combination}{ANSWERS[0]}"

    @cached_property
    def model(self) -> Model:
        """The model to gate, found and checked once."""
        return self.found or _model(self.settings)

    @cached_property
    def candidates(self) -> tuple[Source, ...]:
        """What makes the encoders of those combinations that come from elsewhere: from a file, a folder, a server."""
        found = (self.registry.source(combination) for combination in self.combinations)
        return tuple(source for source in found if source.origin)

    @cached_property
    def incumbent(self) -> Incumbent | None:
        """What it is to replace; None where there is nothing.

        Raises:
            GateError: If it cannot be found, or nothing can be held against it.
        """
        if self.settings.incumbent is None:
            return None
        found = incumbent_of(self.settings.incumbent, self.model, self.registry, self.datasets)
        if found.kind == "model" and self.settings.reference is not None:
            cause = "--gate-reference and --gate-incumbent were both given, and an incumbent model runs in torch's fp32"
            raise GateError(cause, "give one of them, or as incumbent the file, server or answers in use today")
        if not self.replacing(found):
            raise GateError(
                f"--gate-incumbent {found.source}: nothing that is judged here can be held against it",
                f"judge what it has, such as {self.reference}, by --gate-combination",
            )
        return found

    def replacing(self, incumbent: Incumbent) -> tuple[Combination, ...]:
        """The combinations that are held against an incumbent, the reference whether it was asked for or not."""
        encoding = dict.fromkeys((self.reference, *self.encoding))
        return tuple(combination for combination in encoding if incumbent.holds(combination))

    @cached_property
    def superior(self) -> tuple[Dataset, ...]:
        """The datasets on which it must be better than the incumbent.

        Raises:
            GateError: If one of the globs matches no dataset, or none that has labels.
        """
        globs, names = self.settings.superior, [dataset.name for dataset in self.datasets]
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                raise GateError(f"--gate-superior: no dataset matches {glob!r}", f"choose from {', '.join(names)}")
        found = tuple(dataset for dataset in self.datasets if any(fnmatchcase(dataset.name, glob) for glob in globs))
        if found and all(dataset in self.unlabelled for dataset in found):
            cause = f"--gate-superior: {found[0].name} has no labels, so nothing can be shown to be better on it"
            raise GateError(cause, "name a dataset with labels")
        return found

    def weight(self, name: str) -> int:
        """As how many checks one on a dataset counts: on none, and on several together, as one.

        Args:
            name: Its name, or that of its vectors as they are stored.
        """
        whose = stored_in(name) or name
        return next((dataset.weight for dataset in self.datasets if dataset.name == whose), 1)

    @cached_property
    def base(self) -> Base | None:
        """The bar of the base branch; None where there is nothing to compare with.

        Raises:
            GateError: If it was asked for and cannot be found.
        """
        return base_of(self.settings)

    @cached_property
    def receipts(self) -> dict[Path, dict[str, Any] | GateError]:
        """The receipts that were given, each as it was read, or why it cannot be."""
        from embedgate.report import receipt
        from embedgate.report.summary import SCHEMA

        found: dict[Path, dict[str, Any] | GateError] = {}
        for path in self.settings.receipts:
            try:
                found[path] = receipt.read(path, SCHEMA)
            except GateError as error:
                found[path] = error
        return found

    @property
    def is_bundled_model(self) -> bool:
        """Whether the bundled model is gated as it is, of which is known what tests depend on, without looking it up.

        It normalises, compares by cosine, has no prompts, and is trained for no fewer dimensions.
        """
        return self.settings.model == DEFAULT_MODEL and not self.settings.prompts

    @property
    def normalises(self) -> bool:
        """Whether every embedding of the model has length 1."""
        return self.is_bundled_model or self.model.normalises

    @cached_property
    def collection(self) -> Collection | None:
        """The collection in which stored vectors are searched; None where the datasets hold too few texts."""
        return Collection.of(self.datasets, self.settings.corpus_size)

    @cached_property
    def storages(self) -> tuple[Storage, ...]:
        """The storages to judge; of truncated vectors too, where the model is trained for it or they are asked for."""
        dims = self.settings.dims
        if not dims and not self.is_bundled_model:
            dims = self.model.trained_dims
        return (*STORAGES, *(replace(storage, dims=kept) for kept in dims for storage in TRUNCATED))

    def require_searchable(self, dim: int) -> None:
        """Checks that vectors of so many dimensions can be truncated as asked, and that memory holds the collection.

        Raises:
            GateError: If not.
        """
        from embedgate.core.machine import usable_memory_bytes

        kept = max(self.settings.dims, default=0)
        if kept >= dim:
            raise GateError(f"{kept} of {dim} dimensions are to be kept", "give --gate-dims fewer than that")
        size = self.settings.corpus_size
        if size is None:
            return
        needed, usable = SPARE_MEMORY + round(self._float32_copies * 4 * dim * size), usable_memory_bytes()
        if needed > usable:
            cause = f"{size:,} vectors of {dim} dimensions need about {needed / 2**30:.1f} GiB of memory"
            cause += f", and {usable / 2**30:.1f} can be used here"
            raise GateError(cause, "give a smaller --gate-corpus-size; docs/stored-vectors.md says what is beyond")

    @property
    def _float32_copies(self) -> float:
        """How often the collection is held in memory as float32 at once, beside the file that it is mapped from."""
        candidates = any(not combination.is_reference for combination in self.encoding)
        copies = TIMED_COPIES + candidates  # every second document of the reference in one index with a candidate's
        return copies if self.model.normalises else copies + 1 + candidates

    @cached_property
    def search_unavailable(self) -> str | None:
        """Why stored vectors cannot be searched here, in one line; None where they can."""
        from embedgate.vectors.nearest import unavailable

        if not self.is_bundled_model and not self.model.similarity.is_product:
            measure = self.model.similarity.measure
            return f"stored vectors are searched by cosine or dot product, and this model compares by {measure}"
        return unavailable()

    def engine_unavailable(self, case: EngineCase) -> str | None:
        """Why an index of the collection cannot be had here, in one line; None where it can."""
        return self.engines.unavailable(case, self.collection.size if self.collection else 0)

    @cached_property
    def engine_cases(self) -> tuple[EngineCase, ...]:
        """The indexes to judge.

        Raises:
            GateError: If none matches what was asked for.
        """
        return self.engines.select(self.settings.engines)

    @property
    def search_loads(self) -> tuple[SearchLoad, ...]:
        """The searches to time."""
        return search_loads(self.engine_cases)

    @property
    def stored_measures(self) -> tuple[tuple[Storage, Retrieval, str], ...]:
        """Storage, dataset and metric of everything that is measured by judgements."""
        datasets = [dataset for dataset in self.datasets if isinstance(dataset, Retrieval)]
        return tuple((s, d, metric) for s in self.storages for d in datasets for metric in STORED_LOSSES)

    @cached_property
    def unlabelled(self) -> tuple[Texts, ...]:
        """The datasets of texts without labels."""
        return tuple(dataset for dataset in self.datasets if isinstance(dataset, Texts))

    @cached_property
    def compares_all_texts(self) -> bool:
        """Whether all texts together are others than those of each dataset that is compared by itself."""
        whole = {each for dataset in self.datasets for each in dataset.inputs()}
        return not any(len(dataset) == len(whole) for dataset in self.unlabelled)

    @property
    def texts_name(self) -> str:
        """The name under which the comparison with the reference over all texts is approved."""
        return ALL_TEXTS + "+".join(sorted(dataset.name for dataset in self.datasets))

    @classmethod
    def of(
        cls,
        settings: Settings,
        registry: Registry,
        engines: EngineRegistry | None = None,
        progress: Callable[[str], None] = lambda _: None,
        *,
        writes: bool = True,
    ) -> Plan:
        """Reads the datasets, finds the candidates and selects the combinations.

        Where candidates are named and no combinations, these are the candidates and their references alone. Files of
        candidates that are fetched are told to `progress`. An approval that was cut short is gone on with, if `writes`.

        Raises:
            GateError: If a dataset cannot be read, two have one name, a combination is unknown, there is no such
                candidate, or an approval was cut short and cannot be gone on with.
        """
        if writes and (finished := settle(settings.baselines_folder)):
            progress(finished)
        data = data_of(settings)
        names = [dataset.name for dataset in data.datasets]
        for name in names:
            if names.count(name) > 1:
                raise DataError(
                    f"two datasets are named {name!r}", "rename one of the files, or its entry in a list of datasets"
                )
        model, sources = None, []
        if settings.asks_elsewhere:
            model = _model(settings)
            found = _shipped(settings, model, progress) if settings.shipped else []
            sources = sources_of(settings.candidates, model, progress, shipped=found)
            for source in sources:
                registry.add_source(source)
        globs = settings.combinations
        if model is not None and settings.reference:
            chosen = _reference(settings, model, registry, progress)
            registry.judge_against(chosen)
            # What was measured against another reference is a baseline of its own.
            model = replace(model, name=f"{model.name}{AGAINST}{chosen}")
            globs = globs or (() if model.has_folder else (chosen.id,))
        asked = [registry.named(id_) for id_ in (*registry.asked, *(source.combination.id for source in sources))]
        globs = globs or tuple(c.id for own in asked for c in (own.reference, own))
        combinations = registry.select((*globs, *(own.id for own in asked)) if globs else ())
        return cls(settings, registry, combinations, data.datasets, engines or EngineRegistry(), model, data.left)


def _model(settings: Settings) -> Model:
    found = resolve(settings.model, chosen_prompts(settings.prompts))
    if not (found.has_folder or settings.reference):
        cause = f"--gate-model {NO_MODEL} has no weights to make a reference of"
        raise GateError(cause, "name a server or recorded answers by --gate-reference")
    return replace(found, name=settings.name) if settings.name else found


def _reference(settings: Settings, model: Model, registry: Registry, progress: Callable[[str], None]) -> Combination:
    """What everything is judged against: a combination of that id, else a candidate of its own.

    Raises:
        GateError: If there is no such candidate.
    """
    text = str(settings.reference)
    known = registry.find(text)
    if known is None:
        source = source_of(text, model, "--gate-reference", progress)
        registry.add_source(source)
        known = source.combination
    if reason := registry.source(known).unfit(model):
        raise GateError(f"--gate-reference {text}: {reason}", "name a server, recorded answers or a folder")
    if registry.source(known).answers == "own rows":
        cause = f"--gate-reference {text} is stored vectors, which know their own texts alone"
        raise GateError(cause, "name a combination, a file, a folder or a server")
    return known


def _shipped(settings: Settings, model: Model, progress: Callable[[str], None]) -> list[str]:
    """The files in the model's folder, as candidates; of a model of the hub, those in its repository.

    Those that are named by themselves are left out.

    Raises:
        GateError: If there is none, or the hub cannot be asked.
    """
    repository, place = Repository.of(model.source), str(model.path)
    if repository is not None and not repository.is_out_of_reach:
        found, place = shipped_among(repository.sizes), str(repository)
    else:
        found = [file.relative_to(model.path).as_posix() for file in shipped(model)]
        if repository is not None:
            progress(f"HF_HUB_OFFLINE is set: --gate-shipped gates what is in the cache of {repository.hub_id} alone")
    if not found:
        raise GateError(f"{place} ships no {shipped_names()} file", "leave out --gate-shipped")
    given = (*settings.candidates, *filter(None, [settings.reference]))
    named = {place_of(Spec.parse(text), model) for text in given}
    texts = [spec_of(name, model) for name in found]
    return [text for text in texts if place_of(Spec.parse(text), model) not in named]
