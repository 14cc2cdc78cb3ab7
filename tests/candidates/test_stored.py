"""Stored vectors as candidates: sound ones are green, and each fault is red by its name."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import indexes
from helpers.faults import cls_pooling, load
from helpers.prompted import with_prompts

from embedgate.candidates import source_of
from embedgate.core.errors import GateError
from embedgate.data import load_bundled
from embedgate.vectors.codes import Ranges, quantize

ROWS = 150


@pytest.fixture(scope="module")
def model(small, tmp_path_factory):
    """The small model with prompts, whose documents and queries differ."""
    return with_prompts(small, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def texts():
    return list(load_bundled("passages").documents[:ROWS])


@pytest.fixture(scope="module")
def encoder(model):
    return load(model.path)


@pytest.fixture(scope="module")
def vectors(encoder, texts):
    return encoder.encode_document(texts)


@pytest.fixture
def judged(context_with, few):
    """Judges a store: asks about its rows, or about a metric of searches."""

    def judge(where: object, subject: str = "", **options):
        context = context_with(candidates=(str(where),), data=(str(few),), family=1, **options)
        (combination,) = context.plan.stored
        return context.ask("stored.search" if subject else "stored.rows", combination, subject)

    return judge


@pytest.fixture
def stored(tmp_path, judged, texts):
    """Judges vectors in a Parquet file."""

    def judge(vectors: np.ndarray, keys: str = "", subject: str = "", texts=texts, **options):
        file = indexes.parquet(tmp_path / "index.parquet", texts, vectors)
        return judged(f"{file}{keys}", subject, **options)

    return judge


class TestSound:
    def test_a_parquet_file_is_green(self, stored, vectors):
        judgement = stored(vectors)
        assert (judgement.verdict, judgement.value, judgement.n) == ("pass", 1.0, ROWS)
        assert judgement.message.startswith("100.00% of 150 rows of ")
        assert stored(vectors, subject="kept_at_10").value > 0.999
        assert stored(vectors, subject="recall_at_10").verdict == "pass"

    def test_float16_is_green(self, stored, vectors):
        judgement = stored(vectors.astype(np.float16))
        assert judgement.verdict == "pass"
        assert "(float16)" in judgement.message

    def test_coarser_numbers_than_the_type_holds_are_told(self, stored, vectors):
        judgement = stored(vectors.astype(np.float16).astype(np.float32))
        assert judgement.verdict == "pass"
        assert "every value is one that float16 has, in float32" in judgement.message

    @pytest.mark.parametrize("write", [indexes.jsonl, indexes.npy, indexes.qdrant])
    def test_other_stores_are_green(self, judged, tmp_path, texts, vectors, write):
        where = write(tmp_path / {indexes.jsonl: "a.jsonl", indexes.npy: "a.npy"}.get(write, "a"), texts, vectors)
        assert judged(where).verdict == "pass"

    def test_a_sample_is_drawn_of_a_large_one(self, stored, vectors):
        judgement = stored(vectors, "::rows=40,seed=3,name=spring,promise=fp16")
        assert (judgement.combination, judgement.n) == ("spring-fp16-cpu", 40)
        # All 40 are right, which cannot show that 99% of all are.
        assert judgement.verdict == "inconclusive"
        assert "40 rows drawn from 150 of" in judgement.message

    def test_lines_are_drawn_in_one_pass(self, judged, tmp_path, texts, vectors):
        file = indexes.jsonl(tmp_path / "a.jsonl", texts, vectors)
        assert judged(f"{file}::rows=40").value == 1

    def test_queries_are_green_as_queries(self, stored, encoder, texts):
        assert stored(encoder.encode_query(texts), "::role=query").verdict == "pass"
        unjudged = stored(encoder.encode_query(texts), "::role=query", "kept_at_10")
        assert (unjudged.verdict, unjudged.unjudged) == ("inconclusive", True)
        assert "has 0 documents among the rows drawn" in unjudged.message

    def test_a_column_says_the_roles(self, judged, tmp_path, encoder, texts):
        half = len(texts) // 2
        rows = np.concatenate([encoder.encode_query(texts[:half]), encoder.encode_document(texts[half:])])
        roles = ["query"] * half + ["document"] * (len(texts) - half)
        file = indexes.parquet(tmp_path / "a.parquet", texts, rows, role=roles)
        assert judged(file).verdict == "pass"

    def test_truncated_ones_are_green_where_they_are_meant(self, stored, vectors):
        kept = np.ascontiguousarray(vectors[:, :128])
        assert stored(kept, "::dims=128").verdict == "pass"
        assert stored(kept / np.linalg.norm(kept, axis=1, keepdims=True), "::dims=128").verdict == "pass"
        assert stored(kept, "::dims=128", "recall_at_10").verdict == "pass"

    @pytest.mark.parametrize("precision", ["int8", "uint8"])
    def test_codes_of_8_bits_are_green_with_their_ranges(self, stored, tmp_path, vectors, precision):
        ranges = Ranges.of(vectors)
        np.save(tmp_path / "ranges.npy", ranges.both)
        codes = quantize(vectors, precision, ranges)
        assert stored(codes, f"::ranges={tmp_path / 'ranges.npy'}").verdict == "pass"
        assert stored(codes, f"::ranges={tmp_path / 'ranges.npy'}", "kept_at_10").verdict == "pass"
        with pytest.raises(GateError, match="no ranges of theirs are known; give the ranges"):
            stored(codes)

    @pytest.mark.parametrize("precision", ["binary", "ubinary"])
    def test_bits_are_green(self, stored, vectors, precision):
        codes = quantize(vectors, precision)
        judgement = stored(codes)
        assert judgement.verdict == "pass"
        assert f"({precision})" in judgement.message
        assert stored(codes, "", "kept_at_10").verdict == "pass"


class TestFaults:
    def test_without_the_prompt(self, stored, encoder, texts):
        judgement = stored(encoder.encode(texts, prompt=""))
        assert (judgement.verdict, judgement.value) == ("fail", 0.0)
        assert judgement.diagnosis.layer == "prompt"
        assert judgement.diagnosis.cause.startswith(
            "150 rows were embedded as if a document comes without its prompt: row 1 '"
        )

    def test_as_queries(self, stored, encoder, texts):
        cause = stored(encoder.encode_query(texts)).diagnosis.cause
        assert "were embedded as if a document is encoded as query" in cause

    def test_not_normalised(self, stored, vectors):
        judgement = stored(vectors * 3)
        assert judgement.diagnosis.layer == "normalisation"
        assert "150 rows have the right direction and another length (lengths 3.000 to 3.000" in (
            judgement.diagnosis.cause
        )

    def test_before_the_models_normalisation(self, stored, encoder, texts):
        encoded = encoder.encode_document(texts, output_value=None)
        raw = np.stack([row["token_embeddings"].mean(0).cpu().numpy() for row in encoded])
        short = [i for i, row in enumerate(encoded) if row["attention_mask"].all()]
        judgement = stored(raw[short], texts=[texts[i] for i in short])
        assert "they are what comes before the model's own normalisation" in judgement.diagnosis.cause

    @pytest.mark.parametrize("normalise", [False, True])
    def test_truncated(self, stored, vectors, normalise):
        kept = vectors[:, :128] / (np.linalg.norm(vectors[:, :128], axis=1, keepdims=True) if normalise else 1)
        judgement = stored(np.ascontiguousarray(kept))
        assert judgement.diagnosis.layer == "dimension"
        assert judgement.diagnosis.cause == (
            "the vectors have 128 dimensions, the model's 384: they are the first 128 of 384 in 100.0% of the rows"
        )
        assert stored(np.ascontiguousarray(kept), subject="recall_at_10").verdict == "fail"

    def test_other_dimensions(self, stored, vectors):
        cause = stored(np.ascontiguousarray(vectors[:, 100:200])).diagnosis.cause
        assert cause == "the vectors have 100 dimensions, the model's 384"

    @pytest.mark.parametrize(("by", "where"), [(1, "up"), (-2, "down")])
    def test_shifted(self, stored, vectors, by, where):
        judgement = stored(np.roll(vectors, by, axis=0), "::rows=60")
        assert judgement.diagnosis.layer == "order"
        assert f"hold the vectors of the texts {abs(by)} row" in judgement.diagnosis.cause
        assert f"further {where}" in judgement.diagnosis.cause
        assert stored(np.roll(vectors, by, axis=0), subject="recall_at_10").verdict == "fail"

    def test_shifted_lines(self, judged, tmp_path, texts, vectors):
        file = indexes.jsonl(tmp_path / "a.jsonl", texts, np.roll(vectors, 1, axis=0))
        assert "hold the vectors of the texts 1 row further up" in judged(f"{file}::rows=50").diagnosis.cause

    def test_permuted(self, stored, vectors):
        order = np.random.default_rng(0).permutation(ROWS)
        cause = stored(vectors[order]).diagnosis.cause
        moved = int((order != np.arange(ROWS)).sum())
        assert cause.startswith(f"{moved} rows hold the vectors of other rows' texts (row 1 that of row {order[0] + 1}")

    def test_some_of_another_model(self, stored, vectors, texts):
        other = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
        mixed = vectors.copy()
        mixed[::10] = other[::10] / np.linalg.norm(other[::10], axis=1, keepdims=True)
        judgement = stored(mixed)
        assert (judgement.verdict, judgement.value) == ("fail", 0.9)
        assert judgement.diagnosis.layer == "unknown"
        assert "15 rows lie elsewhere, for no cause that was reproduced" in judgement.diagnosis.cause
        assert f"row 11 '{texts[10][:20]}" in judgement.diagnosis.cause
        assert len(judgement.worst) == 5

    def test_of_the_incumbent(self, stored, model, tmp_path, vectors, texts):
        other = cls_pooling(model.path, "cpu")
        other.save_pretrained(str(tmp_path / "older"))
        mixed = vectors.copy()
        mixed[:20] = other.encode_document(texts[:20])
        judgement = stored(mixed, incumbent=str(tmp_path / "older"))
        assert judgement.diagnosis.cause.startswith("20 rows hold the vectors of older, the incumbent: row 1 '")
        assert "lie elsewhere" in stored(mixed).diagnosis.cause

    def test_copies(self, stored, vectors):
        copied = vectors.copy()
        copied[30:60] = copied[30]
        judgement = stored(copied)
        assert "29 rows hold one and the same vector, as 30 rows of those drawn do: row 32 '" in (
            judgement.diagnosis.cause
        )

    def test_nan_and_zeros(self, stored, vectors):
        broken = vectors.copy()
        broken[5:25], broken[40:50] = np.nan, 0
        judgement = stored(broken)
        assert (judgement.value, judgement.diagnosis.layer) == (0.8, "finiteness")
        assert judgement.diagnosis.cause.startswith("20 rows hold NaN or infinity: row 6 '")
        assert judgement.details[0].startswith("10 rows are all zeros: row 41 '")
        assert "hold NaN or infinity" in stored(broken, subject="kept_at_10").message

    def test_signs(self, stored, vectors):
        cause = stored(np.sign(vectors)).diagnosis.cause
        assert cause.startswith("150 rows hold the signs of the right vectors alone, in float32")

    def test_several_at_once(self, stored, encoder, vectors, texts):
        mixed = vectors.copy()
        mixed[:30] = encoder.encode_query(texts[:30])
        mixed[100] = np.nan
        judgement = stored(mixed)
        assert "30 rows were embedded as if a document is encoded as query" in judgement.diagnosis.cause
        assert judgement.details[0].startswith("1 row hold")

    def test_a_few_wrong_rows_that_are_tolerated_are_named(self, stored, vectors):
        broken = vectors.copy()
        broken[7] = np.nan
        judgement = stored(broken)
        assert judgement.verdict == "pass"
        assert "row 8 '" in judgement.message


class TestRefused:
    """Told in one line before anything runs, with what to do."""

    @pytest.fixture
    def refused(self, model):
        def refuse(where: object) -> str:
            with pytest.raises(GateError) as caught:
                source_of(str(where), model).drawn
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
        assert "has rows=many; give a whole number from 1" in refused(f"{file}::rows=many")
        assert "has dims=384; the model has 384: give fewer" in refused(f"{file}::dims=384")
        assert "is one of document, query" in refused(f"{file}::role=user")
        assert "holds float32, which is not int8" in refused(f"{file}::precision=int8")
        assert "there is no file of ranges" in refused(f"{file}::ranges=none.npy")
        whole = indexes.jsonl(tmp_path / "b.jsonl", texts, (vectors * 100).astype(int))
        assert "say what is stored: precision=" in refused(whole)


def test_a_session_judges_it_beside_the_reference(project, few, tmp_path, texts, vectors):
    file = indexes.parquet(tmp_path / "spring.parquet", texts, np.roll(vectors, 1, axis=0))
    sound = indexes.parquet(tmp_path / "sound.parquet", texts, vectors)
    result = project.runpytest_inprocess(
        "--pyargs",
        "embedgate.suites",
        f"--gate-candidate={file}",
        f"--gate-candidate={sound}",
        f"--gate-data={few}",
        "-k=stored or is_what_its_id_says",
    )
    result.assert_outcomes(passed=4, failed=3)
    text = result.stdout.str()
    assert "spring-fp32-cpu" in text
    assert "hold the vectors of the texts 1 row further up" in text
