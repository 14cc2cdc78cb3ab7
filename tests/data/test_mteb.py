"""Tasks of MTEB as data: mteb's own scores come out, and what is no kind of dataset is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedgate.core.embeddings import Embeddings
from embedgate.core.errors import DataError
from embedgate.data import Dataset, Labelled, Retrieval, Similarity, load, load_bundled
from embedgate.metrics.evaluate import measure

mteb = pytest.importorskip("mteb", reason="pip install embedgate[mteb]")
datasets = pytest.importorskip("datasets")

from helpers import mteb_local as local  # noqa: E402
from helpers.hub_cache import Put, offline  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GRADED = {"sentence1": ["a b", "c", "e"], "sentence2": ["a b c", "d", "f"], "score": [5.0, 1.5, 0.0]}
CORPUS = [{"id": f"d{n}", "text": text} for n, text in enumerate(("tea is made of leaves", "coffee", "a cup", ""))]
QUERIES = [{"id": "q1", "text": "what is tea"}, {"id": "q2", "text": "what is coffee"}]
RELEVANT = {"q1": {"d0": 2, "d2": 1}, "q2": {"d1": 1, "d0": 0}}
# Every note of a task whose main score is another's.
OTHER = "judged by {how}; mteb's main score of {name} is {score}"
PAIRS = "Spearman's rank correlation"
LABELS = "the V-measure of k-means with the same starts in every combination"


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has mteb know these tasks as well."""
    known: dict[str, type] = {}
    of_mteb = mteb.get_task
    monkeypatch.setattr(mteb, "get_task", lambda name: known[name]() if name in known else of_mteb(name))

    def add(*classes: type) -> None:
        known.update({each.metadata.name: each for each in classes})

    return add


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as refused:
        load(spec)
    return str(refused.value)


# --- mteb's own scores


class Encoded:
    """mteb's scores of a model, and embedgate's of the same embeddings."""

    def __init__(self, folder: str) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(folder, device="cpu", local_files_only=True)

    def by_mteb(self, task: type) -> Mapping[str, Any]:
        found = mteb.evaluate(self.model, task(), cache=None, show_progress_bar=False, co2_tracker=False)
        return found.task_results[0].scores["test"][0]

    def by_embedgate(self, dataset: Dataset) -> dict[str, float]:
        inputs = dataset.inputs()
        vectors = self.model.encode([each.text for each in inputs], show_progress_bar=False)
        return {name: scores.value for name, scores in measure(dataset, Embeddings(inputs, vectors)).items()}


@pytest.fixture(scope="module")
def encoded(small) -> Encoded:
    return Encoded(str(small.path))


