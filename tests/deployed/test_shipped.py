"""Files that ship beside a model, as they are gated: what they compute, what they tell, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers import shipped
from sentence_transformers import SentenceTransformer
from torchao.quantization import Int8DynamicActivationInt8WeightConfig
from transformers import TorchAoConfig

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError
from embedgate.core.model import resolve
from embedgate.core.settings import Settings, bundled_baselines
from embedgate.deployed import source_of, sources_of
from embedgate.deployed.files import shipped as files_of
from embedgate.encoders import BuildContext, build
from embedgate.encoders.registry import Registry
from embedgate.encoders.torch import encoder as torch_backend
from embedgate.runtime.plan import Plan

TEXTS = ["A man is playing a guitar.", "Hi", "¿Dónde está la biblioteca? 图书馆", "", "word " * 100]
SOUND = {
    # id by file: how near the least of its embeddings must be to the reference's, and the products it computes by
    "onnx/model.onnx": ("onnx_model-fp32-cpu", 1 - 1e-6, "float32"),
    "onnx/whole.onnx": ("whole-fp32-cpu", 1 - 1e-6, "float32"),
    "onnx/whole.onnx::output=sentence_embedding,name=all": ("all-fp32-cpu", 1 - 1e-6, "float32"),
    "onnx/finished.onnx": ("finished-fp32-cpu", 1 - 1e-6, "float32"),
    "onnx/beside.onnx": ("beside-fp32-cpu", 1 - 1e-6, "float32"),
    "onnx/model_fp16.onnx": ("model_fp16-fp16-cpu", 1 - 1e-5, "float16"),
    "onnx/model_qint8_avx512_vnni.onnx": ("model_qint8_avx512_vnni-int8-cpu", 0.95, "int8"),
    "openvino/openvino_model.xml::infers_in=fp32": ("openvino_model-fp32-cpu", 1 - 1e-5, "float32"),
    "openvino/openvino_model_qint8_quantized.xml::infers_in=fp32": (
        "openvino_model_qint8_quantized-int8-cpu",
        0.95,
        "int8",
    ),
}


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def right(ships, context):
    reference = torch_backend.build(ships, Combination.parse("torch-fp32-cpu"), context)
    return reference.encode(TEXTS), reference.stages(TEXTS)


def built(spec, model, context):
    registry = Registry()
    source = source_of(spec, model)
    registry.add_source(source)
    return build(model, source.combination, context, registry)


@pytest.mark.parametrize("spec", SOUND)
def test_a_sound_file_gives_the_references_embeddings(spec, ships, context, right):
    id_, least, kind = SOUND[spec]
    assert source_of(spec, ships).combination.id == id_
    encoder = built(spec, ships, context)
    found = encoder.encode(TEXTS, batch_size=3)
    assert found.dtype == np.float32
    assert np.einsum("ij,ij->i", found, right[0]).min() >= least
    evidence = encoder.evidence()
    assert (evidence.problems, evidence.notes) == ((), ())
    assert max(evidence.products, key=evidence.products.__getitem__) == kind
    assert evidence.artefact_bytes


def test_what_sizes_are_fixed_in_a_file_is_filled_up(ships, context, right):
    encoder = built("onnx/fixed.onnx", ships, context)
    found = encoder.encode(TEXTS[:4], batch_size=32)
    assert np.allclose(found, right[0][:4], atol=1e-5)
    # A text beyond the file's 64 tokens is cut there, and its tokens tell.
    assert [len(ids) for ids in encoder.stages(TEXTS).token_ids] == [min(64, len(ids)) for ids in right[1].token_ids]
    assert encoder.evidence().notes == (
        "texts of more than 64 tokens are cut, since onnx/fixed.onnx takes no longer ones",
    )


@pytest.mark.parametrize("spec", ["onnx/whole.onnx", "onnx/fixed.onnx", "openvino/openvino_model.xml::infers_in=fp32"])
def test_a_file_that_gives_tokens_shows_every_stage(spec, ships, context, right):
    shown = built(spec, ships, context).stages(TEXTS[:4])
    for mine, theirs in zip(shown.token_embeddings, right[1].token_embeddings, strict=False):
        assert np.allclose(mine, theirs, atol=1e-2)
    assert np.allclose(shown.pooled, right[1].pooled[:4], atol=1e-2)


def test_finished_embeddings_have_no_stages_before_them(ships, context):
    shown = built("onnx/finished.onnx", ships, context).stages(TEXTS)
    assert shown.token_embeddings is None
    assert shown.pooled is None


def test_a_promised_int8_that_is_fp32_is_told(ships, context):
    problems = built("onnx/model.onnx::promise=int8", ships, context).evidence().problems
    assert problems == ("named int8, but all 6 products compute in float32",)


def test_what_openvino_infers_in_by_itself_is_told_with_what_to_do(ships, context):
    encoder = built("openvino/openvino_model.xml::infers_in=bf16", ships, context)
    if "bfloat16" not in encoder.evidence().products:
        pytest.skip("this CPU has no bfloat16 instructions")
    assert any("::infers_in=fp32" in problem for problem in encoder.evidence().problems)


def test_a_file_out_of_the_models_folder_is_found_as_seen_from_here(ships, tmp_path, monkeypatch):
    shutil.copy(ships.path / "onnx" / "model.onnx", tmp_path / "mine.onnx")
    monkeypatch.chdir(tmp_path)
    source = source_of("mine.onnx", ships)
    assert source.combination.id == f"{tmp_path.name.replace('-', '_')}_mine-fp32-cpu"
    assert source.origin == "mine.onnx"
    assert len(source.identity["sha256"]) == 64


def test_a_file_that_is_a_link_goes_by_its_own_name(ships, tmp_path):
    """As in the hub's cache, whose files lie elsewhere under their hashes."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "onnx").mkdir()
    shutil.copy(ships.path / "onnx" / "model.onnx", tmp_path / "blobs" / "53aa51172d14")
    (tmp_path / "onnx" / "model.onnx").symlink_to(tmp_path / "blobs" / "53aa51172d14")
    linked = replace(ships, path=tmp_path)
    source = source_of("onnx/model.onnx", linked)
    assert (source.combination.id, source.origin) == ("onnx_model-fp32-cpu", "onnx/model.onnx")


