"""Checks of stored vectors: a sound storage, mixture and engine are green, and every fault is red with its cause."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.search_faults import (
    Bits,
    BitsFirst,
    BitsSound,
    Distance,
    DistanceOfUnitQueries,
    Exact,
    Exits,
    Furthest,
    HalfShuffled,
    Missing,
    OneOff,
    Opposite,
    Places,
    Rescored,
    RescoredByPlace,
    Shuffled,
    Spoils,
    Twice,
    WorstFirst,
    few_passages,
)
from helpers.timed import Timed
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError, ModelError
from embedgate.core.judgement import Judgement
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.data import load_bundled
from embedgate.data.types import Texts, Triplets
from embedgate.metrics.search import Indistinct
from embedgate.vectors.collection import Collection
from embedgate.vectors.engines.base import EngineRegistry
from embedgate.vectors.measure import rankings
from embedgate.vectors.storage import MIXTURES, STORAGES, Storage

REFERENCE = Combination.parse("torch-fp32-cpu")
SAME, ROTATED, NARROW, COLLAPSED, POSITIVE = (
    Combination.parse(f"acme-{name}-cpu") for name in ("same", "rotated", "narrow", "collapsed", "positive")
)
ENGINES = {
    "exact": Exact,
    "rescored": Rescored,
    "bits-sound": BitsSound,
    "bits-first": BitsFirst,
    "half-shuffled": HalfShuffled,
    "shuffled": Shuffled,
    "one-off": OneOff,
    "bits": Bits,
    "by-place": RescoredByPlace,
    "places": Places,
    "worst-first": WorstFirst,
    "furthest": Furthest,
    "opposite": Opposite,
    "twice": Twice,
    "missing": Missing,
    "spoils": Spoils,
    "raises": lambda documents: documents.no_such_thing,
    "exits": Exits,
}


class Encoded:
    """A model that encodes each text once, for all that turn its embeddings."""

    def __init__(self, path: Path) -> None:
        self.model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
        self.rows: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str], batch_size: int) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.rows]
        self.rows |= zip(new, self.model.encode(new, batch_size=batch_size, show_progress_bar=False), strict=True)
        return np.stack([self.rows[text] for text in texts])


encoded = cache(Encoded)


class Turned:
    """The model with something done to its embeddings."""

    def __init__(self, path: Path, turn) -> None:
        self.model = encoded(path)
        self.turn = turn

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.turn(self.model.encode(texts, batch_size))


def rotated(embeddings: np.ndarray) -> np.ndarray:
    """Another model's space: every cosine within it is the same, none across is."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((384, 384)))
    return (embeddings @ turn).astype(np.float32)


def positive(path: Path, _: str) -> Turned:
    """Without its negative values."""
    return Turned(path, np.abs)


def collapsed(path: Path, _: str) -> Turned:
    """Every embedding is the first."""
    return Turned(path, lambda found: np.broadcast_to(found[:1], found.shape).copy())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return few_passages(tmp_path_factory.mktemp("data") / "few")


@pytest.fixture(scope="module")
def context(context_with, folder):
    factories = {
        SAME.id: lambda path, _: Turned(path, lambda found: found + np.float32(1e-4)),
        ROTATED.id: lambda path, _: Turned(path, rotated),
        COLLAPSED.id: collapsed,
        POSITIVE.id: positive,
        NARROW.id: lambda path, _: Turned(path, lambda found: found[:, :128]),
    }
    made = context_with(factories, added_engines=ENGINES, data=(str(folder),))
    yield made
    made.close()
    encoded.cache_clear()


def red(judgement: Judgement, layer: str, *words: str) -> None:
    assert judgement.verdict == "fail", judgement.message
    assert judgement.diagnosis is not None
    assert judgement.diagnosis.layer == layer, judgement.diagnosis
    for word in words:
        assert word in judgement.explain()
    assert judgement.diagnosis.next_step