def of_pairs(few: int) -> dict[str, list[Any]]:
    bundled = load_bundled("pairs")
    rows = range(0, len(bundled), len(bundled) // few)
    assert isinstance(bundled, Similarity)
    return {
        "sentence1": [bundled.first[row] for row in rows],
        "sentence2": [bundled.second[row] for row in rows],
        "score": [float(bundled.grades[row]) for row in rows],
    }


def rankings(queries: int, documents: int) -> tuple[list[dict[str, str]], list[dict[str, str]], dict[str, Any]]:
    """Some of the bundled queries and documents, the latter with titles, and more judgements than one each."""
    bundled = load_bundled("passages")
    assert isinstance(bundled, Retrieval)
    corpus = [
        {"id": f"d{row}", "title": text.partition(" ")[0] if row % 2 else "", "text": f"{text} "}
        for row, text in enumerate(bundled.documents[:documents])
    ]
    rows = [row for row, found in enumerate(bundled.relevance) if max(found) < documents][:queries]
    asked = [{"id": f"q{row}", "text": bundled.queries[row]} for row in rows]
    relevant = {
        f"q{row}": {f"d{document}": grade for document, grade in bundled.relevance[row].items()}
        | {f"d{(row + 7) % documents}": 2, f"d{(row + 8) % documents}": 0}
        for row in rows
    }
    return corpus, asked, relevant


def labelled_texts(few: int) -> tuple[list[str], list[str]]:
    bundled = load_bundled("topics")
    assert isinstance(bundled, Labelled)
    rows = range(0, len(bundled), len(bundled) // few)
    return [bundled.items[row] for row in rows], [bundled.labels[row] for row in rows]


def test_spearman_is_mtebs(tasks, encoded):
    task = local.sts("LocalSTS", of_pairs(150))
    tasks(task)
    dataset = load("mteb:LocalSTS")
    assert (dataset.kind, dataset.notes) == ("similarity", ())
    theirs = encoded.by_mteb(task)
    assert 0.3 < theirs["main_score"] < 0.95
    assert encoded.by_embedgate(dataset)["spearman"] == pytest.approx(theirs["cosine_spearman"], abs=1e-4)


def assert_ranked_as_by_mteb(encoded: Encoded, task: type) -> None:
    theirs, ours = encoded.by_mteb(task), encoded.by_embedgate(load(f"mteb:{task.metadata.name}"))
    assert 0.1 < theirs["main_score"] < 0.95
    for name in ("ndcg_at_10", "recall_at_10", "mrr_at_10"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


def test_rankings_are_mtebs(tasks, encoded):
    task = local.retrieval("LocalRetrieval", *rankings(60, 150))
    tasks(task)
    assert load("mteb:LocalRetrieval").notes == ()
    assert_ranked_as_by_mteb(encoded, task)


@pytest.mark.parametrize("left_out", [True, False])
def test_rankings_are_mtebs_where_queries_are_documents(tasks, encoded, left_out):
    """Of the same ids, a document is left out where the task has it so, and is found otherwise."""
    corpus, _, _ = rankings(1, 150)
    queries = [{"id": each["id"], "text": each["text"]} for each in corpus[:50]]
    words = [set(each["text"].split()) for each in corpus]
    relevant = {}
    for row in range(50):
        nearest = sorted(range(150), key=lambda other: -len(words[row] & words[other]))[:4]
        relevant[f"d{row}"] = {f"d{other}": 1 for other in nearest} | {f"d{row}": row % 2, "gone": row % 3}
    task = local.retrieval("LocalOwn", corpus, queries, relevant, ignore_identical_ids=left_out)
    tasks(task)
    absent = "33 relevant documents are not in the corpus: they count as never found, as in mteb"
    told = "50 of 50 queries are documents too, under the same id: each is left out of its own ranking, as in BEIR"
    notes = load("mteb:LocalOwn").notes
    assert notes[0] == absent
    assert (told in notes) == left_out
    assert_ranked_as_by_mteb(encoded, task)


def test_v_measure_is_near_mtebs(tasks, encoded):
    """Equal it cannot be: mteb's is of mini-batch k-means over draws with replacement, from starts of its own."""
    texts, labels = labelled_texts(280)
    fast = local.clustering(
        "LocalClustering", {"sentences": texts, "labels": labels}, max_fraction_of_documents_to_embed=None
    )
    whole = local.sets("LocalSets", {"sentences": [texts], "labels": [labels]})
    tasks(fast, whole)
    ours = encoded.by_embedgate(load("mteb:LocalClustering"))["v_measure"]
    assert ours == encoded.by_embedgate(load("mteb:LocalSets"))["v_measure"]
    assert ours == pytest.approx(encoded.by_mteb(fast)["v_measure"], abs=0.1)
    assert ours == pytest.approx(encoded.by_mteb(whole)["v_measure"], abs=0.1)


def test_spearman_of_pairs_orders_models_as_mtebs_score_does(tasks, encoded):
    columns = of_pairs(150)
    middle = np.median(columns["score"])
    labels = [int(score > middle) for score in columns.pop("score")]
    task = local.pairs("LocalPairs", {**columns, "labels": labels})
    tasks(task)
    dataset = load("mteb:LocalPairs")
    assert dataset.notes == (OTHER.format(how=PAIRS, name="LocalPairs", score="max_ap"),)
    assert isinstance(dataset, Similarity)
    assert dataset.grades.tolist() == labels
    from sklearn.metrics import roc_auc_score

    first, second = (encoded.model.encode(list(part)) for part in (dataset.first, dataset.second))
    area = roc_auc_score(labels, (first * second).sum(axis=1))
    # Of two grades in halves, Spearman's correlation is the area under the ROC curve on another scale.
    p, n = np.mean(labels), len(labels)
    scale = np.sqrt(3 * p * (1 - p) / (1 - 1 / n**2))
    assert encoded.by_embedgate(dataset)["spearman"] == pytest.approx((2 * area - 1) * scale, abs=1e-6)


# --- what is read


def test_what_identifies_a_task(tasks):
    tasks(local.sts("LocalSTS", GRADED))
    dataset = load("mteb:LocalSTS")
    assert (dataset.name, dataset.source) == ("LocalSTS", f"mteb:LocalSTS@{local.REVISION}::split=test")
    assert dataset.version == f"{local.REVISION} (mteb {mteb.__version__})"
    assert isinstance(dataset, Similarity)
    assert (dataset.first, dataset.grades.tolist()) == (("a b", "c", "e"), [5.0, 1.5, 0.0])
    again = load(dataset.source)
    assert (again.sha256, again.source) == (dataset.sha256, dataset.source)
    assert load("mteb:LocalSTS::name=mine").name == "mine"
    assert refusal("mteb:LocalSTS::name=a/b").startswith("mteb:LocalSTS: name is 'a/b'; ")


def test_the_hash_is_of_what_was_asked_for_and_of_what_came(tasks, monkeypatch):
    tasks(local.sts("LocalSTS", GRADED))
    first = load("mteb:LocalSTS")
    elsewhere = load(f"mteb:LocalSTS@{COMMIT}")
    assert elsewhere.version.startswith(COMMIT)
    assert elsewhere.sha256 != first.sha256
    tasks(local.sts("LocalSTS", {**GRADED, "score": [5.0, 1.5, 0.5]}))
    assert load("mteb:LocalSTS").sha256 != first.sha256
    tasks(local.sts("LocalSTS", GRADED))
    monkeypatch.setattr(mteb, "__version__", "99.0")
    assert load("mteb:LocalSTS").sha256 == first.sha256


def test_the_order_of_judgements_does_not_change_the_hash(tasks):
    tasks(local.retrieval("Local", CORPUS, QUERIES, RELEVANT))
    first = load("mteb:Local")
    backwards = {query: dict(reversed(found.items())) for query, found in reversed(RELEVANT.items())}
    tasks(local.retrieval("Local", CORPUS, QUERIES, backwards))
    assert load("mteb:Local").sha256 == first.sha256
    tasks(local.retrieval("Local", CORPUS, QUERIES, {**RELEVANT, "q2": {"d1": 2}}))
    assert load("mteb:Local").sha256 != first.sha256


def test_a_commit_is_where_mteb_loads_from(tasks, monkeypatch):
    task = local.sts("LocalSTS", GRADED)
    asked = []
    load_data = task.load_data
    monkeypatch.setattr(task, "load_data", lambda self: (asked.append(self.metadata.dataset), load_data(self)))
    tasks(task)
    load(f"mteb:LocalSTS@{COMMIT}")
    assert asked == [{"path": "local/local", "revision": COMMIT}]
    assert task.metadata.dataset["revision"] == local.REVISION


def test_a_task_that_mteb_pins_by_a_few_digits(tasks):
    tasks(local.sts("Short", GRADED, dataset={"path": "local/local", "revision": "49c07b6"}))
    dataset = load("mteb:Short")
    assert dataset.source == "mteb:Short@49c07b6::split=test"
    assert load(dataset.source).sha256 == dataset.sha256
    assert refusal("mteb:Short@49c07b7").startswith("mteb:Short is not pinned by '49c07b7'; ")


def test_code_of_a_repository_is_never_asked_for(tasks, monkeypatch):
    data = {"path": "local/local", "revision": local.REVISION, "trust_remote_code": True}
    task = local.sts("LocalSTS", GRADED, dataset=data)
    asked = []
    load_data = task.load_data
    monkeypatch.setattr(task, "load_data", lambda self: (asked.append(self.metadata.dataset), load_data(self)))
    tasks(task)
    load("mteb:LocalSTS")
    assert asked == [{"path": "local/local", "revision": local.REVISION}]


def test_splits(tasks):
    dev = {**GRADED, "sentence1": ["x", "y", "z"]}
    splits = datasets.DatasetDict(test=datasets.Dataset.from_dict(GRADED), dev=datasets.Dataset.from_dict(dev))
    tasks(
        local.sts("Both", splits, eval_splits=["dev", "test"]),
        local.sts("Dev", splits, eval_splits=["dev"]),
        local.sts("Neither", splits, eval_splits=["one", "two"]),
    )
    assert (load("mteb:Both").name, load("mteb:Both").first[0]) == ("Both", "a b")
    assert (load("mteb:Both::split=dev").name, load("mteb:Both::split=dev").first[0]) == ("Both-dev", "x")
    assert load("mteb:Both::split=dev").sha256 != load("mteb:Both").sha256
    assert load("mteb:Dev").name == "Dev-dev"
    assert refusal("mteb:Neither") == "mteb:Neither has the splits one, two; write mteb:Neither::split=one"
    pin = f"mteb:Both@{local.REVISION}::split=train"
    assert refusal("mteb:Both::split=train") == f"{pin}: the data has no such split; name one of test, dev"


def test_subsets(tasks):
    english = datasets.DatasetDict(test=datasets.Dataset.from_dict(GRADED))
    german = datasets.DatasetDict(test=datasets.Dataset.from_dict({**GRADED, "sentence1": ["x", "y", "z"]}))
    languages = {"en": ["eng-Latn"], "de": ["deu-Latn"]}
    tasks(local.sts("Multi", {"en": english, "de": german}, eval_langs=languages))
    found = load("mteb:Multi::subset=de")
    assert (found.name, found.first[0]) == ("Multi-de", "x")
    assert found.source == f"mteb:Multi@{local.REVISION}::subset=de,split=test"
    action = "write mteb:Multi::subset=en, or another"
    assert refusal("mteb:Multi") == f"mteb:Multi has several subsets, each a dataset of its own: en, de; {action}"
    assert refusal("mteb:Multi::subset=fr").startswith("mteb:Multi has no subset 'fr', each a dataset of its own: ")
    tasks(local.sts("One", {"en": english}, eval_langs={"en": ["eng-Latn"]}))
    assert load("mteb:One").name == "One-en"


def test_texts_that_are_blank_are_kept_and_told(tasks):
    tasks(local.sts("Blank", {**GRADED, "sentence1": ["", "c", " "]}))
    dataset = load("mteb:Blank")
    assert dataset.first == ("", "c", " ")
    assert dataset.notes == ("2 of 6 texts are blank",)


def test_notes_of_a_task(tasks):
    tasks(local.sts("Noted", GRADED, main_score="pearson", prompt="Find what says the same", superseded_by="Noted.v2"))
    assert load("mteb:Noted").notes == (
        OTHER.format(how=PAIRS, name="Noted", score="pearson"),
        "mteb's prompt of the task, for models that follow instructions, is not applied",
        "mteb has Noted.v2 in the place of Noted",
    )


def test_a_cell_that_is_no_grade_is_told_with_its_row(tasks):
    tasks(local.sts("Odd", {**GRADED, "score": [1.0, None, 2.0]}))
    assert (
        refusal("mteb:Odd")
        == f"mteb:Odd@{local.REVISION}::split=test row 2: 'score' is None, not a number; write a number"
    )
    tasks(local.sts("Odd", {"sentence1": ["a", "b"], "score": [1.0, 2.0]}))
    assert refusal("mteb:Odd") == f"mteb:Odd@{local.REVISION}::split=test: its data has no column 'sentence2'"


def test_pairs_that_stand_in_one_row(tasks):
    tasks(local.pairs("OneRow", {"sentence1": [["a", "b"]], "sentence2": [["c", "d"]], "labels": [[1, 0]]}))
    dataset = load("mteb:OneRow")
    assert (dataset.first, dataset.second, dataset.grades.tolist()) == (("a", "b"), ("c", "d"), [1, 0])


def test_labels_of_pairs_may_be_truth_values(tasks):
    tasks(local.pairs("Truth", {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "labels": [False, True]}))
    assert load("mteb:Truth").grades.tolist() == [0, 1]


def test_a_split_without_rows_is_refused(tasks):
    tasks(local.clustering("Empty", {"sentences": [], "labels": []}))
    pin = f"mteb:Empty@{local.REVISION}::split=test"
    assert refusal("mteb:Empty") == f"{pin}: 0 items, but a metric needs at least two; give more"


def test_documents_are_read_as_mteb_encodes_them(tasks):
    corpus = [
        {"id": "1", "title": "Tea", "text": "is made of leaves. "},
        {"id": "2", "title": "", "text": " Coffee"},
        {"id": "3", "title": None, "text": ""},
    ]
    tasks(local.retrieval("Titles", corpus, [*QUERIES, {"id": "q3", "text": "x"}], {"q1": {"1": 1}, "q2": {"2": 1}}))
    dataset = load("mteb:Titles")
    assert dataset.documents == ("Tea is made of leaves.", "Coffee", "")
    assert (dataset.document_ids, dataset.query_ids) == (("1", "2", "3"), ("q1", "q2"))
    assert dataset.notes == ("1 of 3 documents are blank",)


def test_a_query_that_is_blank_is_kept_and_told(tasks):
    tasks(local.retrieval("BlankQuery", CORPUS[:3], [QUERIES[0], {"id": "q2", "text": " "}], RELEVANT))
    dataset = load("mteb:BlankQuery")
    assert (dataset.queries, dataset.notes) == (("what is tea", " "), ("1 of 2 texts are blank",))


def test_queries_that_nothing_answers_are_left_out_and_told(tasks):
    queries = [*QUERIES, {"id": "q3", "text": "x"}, {"id": "q4", "text": "y"}]
    tasks(local.retrieval("Unanswered", CORPUS[:3], queries, {**RELEVANT, "q3": {"d1": 0}, "q4": {"d0": -1}}))
    dataset = load("mteb:Unanswered")
    assert dataset.relevance == ({0: 2, 2: 1}, {1: 1})
    assert dataset.notes == (
        "mteb scores queries without a relevant document as 0: its value is 0.5000 of this",
        "left out 2 of 4 queries: no relevant document",
    )
    tasks(local.retrieval("Unanswered", CORPUS, QUERIES, {"q1": {"d1": 0}}))
    pin = f"mteb:Unanswered@{local.REVISION}::split=test"
    assert refusal("mteb:Unanswered") == f"{pin}: no query has a relevant document; choose another split, or task"


def test_documents_of_one_id_are_one_or_refused(tasks):
    tasks(
        local.retrieval("Again", [*CORPUS, CORPUS[0]], QUERIES, RELEVANT),
        local.retrieval("Twice", [*CORPUS, {"id": "d0", "text": "another"}], QUERIES, RELEVANT),
    )
    assert load("mteb:Again").document_ids == ("d0", "d1", "d2", "d3")
    assert refusal("mteb:Twice") == f"mteb:Twice@{local.REVISION}::split=test: two of its documents have the id 'd0'"


def test_rankings_of_another_form_are_refused(tasks):
    tasks(
        local.retrieval("Reranked", CORPUS, QUERIES, RELEVANT, top_ranked={"q1": ["d0"], "q2": ["d1"]}),
        local.retrieval("Instructed", CORPUS, [{**each, "instruction": "in full"} for each in QUERIES], RELEVANT),
        local.retrieval("Talk", CORPUS, [{**each, "text": [each["text"]]} for each in QUERIES], RELEVANT),
    )
    pin = f"{local.REVISION}::split=test"
    assert refusal("mteb:Reranked") == (
        f"mteb:Reranked@{pin}: each query ranks candidates of its own, which no kind of dataset has; "
        "name a task whose queries rank the whole corpus"
    )
    assert refusal("mteb:Instructed") == (
        f"mteb:Instructed@{pin}: its queries come with instructions; name a task without them"
    )
    assert (
        refusal("mteb:Talk")
        == f"mteb:Talk@{pin} row 1: 'text' is ['what is tea'], not a text; write it as a text in quotes"
    )
    hub = f"read it by hub:local/local@{local.REVISION}"
    tasks(local.retrieval("Local", CORPUS, QUERIES, RELEVANT))
    assert refusal("mteb:Local::split=dev") == f"mteb:Local: mteb evaluates no split 'dev' of it, but test; {hub}"


def test_texts_are_those_that_mteb_draws(tasks, monkeypatch):
    texts, labels = [f"text {n}" for n in range(50)], [n % 3 for n in range(50)]
    columns = {"sentences": texts, "labels": labels}
    drawn = []
    task = local.clustering("Drawn", columns, max_fraction_of_documents_to_embed=0.4)
    tasks(task)
    dataset = load("mteb:Drawn")
    assert isinstance(dataset, Labelled)
    assert dataset.notes[-1] == "20 of 50 texts, which are those that mteb draws"

    def encode(loader: Any, **_: Any) -> Any:
        drawn.extend(text for batch in loader for text in batch["text"])
        raise InterruptedError

    model = SimpleNamespace(encode=encode, similarity=encode, similarity_pairwise=encode, mteb_model_meta=None)
    with pytest.raises(InterruptedError):
        task().evaluate(model, "test", encode_kwargs={})
    assert list(dataset.items) == drawn
    assert [dataset.labels[row] for row in range(20)] == [str(labels[texts.index(text)]) for text in drawn]
    for own in ({"max_fraction_of_documents_to_embed": 1.0}, {"max_document_to_embed": 99}):
        tasks(local.clustering("All", columns, **{"max_fraction_of_documents_to_embed": None, **own}))
        assert load("mteb:All").items == tuple(texts)


def test_labels_of_several_levels(tasks):
    columns = {"sentences": ["a", "b", "c", "d"], "labels": [["x", "x1"], ["x", "x2"], ["y"], []]}
    every = {"max_fraction_of_documents_to_embed": None}
    tasks(local.clustering("Levels", columns, **every), local.clustering("Top", columns, max_depth=1, **every))
    main = OTHER.format(how=LABELS, name="{}", score="v_measure")
    dataset = load("mteb:Levels")
    assert (dataset.items, dataset.labels) == (("a", "b", "c"), ("x", "x", "y"))
    more = "labels have 2 levels: the first is judged, where mteb takes the mean over all"
    assert dataset.notes == (main.format("Levels"), more)
    assert load("mteb:Top").notes == (main.format("Top"),)


def test_sets_of_texts_are_joined(tasks):
    tasks(local.sets("Sets", {"sentences": [["a", "b"], ["c", "a", "d"]], "labels": [[0, 1], [1, 0, 1]]}))
    dataset = load("mteb:Sets")
    assert (dataset.items, dataset.labels) == (("a", "b", "c", "d"), ("0", "1", "1", "1"))
    tasks(local.sets("Uneven", {"sentences": [["a", "b"], ["c"]], "labels": [[0, 1], [1, 0]]}))
    assert refusal("mteb:Uneven") == f"mteb:Uneven@{local.REVISION}::split=test row 2: 1 text, but 2 labels"
    assert dataset.notes[1:] == ("mteb clusters 2 sets, each by itself; embedgate their 4 different texts at once",)


def test_texts_to_classify_are_labelled(tasks):
    tasks(local.classification("Classes", {"text": ["a", "b", "c"], "label": [True, False, True]}))
    dataset = load("mteb:Classes")
    assert (dataset.items, dataset.labels) == (("a", "b", "c"), ("true", "false", "true"))
    assert dataset.notes == (OTHER.format(how=LABELS, name="Classes", score="accuracy"),)


# --- what is refused


TYPES = "name one of the types STS, PairClassification, Retrieval, Clustering, Classification"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mteb:", "'mteb:' is no task of MTEB; write mteb:TASK[@<40-digit commit>][::subset=SUBSET,split=SPLIT]"),
        (
            "mteb:STS17:en-en:test",
            "mteb:STS17:en-en:test: subset and split of a task are keys; write mteb:STS17::subset=en-en,split=test",
        ),
        (
            f"mteb:STSBenchmark@{COMMIT}::dev",
            f"mteb:STSBenchmark@{COMMIT}::dev: subset and split of a task are keys; "
            f"write mteb:STSBenchmark@{COMMIT}::split=dev",
        ),
        (
            "mteb:STSBenchmark:",
            "mteb:STSBenchmark:: subset and split of a task are keys; write mteb:STSBenchmark",
        ),
        ("mteb:STSBenchmark::delimiter=x", "mteb:STSBenchmark has no key 'delimiter'; its keys are subset, split, name"),
        ("mteb:stsbenchmark", f"mteb {mteb.__version__} has no task 'stsbenchmark'; did you mean STSBenchmark"),
        ("mteb:banking77", f"mteb {mteb.__version__} has no task 'banking77'; did you mean Banking77Classification"),
        ("mteb:STSBenchmrk", f"mteb {mteb.__version__} has no task 'STSBenchmrk'; did you mean STSBenchmark"),
        ("mteb:Zxqjv", f"mteb {mteb.__version__} has no task 'Zxqjv'; mteb.get_tasks() lists those it has"),
        (
            "mteb:mteb/stsbenchmark-sts",
            f"mteb {mteb.__version__} has no task 'mteb/stsbenchmark-sts', but a task on that dataset; "
            "write mteb:STSBenchmark",
        ),
        (
            "mteb:MTEB(eng, v2)",
            f"mteb {mteb.__version__} has no task 'MTEB(eng, v2)', but a benchmark of 41; name one of its tasks: mteb:",
        ),
        ("mteb:CQADupstackRetrieval", "mteb:CQADupstackRetrieval is made of several tasks; name one of its tasks: mteb:CQA"),
        ("mteb:AskUbuntuDupQuestions", f"mteb:AskUbuntuDupQuestions is a task of MTEB's type Reranking: each of its queries ranks candidates of its own; {TYPES}"),
        ("mteb:SummEval", f"mteb:SummEval is a task of MTEB's type Summarization: no kind of dataset fits it; {TYPES}"),
        ("mteb:BornholmBitextMining", f"mteb:BornholmBitextMining is a task of MTEB's type BitextMining: no kind of dataset fits it; {TYPES}"),
        ("mteb:STSBenchmark@main", "mteb:STSBenchmark is not pinned by 'main'; write mteb:STSBenchmark@<40-digit commit>"),
        (
            "mteb:PublicHealthQA@main",
            "mteb:PublicHealthQA: mteb takes its data at 'main', which can move; ",
        ),
        (
            "mteb:PublicHealthQA::subset=english",
            "mteb:PublicHealthQA: mteb takes its data at 'main', which can move; "
            "write mteb:PublicHealthQA@<40-digit commit of xhluca/publichealth-qa>",
        ),
    ],
)  # fmt: skip
def test_what_people_would_try_is_refused_with_what_to_write(spec, message):
    assert refusal(spec).startswith(message)


def test_images_are_refused(tasks):
    tasks(local.sts("Pictures", GRADED, modalities=["text", "image"]))
    assert refusal("mteb:Pictures") == "mteb:Pictures is of text and image; name a task of text alone"


# --- without a network


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Put:
    return offline(tmp_path, monkeypatch)


def pinned(task: str) -> tuple[str, str, str]:
    """Where mteb has a task's data, at which commit, and how that is written."""
    data = mteb.get_task(task).metadata.dataset
    return data["path"], data["revision"], f"mteb:{task}@{data['revision']}::split=test"


ROWS = [dict(zip(GRADED, cells, strict=True)) for cells in zip(*GRADED.values(), strict=True)]


def test_a_task_is_read_from_the_cache(cached):
    path, commit, pin = pinned("STSBenchmark")
    assert refusal("mteb:STSBenchmark") == (
        f"{pin} cannot be loaded: Couldn't reach '{path}' on the Hub (OfflineModeIsEnabled); check the network; "
        f"offline, the cache must hold {path} at that commit"
    )
    cached(path, commit, "default", "test", ROWS)
    dataset = load("mteb:STSBenchmark")
    assert isinstance(dataset, Similarity)
    assert (dataset.source, dataset.first) == (pin, ("a b", "c", "e"))


def test_the_cache_of_another_commit_is_refused(cached):
    """Without a network, `datasets` takes the newest in the cache, whichever commit was asked for."""
    path, _, pin = pinned("STSBenchmark")
    folder = cached(path, COMMIT, "default", "test", ROWS)
    assert refusal("mteb:STSBenchmark") == (
        f"{pin}: the hub is out of reach, and the newest in the cache is of commit {COMMIT}; "
        f"load it once with a network, or remove {folder}"
    )
    assert load(f"mteb:STSBenchmark@{COMMIT}").version.startswith(COMMIT)


def test_rankings_are_read_from_the_cache(cached):
    path, commit, pin = pinned("NFCorpus")
    judged = [{"query-id": "q1", "corpus-id": "d1", "score": 2}, {"query-id": "q2", "corpus-id": "d2", "score": 1}]
    cached(path, commit, "default", "test", judged)
    cached(path, commit, "corpus", "corpus", [{"_id": f"d{n}", "title": "", "text": f"text {n}"} for n in (1, 2, 3)])
    cached(path, commit, "queries", "queries", [{"_id": f"q{n}", "text": f"query {n}"} for n in (1, 2)])
    dataset = load("mteb:NFCorpus")
    assert isinstance(dataset, Retrieval)
    assert (dataset.source, dataset.queries, dataset.relevance) == (pin, ("query 1", "query 2"), ({0: 2}, {1: 1}))
    cached(path, commit, "top_ranked", "test", [{"query-id": "q1", "corpus-ids": ["d1"]}])
    assert refusal("mteb:NFCorpus") == (
        f"{pin}: without the hub, mteb leaves out top_ranked, which belongs to its queries; "
        "name a task of queries alone that rank the whole corpus"
    )


def test_a_task_is_no_local_folder(tasks, tmp_path, monkeypatch):
    tasks(local.sts("LocalSTS", GRADED))
    (tmp_path / "local" / "local").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    pin = f"mteb:LocalSTS@{local.REVISION}::split=test"
    assert refusal("mteb:LocalSTS") == (
        f"the folder local/local would be read in the place of {pin}; run from another folder"
    )


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    assert refusal("mteb:STSBenchmark") == "tasks of MTEB need the mteb package; pip install embedgate[mteb]"
