"""GGUF files as llama.cpp runs them: what they compute, what they tell, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gguf import PoolingType
from helpers import gguf_files
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, GateError, Unavailable
from embedgate.core.model import resolve
from embedgate.deployed import gguf as gguf_source
from embedgate.deployed import source_of
from embedgate.deployed.files import shipped as files_of
from embedgate.deployed.gguf.header import precision_of, read_header
from embedgate.encoders import BuildContext, build
from embedgate.encoders.registry import Registry
from embedgate.encoders.torch import encoder as torch_backend

TEXTS = ["A man is playing a guitar.", "Hi", "the old baker sold three loaves of bread", "", "word " * 300]
# Weight precision and products by the type of weights; and how near the least of the embeddings must be.
KINDS = {
    "F32": ("fp32", "float32", 1 - 1e-5),
    "F16": ("fp16", "float16", 1 - 1e-5),
    "BF16": ("bf16", "bfloat16", 1 - 1e-3),
    "Q8_0": ("int8", "int8", 1 - 1e-3),
    "Q4_0": ("int4", "int4", 0.9),
}


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture
def right(small, context):
    reference = torch_backend.build(small, Combination.parse("torch-fp32-cpu"), context)
    return reference.encode(TEXTS), reference.stages(TEXTS)


@pytest.fixture
def write(small, tmp_path):
    return lambda name="mine.gguf", kind="F32", **more: gguf_files.write(small.path, tmp_path / name, kind, **more)


def built(spec, model, context):
    registry = Registry()
    source = source_of(str(spec), model)
    registry.add_source(source)
    return build(model, source.combination, context, registry)


class TestHeader:
    """What is read without llama.cpp."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_types_of_its_weights_say_what_it_is(self, kind, write, small):
        precision, products, _ = KINDS[kind]
        file = write(kind=kind)
        assert source_of(f"{file}::name=mine", small).combination.id == f"mine-{precision}-cpu"
        header = read_header(file, "mine.gguf")
        assert (header.computes_in, header.types["F32"]) == ({products: 6}, 21 if kind == "F32" else 14)
        assert (header.pooling, header.longest, header.dim) == ("mean", 512, 384)

    @pytest.mark.parametrize(
        ("kind", "precision"),
        [("Q4_K", "int4"), ("Q6_K", "int6"), ("IQ2_XXS", "int2"), ("MXFP4", "mxfp4"), ("BF16", "bf16")],
    )
    def test_every_type_has_a_weight_precision(self, kind, precision):
        assert precision_of(kind) == precision

    def test_one_in_the_models_folder_is_found(self, small, tmp_path):
        folder = tmp_path / "own"
        shutil.copytree(small.path, folder)
        gguf_files.write(folder, folder / "own-f16.gguf", "F16")
        own = resolve(str(folder))
        assert files_of(own) == [own.path / "own-f16.gguf"]
        assert source_of("own-f16.gguf", own).origin == "own-f16.gguf"

    def test_its_name_is_a_promise(self, write, small):
        source = source_of(str(write("small-q8_0.gguf", "F16")), small)
        assert source.combination.weight_precision == "int8"
        assert len(source.identity["sha256"]) == 64

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"parts": 3}, "is one of the 3 parts of a GGUF file; merge them: llama-gguf-split --merge"),
            ({"tokenizer": False}, "is a GGUF file without a tokenizer, so it embeds no text; fetch or convert it"),
            ({"pooling": PoolingType.RANK}, "is a reranker, which scores pairs of texts; give a file of an embedding"),
        ],
    )
    def test_a_file_that_embeds_no_text_is_refused(self, settings, message, write, small):
        file = write(**settings)
        with pytest.raises(GateError, match=message) as caught:
            source_of(str(file), small)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\x00 no GGUF, for sure", "is no whole GGUF file: ValueError: GGUF magic invalid; fetch or convert it"),
            (b"", "is no whole GGUF file: .*; fetch or convert it anew"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of Git LFS"),
        ],
    )
    def test_no_gguf_is_refused(self, content, message, small, tmp_path):
        (tmp_path / "mine.gguf").write_bytes(content)
        with pytest.raises(GateError, match=message) as caught:
            source_of(str(tmp_path / "mine.gguf"), small)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.999])
    def test_half_a_file_is_refused(self, share, write, small):
        file = write()
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(GateError, match=r"is no whole GGUF file: .*; fetch or convert it anew"):
            source_of(str(file), small)

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ("colour=red", "has no key 'colour'; its keys are name, promise, device, repack"),
            ("device=cuda", "embedgate runs llama.cpp on the CPU alone; leave out device=cuda"),
            ("repack=maybe", "has repack=maybe; repack is one of on, off"),
        ],
    )
    def test_keys_that_mean_nothing_are_refused(self, keys, message, write, small):
        with pytest.raises(GateError, match=message):
            source_of(f"{write()}::{keys}", small)

    def test_what_runs_it_is_not_installed(self, write, small, context, monkeypatch):
        monkeypatch.setattr(gguf_source, "find_spec", lambda _: None)
        message = r"llama-cpp-python, which runs GGUF files, is not installed; pip install 'embedgate\[gguf\]'"
        with pytest.raises(Unavailable, match=message):
            built(write(), small, context)