class TestStorages:
    @pytest.mark.parametrize("storage", STORAGES, ids=str)
    @pytest.mark.parametrize("combination", [REFERENCE, SAME], ids=str)
    def test_sound_ones_are_never_red(self, context, combination, storage):
        judged = context.ask("search.kept", combination, str(storage))
        assert judged.verdict != "fail", judged.message
        assert judged.dataset == f"corpus-3200:few@{storage}"
        assert judged.n == 120
        for metric in ("ndcg_at_10", "recall_at_10"):
            judged = context.ask("search.ranks", combination, f"{storage}-few-{metric}")
            assert judged.verdict != "fail", judged.message
            assert judged.dataset == f"few@{storage}"

    def test_more_bits_and_more_candidates_keep_more(self, context):
        kept = {storage.id: context.ask("search.kept", REFERENCE, str(storage)).value for storage in STORAGES}
        assert kept["float16"] > 0.99
        assert kept["int8"] < kept["int8-rescore2"] < kept["int8-rescore4"] <= kept["int8-float32queries"] + 0.005
        assert kept["binary"] < kept["binary-rescore2"] < kept["binary-rescore8"] < kept["int8-rescore2"]
        assert kept["int8-rescore1"] == kept["int8"], "the same ten, in another order"
        assert kept["uint8"] < kept["int8"], "the offset does not cancel out in products of codes"

    def test_what_loses_more_than_is_tolerated_is_red_with_what_to_do(self, context, monkeypatch):
        monkeypatch.setattr(type(context.tolerances), "stored", lambda *_: 0.99)
        judged = context.ask("search.kept", REFERENCE, "binary")
        red(judged, "codes", "rank candidates again (rescore), or store in more bits", "binary keeps")
        assert judged.worst
        assert judged.worst[0].candidate <= judged.worst[-1].candidate < 1
        red(context.ask("search.kept", REFERENCE, "int8"), "codes", "products of codes alone ignore")

    def test_ranking_that_loses_more_than_is_tolerated_is_red(self, context):
        """Without negative values, all signs are alike."""
        judged = context.ask("search.ranks", POSITIVE, "binary-few-ndcg_at_10")
        red(judged, "codes", "of float32's ndcg_at_10 on few", "rank candidates again (rescore), or store in more bits")
        assert judged.worst
        assert judged.value < 0.2 < judged.reference_value

    @pytest.mark.slow("one storage that ties leaves the others' verdicts as they are")
    def test_a_storage_that_tells_nothing_apart_leaves_the_others_as_they_are(self, context_with, folder, monkeypatch):
        monkeypatch.setattr("embedgate.vectors.nearest.MOST_TIES", 128)
        made = context_with({POSITIVE.id: positive}, data=(str(folder),))
        searched = []
        monkeypatch.setattr(
            "embedgate.checks.stored.rankings", lambda *given: searched.append(given) or rankings(*given)
        )
        for storage in (Storage("binary"), Storage("binary", 4)):
            judged = made.ask("search.kept", POSITIVE, str(storage))
            red(judged, "codes", f"corpus-3200:few@{storage}", "documents score alike for one query", "absolute values")
        assert made.ask("search.kept", POSITIVE, "float16").verdict == "pass"
        assert made.ask("search.kept", POSITIVE, str(Storage("int8", float_queries=True))).value > 0.95
        assert len(searched) == 2, "once in the collection, and once by the judgements of its dataset"
        names = {name for name, _, _ in made.of(StoredVectors).known(made.session.run(POSITIVE))}
        assert "few@float16" in names
        assert names <= made.of(StoredVectors).complete(made.session.run(POSITIVE)), "what is known is complete"
        made.close()

    def test_truncated_vectors_are_normalised_anew_and_judged_beside_whole_ones(self, context_with, folder):
        made = context_with(data=(str(folder),), dims=(192,))
        storages = [storage for storage in made.session.plan.storages if storage.dims]
        assert [str(storage) for storage in storages] == ["192d-float32", "192d-int8-rescore4", "192d-binary-rescore4"]
        kept = [made.ask("search.kept", REFERENCE, str(storage)) for storage in storages]
        assert 0.4 < kept[0].value < 0.99
        assert kept[2].value < kept[1].value < kept[0].value + 0.01
        made.close()

    def test_a_card_that_names_trained_dimensions_has_them_judged(self, tmp_path, model):
        shutil.copytree(model.path, tmp_path / "nested")
        (tmp_path / "nested/README.md").write_text(
            'Trained:\n```json\n{"loss": "X",\n "matryoshka_dims": [\n  384,\n  128,\n  256\n ]}\n```\n', "utf-8"
        )
        from embedgate.core.model import resolve

        assert resolve(str(tmp_path / "nested")).trained_dims == (256, 128)
        assert model.trained_dims == ()

    @pytest.mark.parametrize(
        ("modules", "dim"),
        [
            ({"Pooling": {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}}, 8),
            ({"Pooling": {"word_embedding_dimension": 8, "pooling_mode_a": True, "pooling_mode_b": True}}, 16),
            ({"Pooling": {"embedding_dimension": 8, "pooling_mode": "mean"}}, 8),
            ({"Pooling": {"embedding_dimension": 8, "pooling_mode": ["cls", "max"]}, "Normalize": {}}, 16),
            ({"Pooling": {"embedding_dimension": 8, "pooling_mode": "mean"}, "Dense": {"out_features": 4}}, 4),
            ({"StaticEmbedding": {}}, None),
            ({"CLIPModel": {}}, None),
        ],
    )
    def test_a_models_dimensions_are_read_from_its_configs(self, tmp_path, model, modules, dim):
        listed = []
        for name, config in modules.items():
            listed.append({"type": f"sentence_transformers.models.{name}", "path": name})
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(json.dumps(config), "utf-8")
        (tmp_path / "modules.json").write_text(json.dumps(listed), "utf-8")
        assert replace(model, path=tmp_path).dim == dim
        assert model.dim == 384

    def test_a_static_models_dimensions_are_those_of_its_weights(self, tmp_path, model):
        (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.StaticEmbedding", "path": ""}]')
        (tmp_path / "README.md").write_text('"matryoshka_dims": [8, 4, 2]')
        static = replace(model, path=tmp_path)
        assert static.trained_dims == (), "the greatest may be the whole"
        save_file({"embedding.weight": np.zeros((3, 8), np.float32)}, tmp_path / "model.safetensors")
        assert static.dim == 8
        assert static.trained_dims == (4, 2)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{", "is no JSON: "),
            ("[]", "holds no JSON object"),
            ('{"word_embedding_dimension": "wide"}', "says word_embedding_dimension 'wide'"),
        ],
    )
    def test_a_malformed_config_is_told_with_its_file(self, tmp_path, model, text, told):
        (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": ""}]')
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=rf"config\.json {told}"):
            _ = replace(model, path=tmp_path).dim

    def test_what_memory_cannot_hold_is_refused(self, context_with, folder, monkeypatch):
        """A million of 384 dimensions is 1.43 GiB as float32, which is held twice, and once more for a mixture."""
        for ids, needed in ((("torch-fp32-cpu",), 3.86), (("torch-*-cpu",), 5.29)):
            plan = context_with(data=(str(folder),), combinations=ids, corpus_size=1_000_000).session.plan
            monkeypatch.setattr("embedgate.core.machine.usable_memory_bytes", lambda: (needed + 0.01) * 2**30)  # noqa: B023
            plan.require_searchable(384)
            monkeypatch.setattr("embedgate.core.machine.usable_memory_bytes", lambda: (needed - 0.01) * 2**30)  # noqa: B023
            with pytest.raises(GateError, match=f"1,000,000 vectors of 384 dimensions need about {needed:.1f} GiB"):
                plan.require_searchable(384)


