"""Stored vectors as candidates: sound ones are green, and each fault is red by its name."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import indexes
from helpers.faults import cls_pooling, load
from helpers.prompted import with_prompts

from embedgate.checks.approvals import Approvals
from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement
from embedgate.core.roles import Input
from embedgate.data import load_bundled
from embedgate.deployed import source_of
from embedgate.vectors.codes import Ranges, decode, quantize

ROWS = 60


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cut(vectors: np.ndarray, dims: int = 128) -> np.ndarray:
    return np.ascontiguousarray(vectors[:, :dims])


def changed(vectors: np.ndarray, rows: object, to: object) -> np.ndarray:
    """A copy with other vectors in some rows."""
    found = vectors.copy()
    found[rows] = to
    return found


@pytest.fixture(scope="module")
def model(small, tmp_path_factory):
    """The small model with prompts, whose documents and queries differ."""
    return with_prompts(small, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def texts():
    return sorted(load_bundled("passages").documents, key=len)[:ROWS]


@pytest.fixture(scope="module")
def encoder(model):
    return load(model.path)


@pytest.fixture(scope="module")
def vectors(encoder, texts):
    return encoder.encode_document(texts)


@pytest.fixture(scope="module")
def older(model, tmp_path_factory):
    """Another model, which the gated one replaces."""
    folder = tmp_path_factory.mktemp("models") / "older"
    cls_pooling(model.path, "cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder, older, texts, vectors) -> dict[str, str]:
    """Stores by name, as `--gate-candidate` takes them."""
    folder = tmp_path_factory.mktemp("stores")
    queries, plain = encoder.encode_query(texts), encoder.encode(texts, prompt="")
    ranges = Ranges.of(vectors)
    np.save(folder / "ranges.npy", ranges.both)
    half = ROWS // 2
    other = unit(np.random.default_rng(0).standard_normal(vectors.shape)).astype(np.float32)
    found: dict[str, str] = {}

    def keep(name: str, stored: np.ndarray, **keys: object) -> None:
        columns = {"role": keys.pop("roles")} if "roles" in keys else {}
        file = indexes.parquet(folder / f"{name}.parquet", texts, stored, **columns)
        add(name, f"{file}", **keys)

    def add(name: str, where: str, **keys: object) -> None:
        given = ",".join(f"{key}={value}" for key, value in {**keys, "name": name}.items())
        found[name] = f"{where},{given}" if "::" in where else f"{where}::{given}"

    keep("sound", vectors)
    keep("decoded", decode(quantize(vectors, "int8", ranges), "int8", vectors.shape[1], ranges))
    wide = Ranges(ranges.low - 1, ranges.high + 1, ROWS)
    keep("steps", decode(quantize(vectors, "int8", wide), "int8", vectors.shape[1], wide))
    keep("half", vectors.astype(np.float16))
    keep("coarse", vectors.astype(np.float16).astype(np.float32))
    add("lines", str(indexes.jsonl(folder / "lines.jsonl", texts, vectors)))
    add("matrix", indexes.npy(folder / "matrix.npy", texts, vectors))
    add("points", indexes.qdrant(folder / "points", texts, vectors))
    keep("few", vectors, rows=40, seed=3)
    add("few_lines", str(folder / "lines.jsonl"), rows=40)
    keep("asked", queries, role="query")
    keep("both", np.concatenate([queries[:half], vectors[half:]]), roles=["query"] * half + ["document"] * half)
    keep("short", cut(vectors), dims=128)
    keep("short_unit", unit(cut(vectors)), dims=128)
    for precision in ("int8", "uint8"):
        keep(precision, quantize(vectors, precision, ranges), ranges=folder / "ranges.npy")
    keep("rangeless", quantize(vectors, "int8", ranges))
    for precision in ("binary", "ubinary"):
        keep(precision, quantize(vectors, precision))

    keep("promptless", plain)
    keep("e5", encoder.encode([f"passage: {text}" for text in texts], prompt=""))
    keep("as_queries", queries)
    keep("long", vectors * 3)
    keep("pooled", np.concatenate([_pooled(encoder, text) for text in texts]))
    keep("unsaid", cut(vectors))
    keep("unsaid_unit", unit(cut(vectors)))
    keep("elsewhere", np.ascontiguousarray(vectors[:, 100:200]))
    keep("one_late", np.roll(vectors, 1, axis=0), rows=40)
    keep("two_early", np.roll(vectors, -2, axis=0), rows=40)
    add("late_lines", str(indexes.jsonl(folder / "late.jsonl", texts, np.roll(vectors, 1, axis=0))), rows=40)
    # A vector was lost, and then another.
    keep("twice_late", np.concatenate([vectors[:10], vectors[9:39], vectors[38:58]]))
    keep("permuted", vectors[ORDER])
    keep("mixed", changed(vectors, slice(None, None, 10), other[::10]))
    keep("upgraded", changed(vectors, slice(20), load(older).encode_document(texts[:20])))
    keep("copied", changed(vectors, slice(30, 50), vectors[30]))
    keep("broken", changed(changed(vectors, slice(5, 15), np.nan), slice(40, 45), 0))
    keep("beyond", changed(vectors.astype(np.float64), slice(5), 1e300))
    keep("signs", np.sign(vectors))
    keep("several", changed(changed(vectors, slice(30), queries[:30]), 50, np.nan))
    return found


# Of a permutation of all rows.
ORDER = np.random.default_rng(0).permutation(ROWS)


def _pooled(encoder, text: str) -> np.ndarray:
    """The embedding of one document before it is normalised."""
    (found,) = encoder.encode_document([text], output_value=None)
    return found["token_embeddings"].mean(0, keepdim=True).cpu().numpy()


@pytest.fixture(scope="module")
def ask(context_with, made, few, older) -> Callable[..., Judgement]:
    """Asks about the rows of a store, or by a metric about what is found; all in one session."""
    context = context_with(candidates=tuple(made.values()), data=(str(few),), family=1, incumbent=str(older))
    by_name = {combination.backend: combination for combination in context.plan.stored}

    def asked(name: str, metric: str = "") -> Judgement:
        return context.ask("stored.search" if metric else "stored.rows", by_name[name], metric)

    return asked


class TestSound:
    def test_a_parquet_file_is_green(self, ask):
        judgement = ask("sound")
        assert (judgement.verdict, judgement.value, judgement.n) == ("pass", 1.0, ROWS)
        assert judgement.message.startswith(f"100.00% of {ROWS} rows of ")
        assert ask("sound", "kept_at_10").value > 0.999
        assert ask("sound", "recall_at_10").value == 1

    @pytest.mark.parametrize("name", ["lines", "matrix", "points", "both", "short", "short_unit", "few_lines"])
    def test_other_stores_are_green(self, ask, name):
        assert ask(name).value == 1
        assert ask(name).verdict == ("inconclusive" if name == "few_lines" else "pass")
        assert ask(name, "kept_at_10").verdict == "pass"

    def test_float16_is_green(self, ask):
        assert ask("half").verdict == "pass"
        assert "(float16)" in ask("half").message

    def test_coarser_numbers_than_the_type_holds_are_told(self, ask):
        assert ask("coarse").verdict == "pass"
        assert "every value is one that float16 has, in float32" in ask("coarse").message
        assert "no dimension has more than 256 steps, as decoded 8-bit codes have" in ask("decoded").message

    def test_a_sample_is_drawn_of_a_large_one(self, ask):
        judgement = ask("few")
        # All 40 are right, which cannot show that 99% of all are.
        assert (judgement.verdict, judgement.value, judgement.n) == ("inconclusive", 1.0, 40)
        assert f"40 rows drawn from {ROWS} of" in judgement.message

    def test_queries_are_green_as_queries(self, ask):
        assert ask("asked").verdict == "pass"
        unjudged = ask("asked", "kept_at_10")
        assert (unjudged.verdict, unjudged.unjudged) == ("inconclusive", True)
        assert "has 0 documents among the rows drawn" in unjudged.message

    @pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
    def test_codes_are_green(self, ask, precision):
        assert ask(precision).verdict == "pass"
        assert f"({precision})" in ask(precision).message
        assert ask(precision, "kept_at_10").verdict == "pass"

    def test_codes_of_8_bits_need_their_ranges(self, ask):
        with pytest.raises(GateError, match=r"no ranges of theirs are known; give the ranges .*: ranges=FILE"):
            ask("rangeless")

    def test_a_name_and_a_promise(self, model, made):
        source = source_of(made["sound"].replace("name=sound", "name=spring,promise=fp16"), model)
        assert source.combination.id == "spring-fp16-cpu"
        assert set(source.identity) == {"sha256"}

    def test_other_texts_are_another_identity(self, model, tmp_path, vectors):
        before, now = (
            source_of(indexes.npy(tmp_path / "a.npy", [text, *"bc"], vectors[:3]), model).identity for text in "ad"
        )
        assert before != now


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "layer", "cause"),
        [
            ("promptless", "prompt", f"{ROWS} rows were embedded as if a document comes without its prompt: row 1 '"),
            ("e5", "prompt", f"{ROWS} rows were embedded as if a document comes with 'passage: ' in front: row 1 '"),
            ("as_queries", "prompt", f"{ROWS} rows were embedded as if a document is encoded as query: row 1 '"),
            (
                "long",
                "normalisation",
                f"{ROWS} rows have the right direction and another length (lengths 3.000 to 3.000, the model's 1.000 "
                "to 1.000): row 1 '",
            ),
            (
                "pooled",
                "normalisation",
                f"{ROWS} rows are not normalised: they are what comes before the model's own normalisation (lengths ",
            ),
            (
                "unsaid",
                "dimension",
                "the vectors have 128 dimensions, the model's 384: they are the first 128 of 384 in 100.0% of the rows",
            ),
            (
                "unsaid_unit",
                "dimension",
                "the vectors have 128 dimensions, the model's 384: they are the first 128 of 384 in 100.0% of the rows",
            ),
            ("elsewhere", "dimension", "the vectors have 100 dimensions, the model's 384"),
            ("one_late", "order", " rows hold the vectors of the texts 1 row further up: row "),
            ("two_early", "order", " rows hold the vectors of the texts 2 rows further down: row "),
            ("late_lines", "order", " rows hold the vectors of the texts 1 row further up: row "),
            ("permuted", "order", f" rows hold the vectors of other rows' texts (row 1 that of row {ORDER[0] + 1}, "),
            ("mixed", "unknown", "6 rows lie elsewhere, for no cause that was reproduced (cosines to the right "),
            ("upgraded", "codes", "20 rows hold the vectors of older, the incumbent: row 1 '"),
            ("copied", "codes", "19 rows hold one and the same vector, as 20 rows of those drawn do: row 32 '"),
            ("broken", "finiteness", "10 rows hold NaN or infinity: row 6 '"),
            ("signs", "codes", f"{ROWS} rows hold the signs of the right vectors alone, in float32: row 1 '"),
            ("steps", "codes", f"{ROWS} rows hold no more than 256 steps in each dimension: 8-bit codes that were"),
            ("twice_late", "order", "28 rows hold the vectors of the texts 1 row further up: row 12 '"),
            ("several", "prompt", "30 rows were embedded as if a document is encoded as query: row 1 '"),
        ],
    )
    def test_each_is_named(self, ask, name, layer, cause):
        judgement = ask(name)
        assert (judgement.verdict, judgement.diagnosis.layer) == ("fail", layer)
        assert cause in judgement.diagnosis.cause
        assert judgement.diagnosis.next_step

    @pytest.mark.parametrize("name", ["unsaid", "elsewhere", "one_late", "permuted", "copied", "broken"])
    def test_what_costs_a_search_is_red_there(self, ask, name):
        assert ask(name, "recall_at_10").verdict == "fail"
        assert ask(name, "kept_at_10").verdict == "fail"

    def test_what_costs_no_search_is_green_there(self, ask):
        """The model compares by cosine."""
        assert ask("long", "kept_at_10").verdict == "pass"

    def test_numbers_beyond_float32_are_told_and_warn_of_nothing(self, ask):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "5 rows hold NaN or infinity" in ask("beyond").diagnosis.cause

    def test_rows_and_their_texts_are_told(self, ask, texts):
        judgement = ask("mixed")
        assert (judgement.value, len(judgement.worst)) == (0.9, 5)
        assert f"row 11 '{texts[10][:20]}" in judgement.diagnosis.cause

    def test_each_cause_of_several_is_told(self, ask):
        assert ask("broken").details == (ask("broken").details[0],)
        assert ask("broken").details[0].startswith("5 rows are all zeros: row 41 '")
        assert " rows hold the vectors of the texts 2 rows further up: row " in ask("twice_late").details[0]
        assert ask("several").details[0].startswith("1 row holds NaN or infinity: row 51 '")

    def test_a_few_wrong_rows_that_are_tolerated_are_told(self, context_with, made, few, tmp_path):
        bundled = (Path(__file__).parents[2] / "baselines/tolerances.toml").read_text("utf-8")
        (tmp_path / "tolerances.toml").write_text(bundled.replace("rows_kept = 0.99", "rows_kept = 0.8"), "utf-8")
        context = context_with(candidates=(made["mixed"],), data=(str(few),), baselines=tmp_path)
        judgement = context.ask("stored.rows", context.plan.stored[0])
        assert judgement.verdict == "pass"
        assert judgement.details[0].startswith("6 rows lie elsewhere")


@pytest.fixture(scope="module")
def context(context_with, made, few):
    """The session of one store."""
    return context_with(candidates=(made["sound"],), data=(str(few),))


class TestSession:
    def test_nothing_else_is_asked_of_them(self, context):
        stored, (reference,) = context.plan.stored[0], context.plan.encoding
        assert {kind for kind, _, _ in context.checks.places(context.plan, stored)} == {"stored"}
        assert "stored" not in {kind for kind, _, _ in context.checks.places(context.plan, reference)}

    def test_no_dataset_is_encoded_for_them(self, context):
        (stored,) = context.plan.stored
        assert context.ask("stored.rows", stored).verdict == "pass"
        assert not context.session.has_run(context.plan.reference, context.plan.model)
        run = context.session.run(context.plan.reference)
        assert len(run.embeddings) == len(context.session.texts.inputs)
        assert context.session.run_of_own(context.plan.reference) is run

    def test_what_was_read_is_their_evidence(self, context):
        run = context.session.run(context.plan.stored[0])
        assert run.evidence.details == {"rows": ROWS, "drawn": ROWS, "stored": "float32", "width": 384}
        assert run.evidence.library.startswith("pyarrow ")
        with pytest.raises(GateError, match="there is no stored vector of a text"):
            context.session.embed(run, [Input("another text", "document")])

    def test_they_are_no_reference(self, context_with, made, few):
        with pytest.raises(GateError, match="is stored vectors, which know their own texts alone; name a combination"):
            context_with(candidates=(made["half"],), reference=made["sound"], data=(str(few),))

    def test_nothing_is_approved_of_them(self, context):
        context.session.run(context.plan.stored[0])
        assert context.of(Approvals).stale_keys() == []


class TestRefused:
    """Told in one line before anything runs, with what to do."""

    @pytest.fixture
    def refused(self, model):
        def refuse(where: object) -> str:
            with pytest.raises(GateError) as caught:
                _ = source_of(str(where), model).drawn
            assert caught.value.action
            assert "\n" not in str(caught.value)
            return str(caught.value)

        return refuse

    def test_no_such_file(self, refused, tmp_path):
        assert "there is no file" in refused(tmp_path / "none.parquet")

    def test_no_column_of_texts(self, refused, tmp_path, texts, vectors):
        file = indexes.parquet(tmp_path / "a.parquet", texts, vectors, names=("id", "vector"))
        assert f"{file} has no column of texts; it has 'id', 'vector'; name it: text=COLUMN" in refused(file)
        assert "has no column 'nome'" in refused(f"{file}::text=nome")

    def test_a_column_of_numbers(self, refused, tmp_path):
        pq.write_table(pa.table({"text": ["a"], "vector": [1.0]}), tmp_path / "a.parquet")
        assert "column 'vector' holds double, not vectors" in refused(tmp_path / "a.parquet")

    def test_ragged_vectors(self, refused, tmp_path):
        rows = pa.array([[0.5] * 384, [0.5] * 383], pa.list_(pa.float32()))
        pq.write_table(pa.table({"text": ["a", "b"], "vector": rows}), tmp_path / "a.parquet")
        assert "a.parquet row 2: a vector of 383 numbers, others have 384" in refused(tmp_path / "a.parquet")

    def test_vectors_without_texts_and_of_no_numbers(self, refused, tmp_path):
        file = tmp_path / "a.jsonl"
        vector = [0.5] * 384
        file.write_text(json.dumps({"text": "a", "vector": vector}) + "\n" + json.dumps({"vector": vector}), "utf-8")
        assert "a.jsonl:2: 'text' is None, not a text; give each vector its text" in refused(file)
        file.write_text(json.dumps({"text": "a", "vector": ["x"]}), "utf-8")
        assert "a.jsonl:1: no vector of numbers" in refused(file)
        file.write_text("", "utf-8")
        assert "holds no rows" in refused(file)

    def test_more_dimensions_than_the_models(self, refused, tmp_path):
        file = indexes.jsonl(tmp_path / "a.jsonl", ["a"], np.ones((1, 768)) / 2)
        assert "holds vectors of 768 numbers, float32 ones of this model have 384" in refused(file)

    def test_texts_of_another_number(self, refused, tmp_path, vectors):
        where = indexes.npy(tmp_path / "a.npy", ["one"], vectors)
        assert f"holds {ROWS} vectors, and {tmp_path / 'a.txt'} 1 texts" in refused(where)
        assert "holds vectors without texts" in refused(tmp_path / "a.npy")
        assert "there is no file of texts" in refused(f"{tmp_path / 'a.npy'}::texts=none.txt")

    def test_a_pickle_and_a_header_that_lies(self, refused, tmp_path):
        np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
        (tmp_path / "a.txt").write_text("one\n", "utf-8")
        assert "cannot be read: ValueError" in refused(f"{tmp_path / 'a.npy'}::texts={tmp_path / 'a.txt'}")
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (200000000, 1000), }".ljust(117) + "\n"
        lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        (tmp_path / "b.npy").write_bytes(lie)
        assert "mmap length is greater than file size" in refused(f"{tmp_path / 'b.npy'}::texts={tmp_path / 'a.txt'}")

    def test_no_parquet_file(self, refused, tmp_path):
        (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
        assert "a.parquet: not a Parquet file: " in refused(tmp_path / "a.parquet")

    def test_qdrant(self, refused, tmp_path, texts, vectors):
        from qdrant_client import QdrantClient

        where = indexes.qdrant(tmp_path / "a", texts, vectors)
        assert "has no collection 'other'; it has 'docs'" in refused(where.replace("#docs", "#other"))
        assert "names no collection; write qdrant:FOLDER#COLLECTION" in refused(where.replace("#docs", ""))
        assert "is no folder of Qdrant's embedded mode" in refused(f"qdrant:{tmp_path / 'none'}#docs")
        assert not (tmp_path / "none").exists()
        assert "the payload has no text; it has 'page_content'" in refused(f"{where}::text=body")
        client = QdrantClient(path=str(tmp_path / "a"))
        assert "another process has it open; stop that process, or give a copy" in refused(where)
        client.close()

    def test_keys(self, refused, tmp_path, texts, vectors):
        file = indexes.parquet(tmp_path / "a.parquet", texts, vectors)
        assert "has no key 'colum'" in refused(f"{file}::colum=text")
        assert "has no key 'texts'" in refused(f"{file}::texts=a.txt")
        assert "has rows=many; give a whole number from 1" in refused(f"{file}::rows=many")
        assert "has dims=384; the model has 384: give fewer" in refused(f"{file}::dims=384")
        assert "is one of document, query" in refused(f"{file}::role=user")
        assert "holds float32, which is not int8" in refused(f"{file}::precision=int8")
        assert "there is no file of ranges" in refused(f"{file}::ranges=none.npy")
        whole = indexes.jsonl(tmp_path / "b.jsonl", texts, (vectors * 100).astype(int))
        assert "say what is stored: precision=" in refused(whole)


def test_a_session_judges_them_beside_the_reference(project, few, made):
    result = project.runpytest_inprocess(
        "--pyargs",
        "embedgate.suites",
        f"--gate-candidate={made['one_late']}",
        f"--gate-candidate={made['sound']}",
        f"--gate-data={few}",
        "-k=stored or is_what_its_id_says",
    )
    result.assert_outcomes(passed=4, failed=3)
    text = result.stdout.str()
    assert "hold the vectors of the texts 1 row further up" in text
    rows = re.findall(r"^(one_late|sound)-fp32-cpu +(fail|pass) ", text, re.MULTILINE)
    assert rows == [("one_late", "fail"), ("sound", "pass")]
