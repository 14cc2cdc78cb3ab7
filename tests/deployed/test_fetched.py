"""Files beside a model of the hub: fetched from its pinned commit, with what they need beside them."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from helpers.fake_hub import COMMIT, Hub

from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import GateError
from embedgate.core.model import resolve
from embedgate.deployed import source_of
from embedgate.encoders import BuildContext, build
from embedgate.encoders.registry import Registry

IR = "openvino/openvino_model_qint8_quantized.xml"


@pytest.fixture
def hub(ships, tmp_path, monkeypatch) -> Hub:
    """A hub that holds the model and the files beside it, of which none is in the cache."""
    found = Hub(ships.path, tmp_path / "models--acme--encoder")
    found.patch(monkeypatch)
    return found


@pytest.fixture
def model(hub):
    return resolve(hub.source)


@pytest.fixture
def offline(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.trouble = ConnectionError("offline mode is enabled")


@pytest.mark.parametrize(
    ("spec", "id_", "fetched"),
    [
        (
            "onnx/model_qint8_avx512_vnni.onnx",
            "model_qint8_avx512_vnni-int8-cpu",
            ["onnx/model_qint8_avx512_vnni.onnx"],
        ),
        ("./onnx/beside.onnx::name=mine", "mine-fp32-cpu", ["onnx/beside.onnx", "onnx/beside.onnx_data"]),
        (IR, "openvino_model_qint8_quantized-int8-cpu", [IR, f"{IR.removesuffix('xml')}bin"]),
    ],
)
def test_a_file_is_fetched_with_what_it_needs_beside_it(spec, id_, fetched, hub, model):
    told: list[str] = []
    source = source_of(spec, model, progress=told.append)
    assert source.combination.id == id_
    assert source.origin == fetched[0]
    assert hub.fetched == fetched
    size = (hub.remote / fetched[0]).stat().st_size / 1e6
    assert told[0] == f"fetching {fetched[0]} of acme/encoder ({size:,.1f} MB)"
    assert len(told) == len(fetched)
    source_of(spec, model, progress=told.append)
    assert len(told) == len(fetched), "the second time, it is there"


def test_what_was_fetched_is_the_file_that_ships(hub, model, ships, cache):
    """The weights beside a file are a link out of the folder, as everything in the hub's cache: they were refused."""
    registry, source = Registry(), source_of("onnx/beside.onnx", model)
    registry.add_source(source)
    found = build(model, source.combination, BuildContext(1, ArtefactCache(cache)), registry).encode(["one text"])
    assert found.shape == (1, 384)
    assert np.isfinite(found).all()
    assert source.identity == source_of("onnx/beside.onnx", ships).identity
    assert resolve(hub.source).fingerprint == model.fingerprint


def test_a_file_that_lacks_its_weights_gets_them(hub, model):
    source_of("onnx/beside.onnx", model)
    (model.path / "onnx" / "beside.onnx_data").unlink()
    source_of("onnx/beside.onnx", model)
    assert hub.fetched[-1] == "onnx/beside.onnx_data"


