"""`--gate-incumbent` as people give it: each kind once red or refused with what to do, and once green."""

from __future__ import annotations

import json
import math
import shutil

import pytest
from helpers import overlapping
from helpers.faults import cls_pooling
from helpers.overlapping import N, grade, pair
from helpers.small import copy_with

from embedgate.command import main
from embedgate.report.receipt import seal

BOTH = ("--gate-combination=torch-fp32-cpu", "--gate-combination=torch-bf16-cpu")
SUITE = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_upgrade", "--gate-data=mine.jsonl")


@pytest.fixture
def project(project, few_cases):
    overlapping.written(project.path / "mine.jsonl")
    return project


def run(project, *options: str, combination: str = "torch-fp32-cpu"):
    globs = (
        () if any(each.startswith("--gate-candidate") for each in options) else (f"--gate-combination={combination}",)
    )
    return project.runpytest_inprocess(*SUITE, *globs, *options)


def answers(project, name: str, *, perfect: bool = True):
    """Recorded answers whose similarities are the grades, or against them."""
    lines = []
    for i in range(N):
        angle = math.acos(grade(i) / 5 if perfect else 1 - grade(i) / 5)
        lines += [(pair(i)[0], [1.0, 0.0]), (pair(i)[1], [math.cos(angle), math.sin(angle)])]
    file = project.path / f"{name}.answers.jsonl"
    file.write_text("".join(json.dumps({"text": text, "vector": vector}) + "\n" for text, vector in lines))
    return file.name


def report(project) -> dict:
    return json.loads(project.path.joinpath("out/report.json").read_text())


def refused(result, message: str):
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


class TestModel:
    def test_each_combination_is_held_against_the_same_one(self, project, model, tmp_path):
        shutil.copytree(model.path, tmp_path / "resaved")
        options = (f"--gate-incumbent={tmp_path / 'resaved'}", "--gate-report=out")
        run(project, *options, combination="torch-[bf]*32-cpu").assert_outcomes(passed=1)
        run(project, *options, combination="torch-bf16-cpu").assert_outcomes(passed=2)
        facts = report(project)["upgrade_facts"]["combinations"]
        assert {id_: each["against"] for id_, each in facts.items()} == dict.fromkeys(facts, None) | {
            id_: id_ for id_ in ("torch-fp32-cpu", "torch-bf16-cpu")
        }
        assert facts["torch-bf16-cpu"]["new"]["weight_bytes"] < facts["torch-fp32-cpu"]["new"]["weight_bytes"]

    def test_shards_are_joined_with_what_each_compared(self, project, model, monkeypatch):
        for id_, folder in (("torch-fp32-cpu", "a"), ("torch-bf16-cpu", "b")):
            run(project, f"--gate-incumbent={model.path}", f"--gate-report={folder}", combination=id_)
        monkeypatch.chdir(project.path)
        assert main(["merge", "a/report.json", "b/report.json", "--out", "out"]) == 0
        joined = report(project)
        assert {judged["combination"] for judged in joined["upgrade"]} == {"torch-fp32-cpu", "torch-bf16-cpu"}
        assert {*joined["upgrade_facts"]["combinations"]} == {"torch-fp32-cpu", "torch-bf16-cpu"}
        assert joined["index"].startswith("new vectors can be mixed with the incumbent's")

    def test_at_quick_the_reference_alone_is(self, project, model):
        options = ("--gate-depth=quick", f"--gate-incumbent={model.path}")
        run(project, *options, combination="torch-bf16-cpu").assert_outcomes(passed=1, deselected=1)

    def test_another_prompt_is_told_and_the_slices_too(self, project, model, tmp_path):
        old = copy_with(model, tmp_path / "old", prompts={"STS": "sentence: "})
        done = run(project, f"--gate-incumbent={old}", "--gate-report=out")
        done.stdout.fnmatch_lines(["tokens: 100.0% of 110 texts have others", "prompts: sts 'sentence: ' → none"])
        (found,) = report(project)["upgrade"]
        assert [(each["name"], each["items"]) for each in found["slices"]] == [("s0", 30), ("s1", 30)]
        assert "slices of mine Spearman from the worst" in project.path.joinpath("out/report.html").read_text()

    def test_a_missing_one_is_refused_with_all_that_may_be_given(self, project):
        refused(run(project, "--gate-incumbent=gone"), "--gate-incumbent: no model folder at 'gone'; give a model's*")

    def test_none_is_refused(self, project):
        refused(run(project, "--gate-incumbent=none"), "--gate-incumbent none has no weights to run; name a server*")


