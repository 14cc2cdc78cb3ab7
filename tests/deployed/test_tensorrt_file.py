"""TensorRT engines as candidates, on a runtime of the tests' own; where there is CUDA, on the real one, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import fake_tensorrt, shipped
from helpers.fake_tensorrt import FAULTS, HostStream

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.model import Model
from embedgate.data import load_calibration
from embedgate.deployed import source_of, tensorrt_encoder
from embedgate.deployed.tensorrt_encoder import Profile, Profiles, TensorRTFileEncoder
from embedgate.encoders import BuildContext, build
from embedgate.encoders.evidence import UNPROVEN
from embedgate.encoders.gpu.stream import Gpu
from embedgate.encoders.registry import Registry, backend_named
from embedgate.encoders.tensorrt import encoder as backend
from embedgate.encoders.tensorrt.library import Library
from embedgate.encoders.torch import encoder as torch_backend

TEXTS = ["A man is playing a guitar.", "Hi", "¿Dónde está la biblioteca? 图书馆", "", "word " * 100]
H200 = Gpu("NVIDIA H200", (9, 0), "580.95.05", 150 * 2**30)
FAKE = Library(fake_tensorrt.MODULE, "tensorrt", "11.4.0.106")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What trtexec calls --minShapes, --optShapes and --maxShapes.
ANY = [(1, 1), (8, 64), (32, 512)]


@pytest.fixture(autouse=True)
def _sound():
    FAULTS.clear()
    fake_tensorrt.RUNS.clear()
    yield
    FAULTS.clear()


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(1, ArtefactCache(cache))


@pytest.fixture(scope="module")
def right(ships, context):
    reference = torch_backend.build(ships, Combination.parse("torch-fp32-cpu"), context)
    return reference.encode(TEXTS), reference.stages(TEXTS)


@pytest.fixture
def here(monkeypatch):
    """A machine that TensorRT runs on."""
    monkeypatch.setattr(backend, "unavailable", lambda _: None)
    monkeypatch.setattr(tensorrt_encoder, "installed", lambda: FAKE)
    monkeypatch.setattr(tensorrt_encoder, "this_gpu", lambda: H200)
    monkeypatch.setattr(tensorrt_encoder, "CudaStream", HostStream)


@pytest.fixture
def engine(ships, tmp_path):
    """Writes an engine of one of the model's files."""

    def write(name="model_fp32.engine", graph="onnx/model.onnx", profiles=(ANY,), types=None) -> Path:
        shapes = [dict.fromkeys(INPUTS, profile) for profile in profiles]
        (tmp_path / name).write_bytes(fake_tensorrt.plan_of(ships.path / graph, shapes, types))
        return tmp_path / name

    return write


@pytest.fixture
def loaded(here, ships, context):
    """Loads an engine as a candidate."""

    def load(spec) -> TensorRTFileEncoder:
        registry, source = Registry(), source_of(str(spec), ships)
        registry.add_source(source)
        return build(ships, source.combination, context, registry)

    return load