def test_a_file_as_seen_from_here_comes_first(hub, model, tmp_path, monkeypatch):
    (tmp_path / "onnx").mkdir()
    shutil.copy(hub.remote / "onnx" / "model.onnx", tmp_path / "onnx" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    source_of("onnx/model.onnx", model)
    assert hub.fetched == []


def test_what_was_fetched_works_offline(hub, model, monkeypatch):
    source_of("onnx/beside.onnx", model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.trouble = ConnectionError("offline mode is enabled")
    assert source_of("onnx/beside.onnx", model).combination.id == "beside-fp32-cpu"


class TestTrouble:
    """What cannot be fetched ends in one line that says what to do."""

    def refused(self, spec, model, message):
        with pytest.raises(GateError, match=message) as caught:
            source_of(spec, model)
        assert "\n" not in str(caught.value)

    def test_a_file_that_the_commit_has_not(self, model):
        message = (
            f"^acme/encoder@{COMMIT} has no onnx/none.onnx; it has onnx/beside.onnx, .*openvino/openvino_model.xml"
        )
        self.refused("onnx/none.onnx", model, message)

    def test_no_network(self, hub, model):
        hub.trouble = OSError("Name or service not known\nretrying")
        message = (
            f"^the files of acme/encoder@{COMMIT} cannot be listed: Name or service not known; check id, commit and"
        )
        self.refused("onnx/model.onnx", model, message)

    def test_a_connection_that_breaks(self, hub, model, monkeypatch):
        def broken(*_, **__):
            raise RuntimeError("peer closed connection\nwithout a word")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
        message = f"onnx/model.onnx of acme/encoder@{COMMIT} cannot be fetched: peer closed connection; fetch it where "
        self.refused("onnx/model.onnx", model, message)

    def test_offline(self, model, offline):
        message = "onnx/model.onnx of .* is not in the cache, and HF_HUB_OFFLINE is set; fetch it where there is a "
        self.refused(
            "onnx/model.onnx", model, f"{message}network: hf download acme/encoder onnx/model.onnx --revision "
        )

    def test_a_path_out_of_the_repository(self, hub, model):
        self.refused("../model.onnx", model, r"no \.\./model.onnx here, and none in ")
        assert hub.fetched == []

    def test_weights_out_of_the_repository(self, hub, model, tmp_path):
        hub.remote = shutil.copytree(hub.remote, tmp_path / "remote")
        graph = onnx.load(hub.remote / "onnx" / "beside.onnx", load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                entry.value = "../../secret" if entry.key == "location" else entry.value
        onnx.save(graph, hub.remote / "onnx" / "beside.onnx")
        self.refused("onnx/beside.onnx", model, "keeps weights outside its folder: ../../secret")
        assert hub.fetched == ["onnx/beside.onnx"]


class TestShipped:
    """`--gate-shipped` of a model of the hub."""

    @pytest.fixture
    def gated(self, project, hub, few):
        """Runs the gate on two files of the repository."""
        hub.remote = shutil.copytree(hub.remote, project.path / "remote")
        for file in (hub.remote / "onnx").iterdir():
            if file.name != "model_qint8_avx512_vnni.onnx":
                file.unlink()
        (hub.remote / "openvino" / "openvino_model.xml").unlink()

        def run(*more: str):
            return project.runpytest_inprocess(
                *("--pyargs", "embedgate.suites.test_effective", f"--gate-data={few}", f"--gate-model={hub.source}"),
                *("--gate-shipped", *more),
            )

        return run

    def test_every_file_of_the_repository_is_fetched_and_gated(self, gated, hub):
        done = gated("--collect-only")
        assert hub.listed == 1  # it was listed once more for each file
        assert hub.fetched == ["onnx/model_qint8_avx512_vnni.onnx", IR, f"{IR.removesuffix('xml')}bin"]
        done.stdout.fnmatch_lines(
            ["*fetching onnx/model_qint8_avx512_vnni.onnx of acme/encoder (* MB)", "*fetching openvino/*.xml of *"]
        )
        done.stdout.fnmatch_lines(["*model_qint8_avx512_vnni-int8-cpu*", "*openvino_model_qint8_quantized-int8-cpu*"])

    def test_a_file_of_the_same_name_here_is_not_the_one_that_ships(self, gated, hub, project):
        (project.path / "onnx").mkdir()
        (project.path / "onnx" / "model_qint8_avx512_vnni.onnx").write_bytes(b"not a graph")
        assert gated("--collect-only").ret == 0
        assert "onnx/model_qint8_avx512_vnni.onnx" in hub.fetched

    def test_offline_it_gates_what_is_in_the_cache_and_says_so(self, gated, hub, monkeypatch):
        source_of(IR, resolve(hub.source))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        hub.trouble = ConnectionError("offline mode is enabled")
        done = gated("--collect-only")
        done.stdout.fnmatch_lines(
            ["*HF_HUB_OFFLINE is set: --gate-shipped gates what is in the cache of acme/encoder alone"]
        )
        done.stdout.fnmatch_lines(["*openvino_model_qint8_quantized-int8-cpu*"])
        assert "model_qint8_avx512_vnni" not in done.stdout.str()

    def test_offline_with_nothing_in_the_cache_is_told(self, gated, offline):
        done = gated("--collect-only")
        told = "\n".join((*done.outlines, *done.errlines))
        assert "ships no ONNX, OpenVINO or GGUF file; leave out --gate-shipped" in told

    def test_a_hub_that_cannot_be_asked_is_told(self, gated, hub):
        hub.trouble = OSError("Name or service not known")
        done = gated("--collect-only")
        (*_, line) = [each for each in (*done.outlines, *done.errlines) if "cannot be listed" in each]
        assert "check id, commit and network" in line
