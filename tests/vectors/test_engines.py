"""Engines against exact search by numpy, and rescoring against Sentence Transformers' own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from embedgate.core.errors import BuildError, GateError, Unavailable
from embedgate.vectors import rescoring
from embedgate.vectors.codes import BITS, NEEDS_RANGES, Codes, Ranges, decode, stored, unsigned
from embedgate.vectors.engines import base as engines
from embedgate.vectors.engines import faiss, qdrant, usearch
from embedgate.vectors.engines.base import EngineCase, EngineRegistry, distributions, expansion_search
from embedgate.vectors.rescoring import find, rescored
from embedgate.vectors.storage import EMBEDDING_PRECISIONS, RESULTS, Storage

DIM = 64
# What is offered without a service: the one that there is asks for more than its client's embedded mode has.
OFFERED = [
    (case.engine, case.kind, case.precision)
    for case in EngineRegistry().known_cases()
    if case.engine != "qdrant" or (case.kind, case.precision) == ("exact", "float32")
]
EXACT = [(name, precision) for name, kind, precision in OFFERED if kind == "exact"]


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv(qdrant.URL, raising=False)


def normalised(count, dim=DIM, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def documents(precision, count=500, dim=DIM):
    vectors = normalised(count, dim)
    return stored(vectors, precision, Ranges.of(vectors))


def as_queries(codes, count=7):
    vectors = normalised(count, codes.dim, seed=1)
    return stored(vectors, codes.precision, codes.ranges).matrix


def all_scores(codes, queries):
    """What an index should say of every document, float64 `[q, n]`."""
    if codes.precision in BITS:
        ours, theirs = unsigned(queries, codes.precision), unsigned(codes.matrix, codes.precision)
        return -np.unpackbits(ours[:, None] ^ theirs[None], axis=-1).sum(axis=-1).astype(np.float64)
    return queries.astype(np.float64) @ codes.matrix.astype(np.float64).T


def agrees(codes, queries, scores, ids, k):
    """Whether these are the `k` best: by their scores, since of equal ones any may come first."""
    everything = all_scores(codes, queries)
    best = -np.sort(-everything, axis=1)[:, :k]
    # Integers are exact; float16 and float32 are summed in another order.
    near = {"rtol": 0, "atol": 1e-6} if codes.precision.startswith("float") else {"rtol": 0, "atol": 0}
    if queries.dtype == np.float32 and codes.precision in NEEDS_RANGES:
        near = {"rtol": 1e-5, "atol": 1e-5}
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64
    np.testing.assert_allclose(scores, best, **near)
    np.testing.assert_allclose(np.take_along_axis(everything, ids, axis=1), best, **near)
    assert all(len(set(row)) == k for row in ids.tolist())


@pytest.mark.parametrize(("name", "precision"), EXACT)
@pytest.mark.parametrize("dim", [DIM, 60])
def test_exact_search_finds_what_numpy_finds(name, precision, dim):
    codes = documents(precision, dim=dim)
    index = engines.engines()[name].build(codes, "exact", 1)
    queries = as_queries(codes)
    for k in (1, 10, len(codes)):
        agrees(codes, queries, *index.search(queries, k), k)
    agrees(codes, queries[:1], *index.search(queries[:1], 10), 10)
    index.close()


@pytest.mark.parametrize(("name", "precision"), [(n, p) for n, p in EXACT if n != "qdrant"])
def test_sums_of_the_largest_codes_are_exact(name, precision):
    codes = documents(precision, dim=384)
    if precision in NEEDS_RANGES:
        extremes = np.iinfo(codes.matrix.dtype)
        codes.matrix[:100] = np.random.default_rng(2).choice([extremes.min, extremes.max], (100, 384))
        # A float32 holds sums up to 2^24, which those of two uint8 codes can exceed; theirs are kept below.
        codes.matrix[:100, 256:] //= 2
    queries = codes.matrix[:7]
    agrees(codes, queries, *engines.engines()[name].build(codes, "exact", 1).search(queries, 10), 10)


@pytest.mark.parametrize(("name", "kind", "precision"), [case for case in OFFERED if case[1] == "hnsw"])
def test_graphs_find_nearly_all(name, kind, precision):
    codes = documents(precision)
    index = engines.engines()[name].build(codes, kind, 1)
    queries = as_queries(codes, 30)
    scores, ids = index.search(queries, 10)
    everything = all_scores(codes, queries)
    np.testing.assert_allclose(scores, np.take_along_axis(everything, ids, axis=1), rtol=0, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    least = -np.sort(-everything, axis=1)[:, 9:10]
    assert (scores >= least - 1e-6).mean() > 0.9
    assert index.size > codes.matrix.nbytes
    one, row = index.search(queries[:1], 10)
    assert one.shape == row.shape == (1, 10)


@pytest.mark.parametrize(("name", "kind", "precision"), OFFERED)
def test_documents_in_several_chunks_keep_their_rows(name, kind, precision, monkeypatch, tmp_path):
    monkeypatch.setattr("embedgate.vectors.engines.base.CHUNK", 64)
    codes = documents(precision, 150)
    np.save(tmp_path / "codes.npy", codes.matrix)
    mapped = Codes(precision, np.load(tmp_path / "codes.npy", mmap_mode="r"), codes.dim, codes.ranges)
    queries = np.asfortranarray(codes.matrix[[3, 70, 149]])
    index = engines.engines()[name].build(mapped, kind, 2)
    _, ids = index.search(queries, 40)
    # A uint8 vector's greatest inner product need not be that with itself.
    rows = np.argmax(all_scores(codes, queries), axis=1) if precision == "uint8" else [3, 70, 149]
    assert ids[:, 0].tolist() == list(rows)
    index.close()


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("precision", NEEDS_RANGES)
@pytest.mark.parametrize("dim", [64, 60])
def test_faiss_ranks_by_float_queries_and_by_codes_in_turn(kind, precision, dim):
    """Products of integers, which serve dimensions in multiples of 16, would cut off what is behind the point."""
    codes = documents(precision, dim=dim)
    index = faiss.build(codes, kind, 1)
    assert index.float_queries
    vectors = normalised(5, dim, seed=1)
    floats, integers = vectors * codes.ranges.step, as_queries(codes, 5)
    for queries in (floats, integers, floats):
        scores, ids = index.search(queries, 10)
        everything = all_scores(codes, queries)
        np.testing.assert_allclose(scores, np.take_along_axis(everything, ids, axis=1), rtol=1e-5, atol=1e-5)
        if kind == "exact":
            agrees(codes, queries, scores, ids, 10)
    decoded = decode(codes.matrix, precision, dim, codes.ranges)
    if kind == "exact":
        best = -np.sort(-(vectors @ decoded.T), axis=1)[:, :10]
        _, ids = index.search(floats, 10)
        np.testing.assert_allclose(np.take_along_axis(vectors @ decoded.T, ids, axis=1), best, atol=1e-5)


def test_faiss_answers_float_queries_and_codes_from_two_threads():
    codes = documents("int8")
    index = faiss.build(codes, "exact", 1)
    search = index._index.search

    class Slow:
        def search(self, *args):
            time.sleep(0.002)  # the other thread has its chance to switch the quantizer
            return search(*args)

    index._index = Slow()
    wrong = []

    def ask(queries):
        wanted = -np.sort(-all_scores(codes, queries), axis=1)[:, :3]
        answers = [index.search(queries, 3)[0] for _ in range(10)]
        wrong.extend(1 for answer in answers if not np.allclose(answer, wanted, rtol=1e-4, atol=1e-4))

    asked = normalised(5, seed=1) * codes.ranges.step, as_queries(codes, 5)
    threads = [threading.Thread(target=ask, args=(queries,)) for queries in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_faiss_leaves_the_process_its_threads():
    import faiss as library

    codes = documents("float32")
    before = library.omp_get_max_threads()
    other = before % 2 + 1
    index = faiss.build(codes, "exact", other)
    seen = []
    search = index._index.search

    class Watched:
        def search(self, *args):
            seen.append(library.omp_get_max_threads())
            return search(*args)

    index._index = Watched()
    index.search(as_queries(codes), 3)
    assert seen == [other]
    assert library.omp_get_max_threads() == before
    with pytest.raises(AttributeError):
        faiss.FaissIndex.search(index, None, 3)
    assert library.omp_get_max_threads() == before


@pytest.mark.slow("faiss and torch compute in one process, whichever is imported first")
@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_faiss_and_torch_compute_in_one_process(first):
    """Both bring an OpenMP of their own; in whichever order they are loaded, both compute and threads are restored."""
    script = f"""