@pytest.mark.slow("timed indexes are let go once another combination is judged")
def test_timed_indexes_are_let_go_once_another_combination_is_judged(context_with, folder):
    made = context_with({POSITIVE.id: positive}, data=(str(folder),))
    made.ask("search speed", REFERENCE, "faiss-exact-int8-batch64", benchmark=Timed())
    timing = made.of(StoredVectors).timing(made.session.run(REFERENCE))
    assert timing is not None
    assert set(timing._kept) == {"reference", "candidate"}
    made.ask("mixed", POSITIVE, "mixed-queries-float32")
    assert not timing._kept
    made.close()


class TestCollection:
    def test_does_not_depend_on_the_order_of_datasets(self):
        datasets = [load_bundled(name) for name in ("topics", "triplets")]
        one, other = Collection.of(datasets, None), Collection.of(datasets[::-1], None)
        assert one == other
        assert one.name == f"corpus-{one.size}:topics+triplets"
        assert not {*one.queries} & {*one.documents}
        assert len(one.queries) == (len(one.queries) + len(one.documents)) // 10

    def test_a_log_of_queries_asks_where_others_are_searched(self):
        common = {"source": "mine", "version": "", "sha256": "0"}
        log = Texts(**common, name="log", items=tuple(f"query {i}" for i in range(100)), role=QUERY)
        documents = Texts(**common, name="shelf", items=tuple(f"document {i}" for i in range(60)), role=DOCUMENT)
        found = Collection.of([log, documents], None)
        assert {each.text for each in found.queries} == {*log.items}
        assert {each.text for each in found.documents} == {*documents.items}
        alone = Collection.of([log], None)
        assert (len(alone.queries), len(alone.documents)) == (10, 90), "alone, most of it is searched"

    def test_few_texts_are_not_searched(self):
        few = Triplets(
            name="few",
            source="few",
            version="",
            sha256="0",
            anchors=("a", "b"),
            positives=("c", "d"),
            negatives=("e", "f"),
        )
        assert Collection.of([few], None) is None