def test_the_hash_covers_the_weights_beside_a_file(ships, tmp_path):
    shutil.copytree(ships.path / "onnx", tmp_path / "onnx")
    before = source_of(str(tmp_path / "onnx" / "beside.onnx"), ships).identity
    with (tmp_path / "onnx" / "beside.onnx_data").open("r+b") as stream:
        stream.write(b"\1")
    assert source_of(str(tmp_path / "onnx" / "beside.onnx"), ships).identity != before


class TestFolder:
    """Folders that Sentence Transformers loads, as candidates."""

    def test_the_model_itself_gives_the_references_embeddings(self, ships, context, right):
        encoder = built(f"{ships.path}::name=copy", ships, context)
        assert np.array_equal(encoder.encode(TEXTS), right[0])
        assert source_of(str(ships.path), ships).combination.id == "ships-fp32-cpu"

    def test_a_checkpoint_of_torchao_computes_in_int8(self, ships, tmp_path, context, right):
        config = TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
        checkpoint = SentenceTransformer(
            str(ships.path), device="cpu", model_kwargs={"quantization_config": config}, local_files_only=True
        )
        checkpoint.save_pretrained(str(tmp_path / "checkpoint"))
        assert source_of(str(tmp_path / "checkpoint"), ships).combination.id == "checkpoint-int8-cpu"
        encoder = built(str(tmp_path / "checkpoint"), ships, context)
        assert np.einsum("ij,ij->i", encoder.encode(TEXTS), right[0]).min() >= 0.95
        evidence = encoder.evidence()
        assert (evidence.products, evidence.problems) == ({"int8": 7}, ())

    def test_a_version_in_its_name_is_no_suffix(self, ships, tmp_path):
        folder = shutil.copytree(ships.path, tmp_path / "bge-small-en-v1.5")
        assert source_of(str(folder), ships).combination.id == "bge_small_en_v1.5-fp32-cpu"

    def checkpoint(self, ships, folder, quantization):
        shutil.copytree(ships.path, folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}), "utf-8")
        return folder

    @pytest.mark.parametrize(
        ("quantization", "word"),
        [
            ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
            ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
            ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, "int4"),
            ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}}, "fp8wo"),
            ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}, "int8wo"),
            ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
            ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}, "int4"),
            ({"quant_method": "gptq", "bits": 4}, "int4"),
            ({"quant_method": "quanto", "weights": "int8", "activations": None}, "int8wo"),
        ],
    )
    def test_what_a_checkpoint_is_quantized_to_is_read_from_its_config(self, ships, tmp_path, quantization, word):
        """All but 4 bits of bitsandbytes and GPTQ were called int8."""
        folder = self.checkpoint(ships, tmp_path / "checkpoint", quantization)
        assert source_of(str(folder), ships).combination.id == f"checkpoint-{word}-cpu"

    @pytest.mark.parametrize(
        "quantization", [{"quant_method": "higgs"}, {"bits": 4}, {"quant_method": "torchao", "quant_type": "int8"}]
    )
    def test_what_is_not_known_to_be_quantized_to_is_asked_for(self, ships, tmp_path, quantization):
        folder = self.checkpoint(ships, tmp_path / "checkpoint", quantization)
        method = quantization.get("quant_method", "no quant_method")
        message = rf"checkpoint/config.json does not say .* quantized to \({method}\); say it: ::promise=int8, or what"
        with pytest.raises(GateError, match=message):
            source_of(str(folder), ships)
        assert source_of(f"{folder}::promise=int4", ships).combination.id == "checkpoint-int4-cpu"

    def test_a_folder_promises_what_its_whole_name_says(self, ships, tmp_path):
        """The end of it was taken for a suffix, as there is a version in it."""
        folder = shutil.copytree(ships.path, tmp_path / "bge-small-en-v1.5-int8")
        assert source_of(str(folder), ships).combination.id == "bge_small_en_v1.5_int8-int8-cpu"

    def test_a_quantized_checkpoint_is_no_model_and_a_candidate(self, ships, tmp_path):
        folder = shutil.copytree(ships.path, tmp_path / "checkpoint")
        config = json.loads((folder / "config.json").read_text("utf-8"))
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        with pytest.raises(GateError, match=f"as a candidate: --gate-candidate {folder}"):
            resolve(str(folder))
        assert source_of(str(folder), ships).combination.id == "checkpoint-int8-cpu"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("onnx/none.onnx", "no onnx/none.onnx here, and none in .*; that folder has onnx/beside.onnx, "),
        (
            "model.bin",
            r"--gate-candidate model.bin is of no kind that embedgate gates; give a server.s URL .*; an ONNX file ",
        ),
        ("onnx/model.onnx::colour=red", "has no key 'colour'; its keys are name, promise, device, output"),
        ("onnx/model.onnx::device=tpu", "has device=tpu; device is one of cpu, cuda"),
        ("onnx/model.onnx::name=a-b", "has name=a-b; use letters, digits, points and underscores"),
        ("onnx/model.onnx::name=", r"has 'name=', which is no key=value; write WHERE::key=value"),
        ("openvino/openvino_model.xml::device=cuda", "runs OpenVINO on the CPU alone; leave out device=cuda"),
    ],
)
def test_what_names_nothing_is_refused_with_what_to_do(spec, message, ships):
    with pytest.raises(GateError, match=message) as caught:
        source_of(spec, ships)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "onnx/none.onnx",
        "onnx/model.onnx::colour=red",
        "onnx/model.onnx::device=tpu",
        "model.bin",
        "vectors.npy",
        "ftp://user:password@host/",
        "http://user:password@host",
        "http://host::timeout=0",
        "http://host::token_env=EMBEDGATE_NO_SUCH_TOKEN",
    ],
)
def test_a_reference_is_told_by_the_option_that_it_was_given_by(spec, ships):
    """All told of `--gate-candidate`, which nobody had given."""
    with pytest.raises(GateError, match=r"^--gate-reference(?!.*--gate-candidate)"):
        source_of(spec, ships, "--gate-reference")