import {first}
import faiss, torch, numpy as np
from embedgate.vectors.codes import stored
from embedgate.vectors.engines import faiss as engine
torch.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
index = engine.build(stored(x, "float32"), "exact", 1)
for _ in range(3):
    scores, ids = index.search(x[:40], 5)
    y = torch.from_numpy(x[:40]) @ torch.from_numpy(x).T
    assert np.allclose(scores, y.topk(5).values.numpy(), atol=1e-3)
assert torch.get_num_threads() == 2
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", engines.engines())
def test_wrong_queries_are_told_before_the_library_sees_them(name):
    codes = documents("float32", 20)
    index = engines.engines()[name].build(codes, "exact", 1)
    queries = as_queries(codes)
    for wrong, k, message in (
        (queries.astype(np.float64), 3, "float64"),
        (queries[:, :-1], 3, "width"),
        (queries[0], 3, "shape"),
        (queries, 21, "21 results"),
        (queries, 0, "0 results"),
        (queries[:0], 3, "no query"),
    ):
        with pytest.raises(ValueError, match=message):
            index.search(wrong, k)
    index.close()


def test_usearch_takes_no_float_queries_of_codes():
    codes = documents("int8", 20)
    index = usearch.build(codes, "exact", 1)
    assert not index.float_queries
    with pytest.raises(ValueError, match="float32 queries"):
        index.search(normalised(2), 3)
    with pytest.raises(ValueError, match="takes no float32 queries"):
        find(index, codes, Storage("int8", float_queries=True), normalised(2))