class TestSource:
    """What is known of an engine before it is loaded."""

    @pytest.mark.parametrize(
        ("name", "keys", "word"),
        [
            ("minilm_fp16.engine", "", "minilm_fp16-fp16-cuda"),
            ("minilm.fp8.plan", "", "minilm.fp8-fp8-cuda"),
            ("minilm_int8.trt", "", "minilm_int8-int8-cuda"),
            ("minilm.plan", "::promise=bf16,device=cuda", "minilm-bf16-cuda"),
            ("MiniLM.ENGINE", "::promise=fp32,name=served", "served-fp32-cuda"),
        ],
    )
    def test_its_id_is_of_its_name_and_cuda(self, name, keys, word, engine, ships, tmp_path):
        source = source_of(f"{engine(name)}{keys}", ships)
        assert source.combination.id.removeprefix(f"{tmp_path.name.replace('-', '_')}_") == word
        assert len(source.identity["sha256"]) == 64

    @pytest.mark.parametrize(
        ("name", "keys", "message"),
        [
            (
                "a.plan",
                "",
                r"a.plan does not say what it computes in; say it: --gate-candidate .*a.plan::promise=fp16, or",
            ),
            ("a_fp16.plan", "::device=cpu", "a_fp16.plan: TensorRT runs on CUDA alone; leave out device=cpu"),
            ("a_fp16.plan", "::colour=red", "has no key 'colour'; its keys are name, promise, device, output"),
        ],
    )
    def test_what_cannot_be_is_refused_with_what_to_do(self, name, keys, message, engine, ships):
        with pytest.raises(GateError, match=message) as caught:
            source_of(f"{engine(name)}{keys}", ships)
        assert "\n" not in str(caught.value)

    def test_an_empty_file_is_refused(self, ships, tmp_path):
        (tmp_path / "a_fp16.engine").touch()
        with pytest.raises(GateError, match=r"a_fp16\.engine is empty; build or fetch it anew"):
            source_of(str(tmp_path / "a_fp16.engine"), ships)

    def test_where_tensorrt_cannot_run_it_says_what_its_backend_says(self, engine, ships):
        told = source_of(str(engine()), ships).unavailable()
        assert told == backend_named("tensorrt").unavailable(Combination("tensorrt", "fp16", "cuda"))
        assert "torch sees no CUDA device" in told or "TensorRT" in told or "tensorrt" in told


class TestEmbeddings:
    """What comes out, whatever shapes and types an engine takes."""

    @pytest.mark.parametrize(
        ("graph", "profiles", "types"),
        [
            ("onnx/model.onnx", [ANY], {}),
            ("onnx/model.onnx", [ANY], {**dict.fromkeys(INPUTS, "INT32"), "last_hidden_state": "HALF"}),
            ("onnx/model.onnx", [ANY], {"last_hidden_state": "BF16"}),
            ("onnx/whole.onnx", [ANY], {}),
            ("onnx/finished.onnx", [ANY], {"sentence_embedding": "HALF"}),
            ("onnx/model.onnx", [[(4, 150), (4, 150), (4, 150)]], {}),
            ("onnx/model.onnx", [[(1, 256), (2, 256), (3, 256)]], {}),
            ("onnx/model.onnx", [[(1, 1), (1, 16), (4, 16)], [(1, 17), (1, 64), (2, 512)]], {}),
        ],
        ids=["int64", "int32 and half", "bfloat16", "two outputs", "finished", "fixed", "one length", "two profiles"],
    )
    def test_a_sound_engine_gives_the_references_embeddings(self, graph, profiles, types, engine, loaded, right):
        encoder = loaded(engine(graph=graph, profiles=profiles, types=types))
        found = encoder.encode(TEXTS, batch_size=32)
        assert found.dtype == np.float32
        least = 1 - 1e-6 if not {"HALF", "BF16"} & {*types.values()} else 0.9999
        assert np.einsum("ij,ij->i", found, right[0]).min() >= least
        evidence = encoder.evidence()
        assert (evidence.problems, evidence.notes) == ((), ())
        assert (evidence.device, evidence.products) == ("cuda", {"float32": 6})
        assert evidence.library == "tensorrt 11.4.0.106"
        assert evidence.artefact_bytes
        encoder.close()

    def test_each_batch_comes_by_the_profile_that_fills_it_least(self, engine, loaded):
        short, long = [(1, 1), (1, 16), (4, 16)], [(1, 17), (1, 64), (2, 512)]
        encoder = loaded(engine(profiles=[short, long]))
        fake_tensorrt.RUNS.clear()
        encoder.encode(["Hi"] * 9 + ["word " * 40] * 5, batch_size=32)
        # A batch of all texts is as long as the longest.
        assert fake_tensorrt.RUNS == [(2, 42)] * 7
        fake_tensorrt.RUNS.clear()
        encoder.encode(["Hi"] * 9, batch_size=32)
        assert fake_tensorrt.RUNS == [(3, 3)] * 3

    def test_a_text_beyond_every_profile_is_cut_and_told(self, engine, loaded, right):
        encoder = loaded(engine("short_fp32.engine", profiles=[[(1, 1), (1, 32), (8, 64)]]))
        assert [len(ids) for ids in encoder.stages(TEXTS).token_ids] == [
            min(64, len(ids)) for ids in right[1].token_ids
        ]
        (note,) = encoder.evidence().notes
        assert note.startswith("texts of more than 64 tokens are cut, since ")
        assert note.endswith("short_fp32.engine takes no longer ones")

    def test_a_graph_that_is_fixed_itself_is_filled_up(self, engine, loaded, right):
        encoder = loaded(engine(graph="onnx/fixed.onnx", profiles=[[(2, 64)] * 3]))
        assert np.allclose(encoder.encode(TEXTS[:4]), right[0][:4], atol=1e-5)

    def test_it_shows_every_stage(self, engine, loaded, right):
        shown = loaded(engine(profiles=[[(4, 256), (4, 256), (4, 256)]])).stages(TEXTS[:3])
        for mine, theirs in zip(shown.token_embeddings, right[1].token_embeddings, strict=False):
            assert np.allclose(mine, theirs, atol=1e-4)
        assert np.allclose(shown.pooled, right[1].pooled[:3], atol=1e-4)

    def test_another_models_engine_gives_other_embeddings(self, engine, loaded, ships, right, tmp_path):
        damaged = shipped.damaged(ships.path / "onnx" / "model.onnx", tmp_path / "damaged.onnx", share=0.5)
        found = loaded(engine(graph=damaged)).encode(TEXTS)
        assert np.einsum("ij,ij->i", found, right[0]).min() < 0.9