@pytest.mark.parametrize(
    ("spec", "id_"),
    [
        ("onnx/model.onnx::name=torch,promise=fp16", "torch-fp16-cpu, which exists already"),
        ("onnx/model.onnx::name=torch", "torch-fp32-cpu, which is the reference"),
    ],
)
def test_a_candidate_named_like_a_combination_is_told_how_to_rename_it(spec, id_, ships):
    message = f"^onnx/model.onnx would be called {id_}; give it another name: onnx/model.onnx::name=other$"
    with pytest.raises(GateError, match=message):
        Registry().add_source(source_of(spec, ships))


def test_two_candidates_of_one_name_are_refused(ships, tmp_path):
    shutil.copytree(ships.path / "onnx", tmp_path / "onnx")
    with pytest.raises(GateError, match=r"would both be onnx_model-fp32-cpu; give one a name: .*::name=other"):
        sources_of(["onnx/model.onnx", str(tmp_path / "onnx" / "model.onnx")], ships)


class TestBadFiles:
    """What is no file of a model is refused before anything is judged, or ends in one line."""

    @pytest.fixture
    def onnx_folder(self, ships, tmp_path):
        return shutil.copytree(ships.path / "onnx", tmp_path / "onnx")

    def refused(self, file, model, context, message):
        with pytest.raises(GateError, match=message) as caught:
            built(str(file), model, context)
        assert "\n" not in str(caught.value)

    def test_no_onnx(self, onnx_folder, ships, context):
        (onnx_folder / "model.onnx").write_bytes(b"\x00not a graph")
        self.refused(onnx_folder / "model.onnx", ships, context, "is no ONNX file: .*; fetch or export it anew")

    def test_a_pointer_of_git_lfs(self, onnx_folder, ships, context):
        (onnx_folder / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        self.refused(onnx_folder / "model.onnx", ships, context, "is a pointer of Git LFS, not the file; run git lfs")

    def test_weights_that_are_missing(self, onnx_folder, ships, context):
        (onnx_folder / "beside.onnx_data").unlink()
        message = "keeps weights in .*beside.onnx_data, which is missing; fetch that file, too"
        self.refused(onnx_folder / "beside.onnx", ships, context, message)

    def test_weights_out_of_the_folder(self, onnx_folder, ships, context):
        graph = onnx.load(onnx_folder / "beside.onnx", load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                entry.value = "../../secret" if entry.key == "location" else entry.value
        onnx.save(graph, onnx_folder / "beside.onnx")
        self.refused(onnx_folder / "beside.onnx", ships, context, "keeps weights outside its folder: ../../secret")

    def test_a_graph_of_something_else(self, onnx_folder, ships, context):
        file = shipped.no_embedding(onnx_folder / "sum.onnx")
        self.refused(file, ships, context, "asks for the input a, which no text gives; export it for feature extrac")

    def test_an_output_that_is_not_there(self, ships, context):
        with pytest.raises(BuildError, match=r"has no output pooler_output; it has last_hidden_state \[1, "):
            built("onnx/model.onnx::output=pooler_output", ships, context)

    def test_an_ir_without_its_weights(self, ships, context, tmp_path):
        shutil.copy(ships.path / "openvino" / "openvino_model.xml", tmp_path / "openvino_model.xml")
        message = "keeps its weights in openvino_model.bin, which is missing; fetch that file, too"
        self.refused(tmp_path / "openvino_model.xml", ships, context, message)

    def test_an_ir_that_is_none(self, tmp_path, ships, context):
        (tmp_path / "graph.xml").write_text("<net></nothing>")
        (tmp_path / "graph.bin").write_bytes(b"")
        self.refused(tmp_path / "graph.xml", ships, context, "is no OpenVINO IR: .*; fetch or convert it anew")


def test_files_in_the_models_folder_are_found(ships):
    names = [file.relative_to(ships.path).as_posix() for file in files_of(ships)]
    assert "onnx/model_qint8_avx512_vnni.onnx" in names
    assert "openvino/openvino_model.xml" in names
    assert len(names) == 9


class TestSession:
    """A project that gates what it ships."""

    @pytest.fixture
    def model(self, ships):
        return ships

    def test_a_bad_file_is_red_while_the_own_export_is_green(self, project, ships, few):
        """The file in the model's folder was not gated at all: nothing said so."""
        onnx_folder = project.path / "onnx"
        onnx_folder.mkdir()
        shipped.damaged(ships.path / "onnx" / "model.onnx", onnx_folder / "bad.onnx", share=0.5)
        done = project.runpytest_inprocess(
            *("--pyargs", "embedgate.suites.test_effective", "embedgate.suites.test_quality", "--gate-report=out"),
            *(f"--gate-data={few}", "--gate-candidate=onnx/bad.onnx", "--gate-candidate=onnx/model.onnx"),
            "--gate-combination=onnxruntime-int8-cpu",
            "-k=agrees or says",
        )
        done.stdout.fnmatch_lines(
            [
                "onnxruntime-int8-cpu *inconclusive 1/6 *",
                "bad-fp32-cpu *fail 4/6 *",
                "onnx_model-fp32-cpu *inconclusive 1/6 *",
                "bad-fp32-cpu is onnx/bad.onnx (SHA-256 *)",
                "onnx_model-fp32-cpu is onnx/model.onnx (SHA-256 *)",
                "not gated, in the model's folder: onnx/beside.onnx, *; --gate-shipped gates these files, too",
                "*bad-fp32-cpu: cosine_mean 0.*",
            ]
        )
        report = json.loads((project.path / "out" / "report.json").read_text("utf-8"))
        assert [each["origin"] for each in report["candidates"]] == ["onnx/bad.onnx", "onnx/model.onnx"]
        assert all(len(each["identity"]["sha256"]) == 64 for each in report["candidates"])

    def test_candidates_alone_are_judged_beside_their_reference(self, project, few):
        done = project.runpytest_inprocess(
            "--pyargs", "embedgate.suites.test_effective", f"--gate-data={few}", "--gate-shipped", "-q"
        )
        assert done.ret in (0, 1)
        told = done.stdout.str()
        assert "torch-bf16-cpu" not in told
        assert "openvino_model_qint8_quantized-int8-cpu" in told
        assert "not gated" not in told

    @pytest.fixture
    def some(self, ships, tmp_path):
        """A model's folder with one sound file, one of a library that is not there, and one that is none."""
        folder = shipped.copied(ships.path, tmp_path / "some")
        shutil.copy(ships.path / "onnx" / "model.onnx", folder / "onnx")
        (folder / "onnx" / "broken_int8.onnx").write_bytes(b"\x00not a graph")
        (folder / "of-another.gguf").write_bytes(b"GGUF")
        return folder

    @pytest.fixture
    def without_gguf(self, monkeypatch):
        """The package gguf is not installed."""
        for name in ("embedgate.deployed.gguf", "embedgate.deployed.gguf.header"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, "gguf", None)

    def test_a_file_that_is_refused_does_not_end_the_others(self, project, few, some, without_gguf):
        """The whole session ended before any test, over one file that cannot be read here."""
        asked = (*("--pyargs", "embedgate.suites.test_effective", f"--gate-data={few}", "-rs"), "--gate-shipped")
        done = project.runpytest_inprocess(*asked, f"--gate-model={some}")
        done.assert_outcomes(passed=2, skipped=2)
        done.stdout.fnmatch_lines_random(
            [
                "*--gate-shipped of-another.gguf: a library cannot be imported (*gguf*); pip install 'embedgate?gguf?'",
                "*onnx/broken_int8.onnx is no ONNX file: *; fetch or export it anew",
                "broken_int8-int8-cpu *skipped*",
            ]
        )
        done = project.runpytest_inprocess(*asked, f"--gate-model={some}", "--gate-strict")
        done.assert_outcomes(passed=2, errors=2)
        assert done.ret == 1

    @pytest.mark.parametrize(
        "given",
        [
            {"candidates": ("onnx/model.onnx::promise=fp32",)},
            {"candidates": ("./onnx/model.onnx",)},
            {"candidates": ("onnx/model.onnx::name=mine",)},
            {"reference": "onnx/model.onnx"},
        ],
    )
    def test_a_file_that_is_named_itself_is_gated_once(self, some, few, without_gguf, given):
        plan = Plan.of(Settings(model=str(some), data=(str(few),), shipped=True, **given), Registry())
        origins = [source.origin for source in plan.candidates]
        assert sorted(origins) == ["of-another.gguf", "onnx/broken_int8.onnx", "onnx/model.onnx"]

    def test_a_file_of_the_same_name_here_is_not_the_one_that_ships(self, project, few, ships):
        """It was gated in the place of the file in the model's folder."""
        (project.path / "onnx").mkdir()
        (project.path / "onnx" / "model.onnx").write_bytes(b"not a graph")
        done = project.runpytest_inprocess(
            *("--pyargs", "embedgate.suites.test_effective", f"--gate-data={few}", "--gate-shipped", "--collect-only"),
        )
        assert done.ret == 0
        done.stdout.fnmatch_lines(["*onnx_model-fp32-cpu*"])

    def test_another_file_under_an_approved_name_is_told(self, project, ships, few):
        suite = ("--pyargs", "embedgate.suites.test_baseline", f"--gate-data={few}", "--gate-baselines=gate")
        candidate = ("--gate-candidate=mine.onnx::name=mine",)
        shutil.copy(ships.path / "onnx" / "model.onnx", project.path / "mine.onnx")
        (project.path / "gate").mkdir()
        shutil.copy(bundled_baselines() / "tolerances.toml", project.path / "gate")
        done = project.runpytest_inprocess(*suite, *candidate, "--gate-update", "--gate-reason=first")
        assert done.ret == 0
        shipped.damaged(ships.path / "onnx" / "model.onnx", project.path / "mine.onnx", share=0.5)
        done = project.runpytest_inprocess(*suite, *candidate)
        done.stdout.fnmatch_lines(["*mine-fp32-cpu: regressed from what was approved*", "*another file than the one*"])