class TestCandidate:
    def test_what_answers_better_is_red_and_the_table_shows_both(self, project):
        done = run(project, f"--gate-incumbent={answers(project, 'old')}", "--gate-report=out")
        done.assert_outcomes(failed=1)
        done.stdout.fnmatch_lines(
            [
                "*torch-fp32-cpu * incumbent-served-cpu * fail 1/1 * 2 → 384*",
                "torch-fp32-cpu: keeps * of old.answers.jsonl's spearman on mine (* of 1.0000), 99.00% is required*",
                "index: embed everything again: 384 dimensions instead of 2 (vectors of torch-fp32-cpu)",
                "no map into the old index: a map of 384 dimensions needs some 480 texts *, and 110 are here, 6 of them with vectors of their own",
                "embedding 1,000,000 documents again takes some * here, for texts like these*, and 1.54 GB as float32",
            ]
        )
        assert report(project)["upgrade_facts"]["incumbent"]["kind"] == "candidate"

    def test_recorded_answers_beside_recorded_answers_are_green(self, project):
        one = answers(project, "one")
        new = f"--gate-candidate={one}"
        done = run(project, new, f"--gate-incumbent={answers(project, 'two')}", "-k", "one")
        done.assert_outcomes(passed=1, deselected=1)
        done.stdout.fnmatch_lines(["index: new vectors can be mixed with the incumbent's*"])

    def test_its_prompts_are_those_of_the_model_it_is_of(self, project, model, tmp_path):
        """Else it would be asked for texts as the new model reads them."""
        copy_with(model, project.path / "new", prompts={"STS": "sentence: "})
        options = ("--gate-model=new", f"--gate-incumbent={answers(project, 'old')}")
        done = run(project, *options)
        done.assert_outcomes(errors=1)
        done.stdout.fnmatch_lines(["*old.answers.jsonl has no answer for 110 of 110 texts*"])
        done = run(project, options[0], f"{options[1]}::of={model.path}")
        done.assert_outcomes(failed=1)

    def test_stored_vectors_are_refused(self, project):
        project.path.joinpath("vectors.jsonl").write_text('{"text": "one", "vector": [1.0, 0.0]}\n')
        message = "--gate-incumbent vectors.jsonl is stored vectors, which know their own texts alone; give the model*"
        refused(run(project, "--gate-incumbent=vectors.jsonl"), message)

    def test_the_same_name_as_a_combination_is_refused(self, project):
        given = f"{answers(project, 'old')}::name=torch,promise=bf16"
        message = "old.answers.jsonl would be called torch-bf16-cpu, which exists already; give it another name*"
        refused(run(project, f"--gate-incumbent={given}"), message)


class TestFolder:
    def test_another_model_s_folder_by_a_name_is_loaded_with_its_own_prompts(self, project, model, tmp_path):
        cls_pooling(model.path, "cpu").save_pretrained(str(tmp_path / "other"))
        done = run(project, f"--gate-incumbent={tmp_path / 'other'}::name=before", "--gate-report=out")
        facts = report(project)["upgrade_facts"]
        assert (facts["incumbent"]["kind"], facts["incumbent"]["name"]) == ("candidate", "other")
        assert facts["combinations"]["torch-fp32-cpu"]["against"] == "before-fp32-cpu"
        done.stdout.fnmatch_lines(["index: embed everything again: same dimension (384)*"])


class TestCombination:
    def test_another_combination_of_the_model(self, project):
        done = run(project, "--gate-incumbent=torch-fp32-cpu", "--gate-report=out", combination="torch-bf16-cpu")
        (found,) = report(project)["upgrade"]
        assert (found["combination"], found["reference_value"] > 0) == ("torch-bf16-cpu", True)
        done.stdout.fnmatch_lines(["incumbent: torch-fp32-cpu (combination, *)"])

    def test_itself_alone_is_refused(self, project):
        message = "--gate-incumbent torch-fp32-cpu: nothing that is judged here can be held against it*"
        refused(run(project, "--gate-incumbent=torch-fp32-cpu"), message)