def test_a_profile_is_chosen_by_what_it_fills_up():
    one, all_ = Profile((1, 1), (1, 16), (1, 512)), Profile((4, 64), (16, 128), (64, 256))
    profiles = Profiles([all_, one])
    assert [profiles.place(*shape) for shape in ((1, 3), (2, 3), (64, 256), (1, 300))] == [1, 0, 0, 1]
    assert [profiles.around(*shape) for shape in ((1, 3), (2, 3))] == [(1, 3), (4, 64)]
    assert [profiles.most(tokens) for tokens in (3, 256, 257)] == [64, 64, 1]
    assert profiles.longest == 512


class TestEvidence:
    """What an engine is told to compute in."""

    def test_a_promised_int8_that_is_fp32_is_told(self, engine, loaded):
        problems = loaded(f"{engine()}::promise=int8").evidence().problems
        assert problems == ("named int8, but all 6 products compute in float32",)

    def test_a_half_engine_is_what_it_promises(self, engine, loaded, ships):
        FAULTS["layers"] = _products(ships, "Half")
        assert loaded(engine("model_fp16.engine")).evidence().problems == ()

    def test_products_that_fell_back_are_told(self, engine, loaded, ships):
        FAULTS["layers"] = _products(ships, "Int8")
        sound = loaded(engine("model_int8.engine")).evidence()
        assert (sound.problems, sound.products) == ((), {"int8": 6})
        FAULTS["layers"] = dict(list(_products(ships, "Int8").items())[:2])
        problems = loaded(engine("model_int8.engine")).evidence().problems
        assert problems == ("named int8, but 4 of 6 products compute in float32",)

    def test_an_engine_that_tells_names_alone_proves_nothing(self, engine, loaded):
        FAULTS["names alone"] = True
        evidence = loaded(engine()).evidence()
        assert evidence.products == {}
        unproven, advice = evidence.problems
        assert unproven == UNPROVEN
        assert advice.endswith("trtexec --profilingVerbosity=detailed")


def _products(model: Model, kind: str) -> dict[str, str]:
    graph = onnx.load(model.path / "onnx" / "model.onnx").graph
    stored = {tensor.name for tensor in graph.initializer}
    found = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in stored]
    return {node.name: kind for node in found}