@pytest.mark.parametrize("count", [1, 3])
def test_places_that_a_graph_leaves_empty_are_marked(count):
    codes = documents("float32", 20)
    queries = as_queries(codes, count)
    index = usearch.build(codes, "hnsw", 1)
    for row in range(5, 20):
        index._index.remove(row)
    few = faiss.build(codes, "hnsw", 1)
    search = few._index.search

    class Short:
        def search(self, queries, k):
            scores, ids = search(queries, k)
            scores[:, 5:], ids[:, 5:] = np.finfo(np.float32).max, -1
            return scores, ids

    few._index = Short()
    for built in (index, few):
        scores, ids = built.search(queries, 8)
        assert scores.shape == ids.shape == (count, 8)
        assert (ids[:, 5:] == -1).all()
        assert (ids[:, :5] >= 0).all()
        assert np.isneginf(scores[:, 5:]).all()
        assert np.isfinite(scores[:, :5]).all()


@pytest.mark.parametrize("precision", EMBEDDING_PRECISIONS)
@pytest.mark.parametrize("count", [1, 7])
def test_a_graph_of_copies_leaves_places_empty(precision, count):
    """Copies link to copies, and the rest is out of reach: faiss returns no distance there, of bits the least number."""
    vectors = np.repeat(normalised(50), 40, axis=0)
    codes = stored(vectors, precision, Ranges.of(vectors))
    index = faiss.build(codes, "hnsw", 1)
    scores, ids = index.search(as_queries(codes, count), 200)
    assert (ids[:, -1] == -1).all()
    assert np.array_equal(ids < 0, np.isneginf(scores))
    assert (ids[:, 0] >= 0).all()


def test_larger_collections_are_looked_through_further():
    assert [expansion_search(count) for count in (10, 10_000, 65_536, 100_000, 1_000_000)] == [64, 64, 64, 79, 250]


def test_graphs_look_at_as_many_candidates_as_their_documents_ask_for(monkeypatch):
    monkeypatch.setattr(engines, "PER_ROOT", 4.0)
    codes = documents("float32", 400)
    assert faiss.build(codes, "hnsw", 1)._index.hnsw.efSearch == 80
    assert usearch.build(codes, "hnsw", 1)._index.expansion_search == 80