class TestMoreThanWasCompared:
    @pytest.mark.slow("floors judge no collection of which nearly all is grown")
    def test_floors_do_not_judge_what_is_found_where_nearly_all_is_grown(self, context_with, folder):
        """16 times the documents is the most that was compared with real text."""
        most, more = (context_with(data=(str(folder),), corpus_size=size) for size in (6400, 6401))
        assert most.ask("search.kept", REFERENCE, "float16").verdict == "pass"
        judged = more.ask("search.kept", REFERENCE, "float16")
        assert judged.unjudged
        assert "6401 vectors are grown from 400 documents" in judged.diagnosis.cause
        assert judged.value > 0.99
        for each in (most, more):
            each.close()


class TestRanges:
    @pytest.mark.parametrize("precision", ["float16", "int8", "uint8", "binary", "ubinary"])
    def test_sound_codes_are_green(self, context, precision):
        judged = context.ask("codes", REFERENCE, precision)
        assert judged.verdict == "pass", judged.message

    def ranges(self, context, rows: int) -> np.ndarray:
        vectors = context.of(StoredVectors).searched(context.session.run(REFERENCE)).vectors
        return np.stack([vectors.documents[:rows].min(axis=0), vectors.documents[:rows].max(axis=0)])

    def test_of_ten_vectors_are_red(self, context, context_with, folder, tmp_path):
        """From a file, which does not say how many: by the values that they cut off."""
        np.save(tmp_path / "ten.npy", self.ranges(context, 10))
        made = context_with(data=(str(folder),), ranges=tmp_path / "ten.npy")
        judged = made.ask("codes", REFERENCE, "int8")
        red(judged, "ranges", "cut off", "taken from too few or other vectors", "store all of them again")
        assert made.ask("codes", REFERENCE, "binary").verdict == "pass", "bits have no ranges"
        made.close()

    def test_of_enough_vectors_from_a_file_are_green(self, context, context_with, folder, tmp_path):
        np.save(tmp_path / "all.npy", self.ranges(context, 3200))
        made = context_with(data=(str(folder),), ranges=tmp_path / "all.npy")
        judged = made.ask("codes", REFERENCE, "int8")
        assert judged.verdict == "pass", judged.message
        assert "all.npy" in judged.message
        made.close()

    def test_of_vectors_that_are_not_normalised_are_red(self, context, context_with, folder, tmp_path):
        np.save(tmp_path / "wide.npy", 7 * self.ranges(context, 3200))
        made = context_with(data=(str(folder),), ranges=tmp_path / "wide.npy")
        red(made.ask("codes", REFERENCE, "uint8"), "ranges", " times as wide", "not normalised")
        made.close()

    def test_too_few_documents_are_no_fault_of_the_combination(self, context_with, tmp_path):
        rows = [{"text": f"{number} of the small things", "label": str(number % 2)} for number in range(100)]
        (tmp_path / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        made = context_with(data=(str(tmp_path / "small.jsonl"),), baselines=tmp_path / "gate")
        judged = made.ask("codes", REFERENCE, "int8")
        assert judged.verdict == "inconclusive"
        assert "taken from 90 vectors" in judged.message
        assert judged.unjudged
        made.close()


class TestCollapsed:
    @pytest.mark.slow("an encoder that tells no texts apart is red, with its cause")
    def test_an_encoder_that_tells_nothing_apart_is_red(self, context_with, folder, monkeypatch):
        """Every embedding is the same: its ten nearest are any ten, by whatever storage."""
        monkeypatch.setattr("embedgate.vectors.nearest.MOST_TIES", 128)
        # Nothing is grown: beside vectors that are all alike, rounding alone would tell the grown ones apart.
        made = context_with({COLLAPSED.id: collapsed}, data=(str(folder),), corpus_size=400)
        for storage in (Storage("binary"), Storage("float16")):
            judged = made.ask("search.kept", COLLAPSED, str(storage))
            red(judged, "order", "documents score alike for one query", "every text gets one and the same vector")
            assert judged.message.startswith(f"corpus-400:few@{storage} kept_at_10 cannot be measured")
        made.close()

    @pytest.mark.slow("embeddings that are all alike are red by their neighbours")
    def test_its_neighbours_are_lost(self, context):
        judged = context.ask("search.kept", COLLAPSED, "binary")
        red(judged, "codes", "of the ten that exact float32 search finds among 3200 vectors")

    def test_its_searches_are_not_timed(self, context, monkeypatch):
        def refuse(run):
            raise Indistinct(4096)

        monkeypatch.setattr(context.of(StoredVectors), "timing", refuse)
        judged = context.ask("search speed", REFERENCE, "faiss-exact-int8-batch64", benchmark=Timed())
        assert judged.verdict == "fail"
        assert "cannot be measured: 4096 or more documents score alike" in judged.message


class TestMixtures:
    @pytest.mark.parametrize("mixture", MIXTURES)
    def test_two_ways_of_running_one_model_share_an_index(self, context, mixture):
        judged = context.ask("mixed", SAME, mixture)
        assert judged.verdict == "pass", judged.message
        assert judged.value > 0.95

    @pytest.mark.parametrize("mixture", MIXTURES)
    def test_two_models_do_not(self, context, mixture):
        judged = context.ask("mixed", ROTATED, mixture)
        red(judged, "scores", "queries and documents have no space in common", "embed queries and documents with one")
        assert judged.value < 0.6, "half of an index may still be found"

    def test_other_dimensions_are_told(self, context):
        judged = context.ask("mixed", NARROW, "mixed-queries-float32")
        red(judged, "dimension", "128 dimensions cannot share an index with the reference's 384")


class TestEngines:
    @pytest.mark.parametrize(
        ("name", "factory", "cause"),
        [
            ("a b", Exact, "'a b' cannot name an engine"),
            (3, Exact, "3 cannot name an engine"),
            ("acme", None, "the factory of engine 'acme' is no function: None"),
            ("faiss", Exact, "an engine is named 'faiss' already"),
            ("usearch-exact-int8", Exact, "an engine is named 'usearch-exact-int8' already"),
            ("binary", Exact, "'binary' names a storage"),
            ("int8-rescore4", Exact, "'int8-rescore4' names a storage"),
            ("default", Exact, "'default' names a storage"),
        ],
    )
    def test_names_and_factories_that_mean_nothing_are_refused(self, name, factory, cause):
        with pytest.raises(GateError, match=cause):
            EngineRegistry().add(name, factory)

    def test_a_name_is_taken_once(self):
        registry = EngineRegistry()
        registry.add("acme", Exact)
        with pytest.raises(GateError, match="an engine is named 'acme' already"):
            registry.add("acme", Exact)

    @pytest.mark.parametrize("case", [c for c in EngineRegistry().select(()) if c.kind == "exact"], ids=str)
    def test_exact_indexes_are_exact(self, context, case):
        judged = context.ask("engine", REFERENCE, case.id)
        assert judged.verdict == "pass", judged.message
        assert judged.value == 1.0

    @pytest.mark.parametrize("name", ["faiss-hnsw-int8", "usearch-hnsw-float32"])
    def test_graphs_find_nearly_all(self, context, name):
        judged = context.ask("engine", REFERENCE, name)
        assert judged.verdict == "pass", judged.message
        assert 0.9 < judged.value <= 1

    @pytest.mark.parametrize("name", ["exact", "rescored", "bits-first"])
    def test_a_sound_one_of_a_host_is_green(self, context, name):
        judged = context.ask("engine", REFERENCE, name)
        assert judged.verdict == "pass", judged.message
        assert judged.value > 0.97

    @pytest.mark.parametrize(
        ("name", "layer", "cause"),
        [
            ("shuffled", "ids", "documents are shuffled against their ids"),
            ("half-shuffled", "ids", "documents are shuffled against their ids"),
            ("one-off", "ids", "documents are stored under ids that are +1 off"),
            ("worst-first", "index", "it ranks the worst first"),
            ("furthest", "index", "it ranks the worst first"),
            ("opposite", "index", "it ranks the worst first"),
            ("twice", "ids", "returns a document twice for 120 of 120 queries"),
            ("missing", "ids", "returns -1, and there are documents 0 to 3199"),
        ],
    )
    def test_faults_are_red_and_named(self, context, name, layer, cause):
        red(context.ask("engine", REFERENCE, name), layer, cause)

    def test_one_that_changes_what_it_is_given_changes_nothing_else(self, context):
        before = context.of(StoredVectors).searched(context.session.run(REFERENCE)).vectors.documents.copy()
        context.ask("engine", REFERENCE, "spoils")
        assert np.array_equal(
            context.of(StoredVectors).searched(context.session.run(REFERENCE)).vectors.documents, before
        )

    @pytest.mark.parametrize("name", ["bits-sound", "bits", "by-place", "places"])
    def test_what_is_no_known_fault_is_called_none(self, context, name):
        """Sound bits lose more than is tolerated of an engine unless `[stored.<name>]` says otherwise; the rest is wrong."""
        judged = context.ask("engine", REFERENCE, name)
        red(judged, "index", f"{name} finds other documents than exact search by cosine", f"[stored.{name}]")
        assert (
            "a tolerances.toml in a folder of your own (--gate-baselines), which need hold nothing else"
            in judged.explain()
        )

    def test_one_that_raises_is_an_error_in_one_line(self, context):
        with pytest.raises(BuildError, match=r"engine raises failed: .*no_such_thing") as told:
            context.ask("engine", REFERENCE, "raises")
        assert "\n" not in str(told.value)

    def test_one_that_calls_sys_exit_is_an_error_and_what_it_changes_is_put_back(self, context):
        here = os.getcwd()
        with pytest.raises(BuildError, match=r"engine exits called sys.exit\(4\) while searching; "):
            context.ask("engine", REFERENCE, "exits")
        assert os.getcwd() == here
        (line,) = context.changes
        assert line.startswith(f"engine exits changed the working directory from {here} to / while building; ")
        assert context.ask("engine", REFERENCE, "exact").verdict == "pass"

    def test_distance_of_vectors_that_are_not_normalised_is_red(self, context_with, folder, model, tmp_path):
        """A model that leaves lengths alone, and an index that ranks by L2."""
        bare = tmp_path / "bare"
        shutil.copytree(model.path, bare)
        modules = json.loads((bare / "modules.json").read_text())
        (bare / "modules.json").write_text(json.dumps(modules[:-1]))
        added = {"distance": Distance, "of-unit-queries": DistanceOfUnitQueries, "exact": Exact}
        made = context_with(added_engines=added, model=str(bare), data=(str(folder),))
        assert not made.plan.model.normalises
        judged = made.ask("engine", REFERENCE, "distance")
        red(judged, "index", "ranks by L2 distance of vectors that are not normalised", "normalise vectors before")
        judged = made.ask("engine", REFERENCE, "of-unit-queries")
        red(judged, "index", "ranks by L2 distance of documents that are not normalised", "normalise vectors before")
        assert made.ask("engine", REFERENCE, "exact").verdict == "pass"
        made.close()