class TestTrouble:
    """What does not load or run ends in one line that says what to do."""

    def refused(self, loaded, spec, message):
        with pytest.raises(GateError, match=message) as caught:
            loaded(spec)
        assert "\n" not in str(caught.value)

    def test_an_engine_of_another_version_or_gpu(self, engine, loaded):
        FAULTS["load"] = True
        message = (
            r"^tensorrt 11.4.0.106 cannot load .*model_fp32.engine on NVIDIA H200: .*of another device; an engine "
        )
        self.refused(
            loaded, engine(), f"{message}runs with the TensorRT and the GPU that it was built with: build it here"
        )

    def test_a_file_that_is_no_engine(self, loaded, tmp_path):
        (tmp_path / "a_fp16.plan").write_bytes(b"\x00not an engine")
        self.refused(loaded, tmp_path / "a_fp16.plan", "kMAGIC_TAG; .* or fetch the file anew where it is damaged")

    def test_an_engine_of_something_else(self, engine, loaded, tmp_path):
        file = shipped.no_embedding(tmp_path / "sum.onnx")
        self.refused(loaded, engine(graph=file), r"has the input a of shape \[1\]; export it for feature extraction")

    def test_inputs_of_another_type(self, engine, loaded):
        message = "model_fp32.engine has the input attention_mask of BOOL; export it with integer inputs"
        self.refused(loaded, engine(types={"attention_mask": "BOOL"}), message)

    def test_an_output_that_is_not_there(self, engine, loaded):
        self.refused(
            loaded, f"{engine()}::output=pooler_output", r"has no output pooler_output; it has last_hidden_state "
        )

    def test_an_output_that_is_no_float(self, engine, loaded):
        message = "the engine's output last_hidden_state is BOOL of shape .*; export it for feature extraction"
        self.refused(loaded, engine(types={"last_hidden_state": "BOOL"}), message)

    @pytest.mark.parametrize(
        ("fault", "message"), [("context", "TensorRT makes no context for profile 0"), ("execute", "did not run")]
    )
    def test_an_engine_that_does_not_run(self, fault, message, engine, loaded):
        FAULTS[fault] = True
        self.refused(loaded, engine(), message)


class TestSession:
    """A project that gates an engine, on a machine without CUDA."""

    @pytest.fixture
    def model(self, ships):
        return ships

    @pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device")
    @pytest.mark.parametrize(
        ("strict", "told"), [((), "skipped: "), (("--gate-strict",), "*cannot run here, and --gate-s")]
    )
    def test_it_is_skipped_with_the_reason_and_fails_where_strict(self, strict, told, project, engine, few):
        engine("model_fp16.engine").rename(project.path / "model_fp16.engine")
        done = project.runpytest_inprocess(
            *("--pyargs", "embedgate.suites.test_effective", f"--gate-data={few}", "-rs", "-k=served"),
            *("--gate-candidate=model_fp16.engine::name=served", *strict),
        )
        done.stdout.fnmatch_lines([f"served-fp16-cuda*{told}*"])


def gates_what_the_backend_builds(model: Model, folder: Path) -> None:
    """An engine of embedgate's own, written to a file, is a sound candidate, and gives what it gives as a combination."""
    texts, digest = load_calibration()
    context = BuildContext(1, ArtefactCache(folder), texts[:128], digest)
    own = build(model, Combination("tensorrt", "fp16", "cuda"), context, Registry())
    (plan,) = folder.glob("*-engine-*/engine.plan")
    registry, source = Registry(), source_of(str(shutil.copy(plan, folder / "own_fp16.plan")), model)
    registry.add_source(source)
    candidate = build(model, source.combination, context, registry)
    assert candidate.evidence().problems == ()
    np.testing.assert_allclose(candidate.encode(TEXTS), own.encode(TEXTS), atol=5e-3)
    assert [len(ids) for ids in candidate.stages(TEXTS).token_ids] == [len(ids) for ids in own.stages(TEXTS).token_ids]
    candidate.close()
    own.close()


def test_what_the_backend_builds_is_a_candidate(here, small, tmp_path, monkeypatch):
    for name in ("installed", "this_gpu", "CudaStream"):
        monkeypatch.setattr(backend, name, getattr(tensorrt_encoder, name))
    gates_what_the_backend_builds(small, tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_what_the_backend_builds_is_a_candidate_on_hardware(small, tmp_path):
    if reason := backend_named("tensorrt").unavailable(Combination("tensorrt", "fp16", "cuda")):
        pytest.skip(reason)
    gates_what_the_backend_builds(small, tmp_path)