@pytest.mark.parametrize(
    ("precision", "width"), [("float32", 256), ("float16", 128), ("int8", 64), ("uint8", 64), ("ubinary", 8)]
)
def test_exact_indexes_take_the_bytes_of_their_codes(precision, width):
    codes = documents(precision)
    for module in (faiss, usearch):
        assert module.build(codes, "exact", 1).size == 500 * width


def test_engines_say_what_they_do_not_offer():
    with pytest.raises(BuildError, match="qdrant has no exact index of int8"):
        qdrant.build(documents("int8"), "exact", 1)


def test_a_module_in_the_package_is_an_engine():
    """Nothing else lists engines, so that adding one touches one source file."""
    modules = {path.stem for path in Path(engines.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert set(engines.engines()) == modules
    for name, module in engines.engines().items():
        assert (module.ENGINE.name, module.__name__) == (name, f"embedgate.vectors.engines.{name}")
        assert all(set(precisions) <= set(EMBEDDING_PRECISIONS) for precisions in module.ENGINE.offers.values())
    usual = [module.ENGINE.usual for module in engines.engines().values()]
    assert usual == sorted(usual, reverse=True)
    assert {"faiss-cpu", "usearch", "qdrant-client"} <= set(distributions())
    assert all(importlib.metadata.version(name) for name in distributions())


def test_engines_are_listed_without_their_libraries():
    script = """
import sys
libraries = "faiss", "usearch", "qdrant_client", "torch"
sys.modules.update(dict.fromkeys(libraries))  # an import of one fails
from embedgate.vectors.engines.base import EngineRegistry
assert {"faiss", "usearch", "qdrant"} <= {case.engine for case in EngineRegistry().known_cases()}
assert EngineRegistry().select(("faiss-*", "qdrant-hnsw-uint8"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_there_is_depends_on_no_environment(monkeypatch):
    """`expected_failures.toml` names indexes: it is valid or not wherever it is read."""
    alone = EngineRegistry().known_cases()
    monkeypatch.setenv(qdrant.URL, "http://127.0.0.1:1")
    assert EngineRegistry().known_cases() == alone
    assert EngineCase("qdrant", "hnsw", "uint8") in alone


@pytest.mark.parametrize("name", engines.engines())
def test_engines_run_here_and_say_what_is_missing_elsewhere(name, monkeypatch):
    module = engines.engines()[name]
    assert module.unavailable() is None

    def missing(library):
        raise ImportError(f"No module named {library!r}")

    monkeypatch.setattr(engines, "import_module", missing)
    said = module.unavailable()
    assert f"embedgate[{module.ENGINE.extra}]" in said
    assert "\n" not in said


# Qdrant


@pytest.fixture
def server(monkeypatch):
    """The embedded mode in the place of a server, which is not reached when its client is closed."""
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    client.close = lambda: None
    monkeypatch.setenv(qdrant.URL, "http://of.the.tests")
    building = _Building(client)
    monkeypatch.setattr(qdrant, "_client", lambda: building)
    return building


def test_qdrant_deletes_its_collection(server):
    index = qdrant.build(documents("float32", 20), "exact", 1)
    assert len(server.get_collections().collections) == 1
    index.close()
    assert not server.get_collections().collections
    server.upload_collection = lambda *args, **options: 1 / 0
    with pytest.raises(ZeroDivisionError):
        qdrant.build(documents("float32", 20), "exact", 1)
    assert not server.get_collections().collections


class _Building:
    """The embedded mode with what a server says while it builds a graph; `asked` is what it was asked for."""

    def __init__(self, client):
        self._client = client
        self.asked = {}
        self.waits = 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def create_collection(self, name, **options):
        self.asked = options
        return self._client.create_collection(name, **options)

    def get_collection(self, name):
        self.waits += 1
        found = self._client.get_collection(name)
        return found.model_copy(update={"indexed_vectors_count": found.points_count if self.waits > 1 else 0})

    def query_batch_points(self, name, requests):
        self.requests = requests
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Local mode performs exact")
            return self._client.query_batch_points(name, requests)


def test_qdrant_is_waited_for_until_it_has_built_a_graph(server):
    """What the requests say; the embedded mode answers them with exact search."""
    codes = documents("float32", 300)
    index = qdrant.build(codes, "hnsw", 3)
    assert server.waits == 2
    assert server.asked["hnsw_config"].m == engines.CONNECTIVITY
    assert server.asked["hnsw_config"].max_indexing_threads == 3
    queries = as_queries(codes, 3)
    agrees(codes, queries, *index.search(queries, 5), 5)
    assert (server.requests[0].params.exact, server.requests[0].params.hnsw_ef) == (False, expansion_search(300))
    index.close()


def test_qdrant_without_an_answer_is_told_in_one_line(monkeypatch):
    for url in ("http://127.0.0.1:1", "nowhere:::"):
        monkeypatch.setenv(qdrant.URL, url)
        with pytest.raises(Unavailable, match=qdrant.URL) as told:
            qdrant.build(documents("float32", 20), "hnsw", 1)
        assert url in told.value.cause
        assert "\n" not in str(told.value)
        assert url in qdrant.unavailable()


@pytest.mark.parametrize(("kind", "precision"), [("hnsw", "float32"), ("exact", "float16"), ("exact", "uint8")])
def test_qdrants_embedded_mode_is_not_asked_for_what_a_server_does(kind, precision):
    reason = f"Qdrant's embedded mode has no {kind} index of {precision} vectors: name a server in {qdrant.URL}"
    assert EngineRegistry().unavailable(EngineCase("qdrant", kind, precision), 20) == reason
    assert EngineRegistry().unavailable(EngineCase("qdrant", "exact", "float32"), 20) is None
    with pytest.raises(Unavailable, match=reason):
        qdrant.build(documents(precision, 20), kind, 1)


def test_qdrants_embedded_mode_is_not_asked_to_hold_many_documents(monkeypatch):
    assert qdrant.unavailable(qdrant.MOST_EMBEDDED) is None
    assert "takes 20,000 documents, not 20,001: name a server" in qdrant.unavailable(qdrant.MOST_EMBEDDED + 1)
    monkeypatch.setenv(qdrant.URL, "http://127.0.0.1:1")
    assert "127.0.0.1" in qdrant.unavailable(qdrant.MOST_EMBEDDED + 1)


def test_qdrant_refusing_is_no_absence():
    from qdrant_client.http.exceptions import UnexpectedResponse

    with pytest.raises(GateError, match="Qdrant refused") as told, qdrant._told():
        raise UnexpectedResponse(400, "Bad Request", b'{"status":"no\n"}', None)
    assert not isinstance(told.value, Unavailable)
    assert "\n" not in str(told.value)


# Rescoring


def _theirs(outcome):
    results = outcome[0]
    return np.array([[hit["score"] for hit in row] for row in results]), np.array(
        [[hit["corpus_id"] for hit in row] for row in results]
    )


@pytest.mark.parametrize("rescore", [0, 1, 4])
@pytest.mark.parametrize(
    ("name", "precision"),
    [("faiss", "uint8"), ("faiss", "ubinary"), ("usearch", "int8"), ("usearch", "binary"), ("usearch", "ubinary")],
)
def test_searches_are_those_of_sentence_transformers(name, precision, rescore):
    from sentence_transformers.util.quantization import semantic_search_faiss, semantic_search_usearch

    codes = documents(precision, 300, dim=384)
    storage = Storage(precision, rescore)
    queries = normalised(300, 384, seed=1)
    # Of candidates that tie at the cut, each library may keep others.
    first = -np.sort(-all_scores(codes, stored(queries, precision, codes.ranges).matrix), axis=1)
    queries = queries[first[:, storage.candidates - 1] > first[:, storage.candidates]]
    assert len(queries) > 20
    theirs = {"faiss": semantic_search_faiss, "usearch": semantic_search_usearch}[name]
    scores, ids = _theirs(
        theirs(
            queries,
            corpus_embeddings=codes.matrix,
            corpus_precision=precision,
            top_k=RESULTS,
            ranges=codes.ranges.both,
            rescore=rescore > 0,
            rescore_multiplier=max(1, rescore),
        )
    )
    index = engines.engines()[name].build(codes, "exact", 1)
    ours, rows = find(index, codes, storage, queries)
    assert ours.dtype == np.float32
    if rescore:
        np.testing.assert_array_equal(rows, ids)
    else:
        np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(ids, axis=1))
    if rescore and precision in BITS:
        # They score bits as 0 and 1, which ranks alike.
        ours = (ours + queries.sum(axis=1, keepdims=True)) / 2
    elif not rescore and precision != "uint8":
        # Theirs are distances.
        ours = 1 - ours if precision == "int8" else -ours
    np.testing.assert_allclose(ours, scores, rtol=1e-5, atol=1e-4)


def test_fewer_documents_than_candidates():
    codes = documents("int8", 7)
    for module in (faiss, usearch):
        for kind in ("exact", "hnsw"):
            scores, ids = find(module.build(codes, kind, 1), codes, Storage("int8", 8), normalised(4, seed=1))
            assert scores.shape == ids.shape == (4, 7)
            assert np.sort(ids, axis=1).tolist() == [list(range(7))] * 4


@pytest.mark.parametrize("precision", EMBEDDING_PRECISIONS)
def test_scores_follow_the_order_of_their_candidates(precision, monkeypatch):
    codes = documents(precision, 100)
    queries = normalised(9, seed=1)
    ids = np.random.default_rng(3).permuted(np.tile(np.arange(100), (9, 1)), axis=1)[:, :20]
    ids[2, 4] = -1
    everything = queries @ decode(codes.matrix, precision, DIM, codes.ranges).T
    wanted = np.take_along_axis(everything, ids, axis=1)
    wanted[2, 4] = -np.inf
    for gathered in (rescoring.GATHERED, 1):
        monkeypatch.setattr(rescoring, "GATHERED", gathered)
        found = rescored(queries, codes, ids)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_what_a_graph_did_not_find_is_not_rescored_to_the_top():
    codes = documents("int8", 50)

    class Short:
        float_queries = True

        def search(self, queries, k):
            ids = np.full((len(queries), k), -1, np.int64)
            ids[:, :3] = [7, 5, 6]
            return np.zeros(ids.shape, np.float32), ids

    queries = normalised(4, seed=1)
    scores, ids = find(Short(), codes, Storage("int8", 2), queries)
    assert np.sort(ids[:, :3], axis=1).tolist() == [[5, 6, 7]] * 4
    assert (ids[:, 3:] == -1).all()
    assert (np.diff(scores[:, :3], axis=1) <= 0).all()


def test_float_queries_search_by_decoded_documents():
    codes = documents("int8", 300)
    queries = normalised(6, seed=1)
    _, ids = find(faiss.build(codes, "exact", 1), codes, Storage("int8", float_queries=True), queries)
    everything = queries @ decode(codes.matrix, "int8", DIM, codes.ranges).T
    np.testing.assert_allclose(
        np.take_along_axis(everything, ids, axis=1), -np.sort(-everything, axis=1)[:, :RESULTS], atol=1e-5
    )


def test_the_offset_of_uint8_codes_matters_to_products_of_codes_alone():
    """Why float queries are offered: products of two uint8 codes rank by the sum of a document's codes first."""
    found = {}
    for precision in NEEDS_RANGES:
        codes = documents(precision, 300)
        index = faiss.build(codes, "exact", 1)
        queries = normalised(300)  # the documents themselves
        own = np.arange(300)[:, None]
        by_codes, by_floats = Storage(precision), Storage(precision, float_queries=True)
        found[precision] = find(index, codes, by_codes, queries)[1][:, :1] == own
        assert (find(index, codes, by_floats, queries)[1][:, :1] == own).all()
    assert found["int8"].all()
    assert found["uint8"].mean() < 0.5


def test_usearch_holds_few_pairs_at_a_time(monkeypatch):
    """It keeps every pair of a query and a document until it sorts: 449 queries of a million documents are 7 GB."""
    codes = documents("int8")
    queries = as_queries(codes, 7)
    whole = usearch.build(codes, "exact", 1).search(queries, 5)
    monkeypatch.setattr(usearch, "MOST_PAIRS", 2 * len(codes))
    parts = usearch.build(codes, "exact", 1).search(queries, 5)
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])