class TestReport:
    @pytest.fixture
    def old(self, project):
        """A report of an earlier session."""
        suites = [f"embedgate.suites.test_{name}" for name in ("effective", "quality")]
        options = (*BOTH, "--gate-data=mine.jsonl", "--gate-report=old", "-k", "says or keeps_the_reference")
        project.runpytest_inprocess("-p", "no:cacheprovider", "--pyargs", *suites, *options)
        return project.path / "old" / "report.json"

    def changed(self, file, change) -> None:
        found = json.loads(file.read_text())
        change(found)
        found["receipt"].pop("sha256", None)
        file.write_text(json.dumps(seal(found)))

    def test_the_same_values_are_green_and_what_it_cannot_tell_is_said(self, project, old):
        self.changed(old, lambda found: found["libraries"].update(torch="1.0"))
        done = run(project, f"--gate-incumbent={old}", "--gate-report=out", combination="torch-bf16-cpu")
        done.assert_outcomes(passed=2)
        done.stdout.fnmatch_lines(
            [
                "incumbent: *report.json (report, *, written 20*)",
                "libraries that changed since: *torch 1.0 → *",
                "*index: not known: the report of an earlier session holds no vectors of these texts*",
            ]
        )
        found = report(project)["upgrade_facts"]
        assert {"then": "1.0"}.items() <= found["libraries"]["torch"].items()
        assert found["combinations"]["torch-bf16-cpu"]["old"]["weight_bytes"] > 0

    def test_a_greater_value_then_is_red_by_values(self, project, old):
        def better(found):
            for row in found["combinations"]:
                for judged in row["judgements"]:
                    if judged["metric"] == "spearman":
                        judged["value"] *= 1.5
            found["approvable"] = []

        self.changed(old, better)
        done = run(project, f"--gate-incumbent={old}", combination="torch-bf16-cpu")
        done.assert_outcomes(passed=1, failed=1)
        done.stdout.fnmatch_lines(
            [
                "torch-bf16-cpu: keeps 66.67% of what *report.json of 20* has of spearman on mine *, 99.00% is required; *"
            ]
        )
        done.stdout.fnmatch_lines(["*compared by values, since a report holds no scores of single items*"])

    def test_equal_values_are_not_better(self, project, old):
        options = (f"--gate-incumbent={old}", "--gate-superior=mine", "--gate-report=out")
        run(project, *options, combination="torch-bf16-cpu").assert_outcomes(passed=4)
        verdicts = {(j["check"], j["verdict"]) for j in report(project)["upgrade"]}
        assert verdicts == {("upgrade", "pass"), ("superior", "inconclusive")}

    def test_golden_texts_tell_how_near_vectors_are_where_both_have_them(self, project):
        suites = [f"embedgate.suites.test_{name}" for name in ("effective", "golden")]
        project.runpytest_inprocess(
            *("-p", "no:cacheprovider", "--gate-combination=torch-fp32-cpu", "--gate-data=mine.jsonl"),
            *("--gate-report=old", "--pyargs", *suites),
        )
        done = run(project, suites[1], "--gate-incumbent=old/report.json")
        done.stdout.fnmatch_lines(
            [
                "index: not known: * no vectors of these texts, but for 64 golden texts: mean cosine 1.0000*",
                "*not judged: old/report.json of 20* has no spearman of torch-fp32-cpu on mine; give a report*",
            ]
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r: r["model"].update(fingerprint="ab" * 32, name="older"), "*is about the model older (abababab*, and small (*) is gated*give that model itself*"),
            (lambda r: r.update(datasets=[]), "*knows no value of these data: it has not judged mine; give the data*"),
            (lambda r: r["datasets"][0].update(sha256="ab" * 32), "*knows no value of these data: mine had other rows then (SHA-256 abababab*"),
            (lambda r: r["combinations"].clear(), "*: nothing that is judged here can be held against it; judge what it has*"),
            (lambda r: r.pop("libraries"), "*is no report of this embedgate's: it has no 'libraries'; make one with it, by --gate-report"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_compared_is_refused(self, project, old, change, message):
        self.changed(old, change)
        refused(run(project, f"--gate-incumbent={old}"), f"--gate-incumbent{message}")

    def test_what_is_cut_short_or_changed_by_hand_is_refused(self, project, old):
        whole = old.read_text()
        old.write_text(whole[: len(whole) // 2])
        refused(run(project, f"--gate-incumbent={old}"), "--gate-incumbent: *report.json*")
        old.write_text(whole.replace('"pass"', '"fail"', 1))
        refused(run(project, f"--gate-incumbent={old}"), "--gate-incumbent: * is not as it was written*")
        refused(
            run(project, "--gate-incumbent=gone.json"), "--gate-incumbent: there is no report of an earlier session*"
        )


class TestSuperior:
    def test_what_is_better_passes_and_what_is_equal_does_not(self, project):
        new = f"--gate-candidate={answers(project, 'new')}"
        options = (new, "--gate-superior=*", "--gate-report=out", "-k", "better and new")
        run(project, *options, f"--gate-incumbent={answers(project, 'same')}")
        (found,) = report(project)["upgrade"]
        assert (found["verdict"], found["observed"], found["limit"]) == ("inconclusive", 1.0, 1.0)
        done = run(project, *options, "--gate-incumbent=torch-fp32-cpu")
        (found,) = report(project)["upgrade"]
        assert found["verdict"] == "pass"
        assert "more than 100.00% is required" in found["message"]
        assert done.ret == pytest.ExitCode.OK

    def test_what_is_worse_fails(self, project):
        options = ("--gate-superior=mine", f"--gate-incumbent={answers(project, 'old')}", "-k", "better")
        done = run(project, *options)
        done.assert_outcomes(failed=1, deselected=1)
        done.stdout.fnmatch_lines(["torch-fp32-cpu: reaches *, more than 100.00% is required; even the better end*"])

    def test_a_margin_of_the_tolerances_must_be_exceeded(self, project, model):
        project.mkdir("gate").joinpath("tolerances.toml").write_text("[superior]\nall = 0.05\n")
        options = ("--gate-superior=mine", "--gate-baselines=gate", "--gate-report=out", "-k", "better")
        run(project, *options, f"--gate-incumbent={model.path}").assert_outcomes(failed=1, deselected=1)
        assert report(project)["upgrade"][0]["limit"] == 1.05

    def test_without_an_incumbent_it_is_refused(self, project):
        message = "--gate-superior needs what to be better than; name it by --gate-incumbent"
        refused(run(project, "--gate-superior=mine"), message)

    def test_a_glob_that_matches_nothing_is_refused(self, project, model):
        options = ("--gate-superior=passages", f"--gate-incumbent={model.path}")
        refused(run(project, *options), "--gate-superior: no dataset matches 'passages'; choose from mine")
