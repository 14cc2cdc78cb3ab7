"""Faults in what is made of a text: its prompt, its tokens, its end, and what a client does to it."""

from __future__ import annotations

from causes import around, names, pipeline
from causes.fault import Fault
from causes.models import PROMPTS

QUERY, DOCUMENT = PROMPTS["query"], PROMPTS["document"]
ALL_PROMPTS = (QUERY, DOCUMENT)

PROMPTED = (
    Fault(
        "no-prompt",
        "prompts are left out",
        (names.NO_PROMPT,),
        "prompted",
        change=pipeline.prompts(query="", document=""),
        boxed=around.texts(around.without(ALL_PROMPTS)),
    ),
    Fault(
        "prompt-twice",
        "prompts stand before texts twice",
        (names.TWICE,),
        "prompted",
        change=pipeline.prompts(query=QUERY * 2, document=DOCUMENT * 2),
        boxed=around.texts(around.doubled(ALL_PROMPTS)),
    ),
    Fault(
        "prompt-misspelt",
        "queries have 'Query: ' in front",
        (names.MISSPELT,),
        "prompted",
        change=pipeline.prompts(query="Query: "),
        boxed=around.texts(around.replaced(QUERY, "Query: ")),
    ),
    Fault(
        "other-role",
        "queries have the prompt of documents",
        (names.OTHER_ROLE,),
        "prompted",
        change=pipeline.prompts(query=DOCUMENT),
        boxed=around.texts(around.replaced(QUERY, DOCUMENT)),
    ),
    Fault(
        "own-prompt",
        "'query: ' before every text of a model without prompts",
        (names.OWN_PROMPT,),
        around=around.texts(lambda text: "query: " + text),
    ),
)

TOKENIZED = (
    Fault("no-special", "no special tokens", (names.NO_SPECIAL,), change=pipeline.template("$A")),
    Fault("no-first", "no special token before a text", (names.NO_FIRST,), change=pipeline.template("$A [SEP]")),
    Fault("no-end", "no special token after a text", (names.NO_END,), change=pipeline.template("[CLS] $A")),
    Fault(
        "case-kept",
        "capitals are kept, by a model that folds them",
        (names.CASE_KEPT,),
        change=pipeline.normalizer(lowercase=False, strip_accents=True),
    ),
    Fault(
        "case-folded",
        "capitals are folded, by a model that keeps them",
        (names.CASE_FOLDED,),
        "prompted",
        change=pipeline.normalizer(lowercase=True),
    ),
    Fault(
        "accents-kept",
        "accents are kept, by a model that strips them",
        (names.ACCENTS_KEPT,),
        change=pipeline.normalizer(strip_accents=False),
    ),
    Fault(
        "accents-stripped",
        "accents are stripped, by a model that keeps them",
        (names.ACCENTS_STRIPPED,),
        "prompted",
        around=around.texts(around.without_accents),
    ),
)

CUT = (
    Fault("cut-32", "texts are cut at 32 tokens", (names.cut(32),), change=pipeline.limit(32)),
    Fault("cut-64", "texts are cut at 64 tokens", (names.cut(64),), change=pipeline.limit(64)),
    Fault("cut-100", "texts are cut at 100 tokens", (names.cut(100),), change=pipeline.limit(100)),
    Fault("cut-128", "texts are cut at 128 tokens", (names.cut(128),), change=pipeline.limit(128)),
    Fault(
        "cut-left",
        "long texts lose their beginning",
        (names.LEFT,),
        change=pipeline.cut_from_the_left,
    ),
    Fault(
        "cut-characters",
        "texts are cut at 200 characters",
        (names.cut(200, "characters"),),
        around=around.texts(lambda text: text[:200]),
    ),
    Fault(
        "uncut",
        "texts are cut at 512 tokens, not at 256",
        (names.UNCUT,),
        change=pipeline.limit(512),
    ),
)

CLEANED = (
    Fault(
        "first-line",
        "a text ends at its first line break",
        (names.FIRST_LINE,),
        around=around.texts(around.first_line),
    ),
    Fault(
        "lines-joined",
        "line breaks are left out, with nothing in their place",
        (names.LINES_JOINED,),
        around=around.texts(around.lines_joined),
    ),
    Fault(
        "no-punctuation",
        "punctuation is left out",
        (names.NO_PUNCTUATION,),
        around=around.texts(around.without_punctuation),
    ),
    Fault("ascii", "what is no ASCII is left out", (names.ASCII,), around=around.texts(around.in_ascii)),
    Fault(
        "misread",
        "UTF-8 is read as Latin-1",
        (names.MISREAD,),
        around=around.texts(around.misread),
    ),
)