class TestRuns:
    """What needs llama.cpp."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("llama_cpp", reason="llama-cpp-python, which compiles llama.cpp, is not installed")

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_sound_file_gives_the_references_embeddings(self, kind, write, small, context, right):
        precision, products, least = KINDS[kind]
        encoder = built(
            f"{write(kind=kind)}::promise={'fp16' if kind == 'F32' else precision},repack=off", small, context
        )
        found = encoder.encode(TEXTS, batch_size=3)
        assert found.dtype == np.float32
        assert np.einsum("ij,ij->i", found, right[0]).min() >= least
        evidence = encoder.evidence()
        assert evidence.products == {products: 6}
        assert evidence.details["pooling"] == "mean, as the file says"
        assert evidence.artefact_bytes > evidence.weight_bytes > evidence.product_bytes > 0
        assert evidence.problems == ()

    def test_its_stages_are_the_references(self, write, small, context, right):
        shown = built(write(), small, context).stages(TEXTS)
        for mine, theirs in zip(shown.token_ids, right[1].token_ids, strict=True):
            assert np.array_equal(mine, theirs)
        for mine, theirs in zip(shown.token_embeddings, right[1].token_embeddings, strict=True):
            assert np.allclose(mine, theirs, atol=0.02)
        assert np.allclose(shown.pooled, right[1].pooled, atol=0.02)

    def test_a_long_text_keeps_its_end_token_and_is_told(self, write, small, context):
        encoder = built(write(), small, context)
        encoder.encode(TEXTS[:3])
        assert encoder.evidence().notes == ()
        (ids,) = encoder.stages(["word " * 300]).token_ids
        assert (len(ids), ids[-1]) == (128, 102)
        assert encoder.evidence().notes[0].startswith("llama.cpp cuts no text: embedgate cut those beyond 128 tokens")

    def test_batches_and_callers_change_nothing(self, write, small, context):
        encoder = built(f"{write(kind='F16')}::promise=fp16", small, context)
        texts = [f"{word} number {n}" * (n % 7 + 1) for n in range(30) for word in ("a parcel", "no letter")]
        together = encoder.encode(texts, batch_size=32)
        with ThreadPoolExecutor(4) as pool:
            alone = list(pool.map(lambda text: encoder.encode([text])[0], texts))
        assert np.linalg.norm(together - np.stack(alone), axis=1).max() <= encoder.stability.batch
        assert np.array_equal(encoder.encode(texts), together)

    def test_texts_longer_than_a_batch_are_one_batch(self, write, small, context, monkeypatch):
        from embedgate.deployed.gguf import llama

        encoder = built(write(), small, context)
        right = encoder.encode(TEXTS)
        encoder.close()
        monkeypatch.setattr(llama, "BATCH_TOKENS", 16)
        assert np.allclose(built(write(), small, context).encode(TEXTS), right, atol=5e-3)

    def test_a_file_without_a_pooling_takes_the_models(self, write, small, context, right):
        encoder = built(write(pooling=None), small, context)
        assert np.einsum("ij,ij->i", encoder.encode(TEXTS), right[0]).min() >= 1 - 1e-5
        assert encoder.evidence().details["pooling"] == "mean, as the model's; the file names none"

    @pytest.fixture
    def dense(self, small, tmp_path):
        """The small model with a dense layer after its pooling."""
        transformer, pooling, normalize = SentenceTransformer(str(small.path), device="cpu", local_files_only=True)
        torch.manual_seed(7)
        modules = [transformer, pooling, Dense(384, 384), normalize]
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "dense"))
        return resolve(str(tmp_path / "dense"))

    def test_what_follows_the_pooling_is_the_models(self, dense, write, context):
        encoder = built(f"{write(kind='F16')}::promise=fp16", dense, context)
        reference = torch_backend.build(dense, Combination.parse("torch-fp32-cpu"), context)
        assert np.einsum("ij,ij->i", encoder.encode(TEXTS), reference.encode(TEXTS)).min() >= 1 - 1e-5
        assert encoder.evidence().details["then"] == ["Dense", "Normalize"]

    def test_dense_layers_in_the_file_are_not_run_twice(self, dense, write, context, monkeypatch):
        monkeypatch.setattr(gguf_source, "read_header", lambda *asked: replace(read_header(*asked), has_dense=True))
        encoder = built(f"{write(kind='F16')}::promise=fp16", dense, context)
        assert encoder.evidence().details["then"] == ["Normalize"]
        assert encoder.stages(TEXTS[:2]).token_embeddings is None

    def test_another_pooling_in_the_file_is_what_ships(self, write, small, context, right):
        encoder = built(write(pooling=PoolingType.CLS), small, context)
        assert np.einsum("ij,ij->i", encoder.encode(TEXTS), right[0]).max() < 0.9
        assert encoder.evidence().details["pooling"] == "cls, as the file says"

    def test_another_token_at_the_end_shows_in_the_tokens(self, write, small, context):
        shown = built(write(ends=False), small, context).stages(["Hi", "word " * 300])
        assert [ids[-1] for ids in shown.token_ids] == [0, 0]

    def test_a_pooling_that_llama_cpp_does_not_have_is_told(self, write, small, context, monkeypatch):
        from embedgate.deployed.gguf import encoder

        monkeypatch.setattr(
            encoder, "Pooling", SimpleNamespace(load_config=lambda *_, **__: {"pooling_mode": "weightedmean"})
        )
        message = "names no pooling, and llama.cpp does not have the one of small .weightedmean.; convert it with its"
        with pytest.raises(BuildError, match=message):
            built(write(pooling=None), small, context)

    def test_another_width_is_told(self, write, small, context):
        with pytest.raises(
            BuildError, match="gives 64 dimensions, and small has 384; give the file that was converted"
        ):
            built(write(dim=64), small, context)

    def test_what_llama_cpp_does_not_know_is_told_in_its_words(self, write, small, context, capfd):
        message = "llama.cpp does not load .*: .*unknown model architecture: 'acme'; convert it by this version"
        with pytest.raises(BuildError, match=message) as caught:
            built(write(architecture="acme"), small, context)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("kind", "promise", "problem"),
        [
            ("F32", "fp32", "llama.cpp rounds what attention and GELU take to float16, .*::promise=fp16"),
            ("F16", "int8", "named int8, but all 6 products compute in float16"),
            ("Q4_0", "int8", "named int8, but all 6 products compute in int4"),
            ("Q8_0", "int4", "named int4, but its products compute in other types: 6 in int8"),
        ],
    )
    def test_a_broken_promise_is_told(self, kind, promise, problem, write, small, context):
        (found,) = built(f"{write(kind=kind)}::promise={promise},repack=off", small, context).evidence().problems
        assert re.search(problem, found)

    def test_a_name_that_promises_float16_is_held_to_it(self, write, small, context):
        problems = built(write("mine-f16.gguf", "F32"), small, context).evidence().problems
        assert problems == ("named fp16, but all 6 products compute in float32",)

    def test_a_closed_one_embeds_nothing(self, write, small, context):
        encoder = built(write(), small, context)
        encoder.encode(["Hi"])
        encoder.close()
        encoder.close()
        with pytest.raises(EncodeError, match=r"mine.gguf is closed already; build its encoder anew"):
            encoder.encode(["Hi"])

    def test_a_text_without_a_token_is_told(self, write, small, context, monkeypatch):
        encoder = built(write(), small, context)
        monkeypatch.setattr(encoder._runs, "tokens", lambda text: [])
        with pytest.raises(EncodeError, match=r"the tokenizer of .*mine.gguf finds no token in 'Hi'; convert it with"):
            encoder.encode(["Hi"])

    def test_a_process_that_llama_cpp_ends_is_told_with_what_to_do(self, write, small, context, monkeypatch):
        from embedgate.deployed.gguf import llama

        monkeypatch.setattr(llama, "TRIAL", "import os; os.abort()")
        monkeypatch.setattr(llama.llama_cpp, "llama_print_system_info", lambda: b"CPU : AMX_INT8 = 1 |")
        message = r"llama.cpp ends the process with .*mine.gguf on this CPU \(SIGABRT\); gate it by ::repack=off"
        with pytest.raises(BuildError, match=message):
            built(write(kind="Q8_0"), small, context)
        monkeypatch.setattr(llama.llama_cpp, "llama_print_system_info", lambda: b"CPU : AVX2 = 1 |")
        assert llama.ends_by("any") is None

    def test_the_trial_runs_a_sound_file(self, write, monkeypatch):
        from embedgate.deployed.gguf import llama

        monkeypatch.setattr(llama.llama_cpp, "llama_print_system_info", lambda: b"CPU : AMX_INT8 = 1 |")
        assert llama.ends_by(write(kind="F16")) is None


class TestSession:
    """A project that gates a GGUF file."""

    @pytest.fixture
    def model(self, small):
        pytest.importorskip("llama_cpp", reason="llama-cpp-python, which compiles llama.cpp, is not installed")
        return small

    def test_a_wrong_conversion_is_red_while_a_sound_one_is_green(self, project, small, few):
        gguf_files.write(small.path, project.path / "good-f16.gguf", "F16")
        gguf_files.write(small.path, project.path / "bad-f16.gguf", "F16", noise=0.5)
        done = project.runpytest_inprocess(
            *("--pyargs", "embedgate.suites.test_effective", "embedgate.suites.test_quality", "--gate-report=out"),
            *(f"--gate-data={few}", "--gate-candidate=good-f16.gguf::name=good"),
            *("--gate-candidate=bad-f16.gguf::name=bad", "-k=agrees or says"),
        )
        done.stdout.fnmatch_lines(["*bad-fp16-cpu: cosine_mean 0.*"])
        report = json.loads((project.path / "out" / "report.json").read_text("utf-8"))
        assert [each["origin"] for each in report["candidates"]] == ["good-f16.gguf", "bad-f16.gguf"]
        verdicts = {each["combination"]: each["verdict"] for each in report["combinations"]}
        # 24 texts are too few to be sure of the worst hundredth.
        assert verdicts == {"torch-fp32-cpu": "reference", "good-fp16-cpu": "inconclusive", "bad-fp16-cpu": "fail"}
