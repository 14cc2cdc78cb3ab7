"""The cause of a red candidate, and what it is asked for that: a few texts in which known faults show."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from embedgate.core.embeddings import Embeddings
from embedgate.core.errors import GateError, one_line
from embedgate.core.judgement import UNKNOWN, Diagnosis, Proof
from embedgate.core.roles import Input, Role
from embedgate.diagnosis.arm import Arm
from embedgate.diagnosis.distance import distances
from embedgate.diagnosis.layers import diagnose
from embedgate.diagnosis.playing import Asked, Call, Player
from embedgate.diagnosis.reproduce import Answer, reproduce
from embedgate.encoders import FloatArray
from embedgate.encoders.change import Replay, Unplayable
from embedgate.runtime.encoding import by_role
from embedgate.runtime.session import Run, Session

# How far a sound candidate may be off, as a share of a vector's length, by its weight precision; of every other one,
# the last.
NOISE = {"fp32": 5e-3, "fp16": 1e-2, "bf16": 5e-2, "amp": 5e-2, "": 0.25}
# Texts whose stages are looked at.
PROBES = 16
# What helps where nobody here sees how vectors were made.
ELSEWHERE = "see which model, revision, prompts and pooling it serves, and what its log says"
# How far a replay may be off the reference's own vectors, which half types round in other batches.
REPLAYED = 2e-2
# Texts of the data, those that moved most among them.
SOME, MOVED = 10, 4
# Words of longer texts: a cut shows in those that are longer than it.
LADDER = (20, 40, 64, 90, 130, 190, 280)
# Characters that a word has at most, and those from which on a text is long.
CHARACTERS, LONG = 10, 400
# Characters that a text shares with one that begins alike.
TWINS = (40, 120, 300)
# Texts of a call, and those that are asked for alone as well.
TOGETHER, ALONE = 12, 5
# Texts of the session whose vectors a candidate may have mixed up.
POOL = 4096
# Texts in which what is done to case, accents, other scripts, emoji, whitespace, marks and digits shows.
ODD = (
    "The QUICK Brown Fox met Zoë Müller-Lüdenscheidt in São Paulo: naïve, Über-cool & déjà vu!",
    "  Two spaces  lead here,\ta tab follows\n\nand a second line (of 12 words) says more than the first one did. ",
    "Is <b>this</b> bold? See https://example.org/a?b=1&c=2 (published 24/12/2021, 3.5 stars).",
    "Łódź, Ærøskøbing, Ōsaka, Москва and Coeur d'Alène lie far apart 🚂.",
    "Price: 1,299.00 - but NOT for orders of 5 or more; RSVP asap.",
    'Caf&eacute; &amp; bar "Zum Löwen": tea &lt; coffee, they say.',
    "ok",
)


def cause_of(session: Session, run: Run) -> Diagnosis:
    """The cause of what is wrong with a candidate: what is reproduced, else what something shows, else unknown.

    Args:
        session: The session.
        run: The candidate's run.
    """
    mine, theirs = session.side_by_side(run)
    answer = _played(session, run, mine, theirs)
    if answer.diagnosis is not None:
        return answer.diagnosis
    found = _read(session, run, mine, theirs)
    if found.layer == UNKNOWN:
        is_local = session.plan.registry.source(run.combination).local
        cause = "; ".join(filter(None, (found.cause, _ruled_out(answer.proof))))
        return replace(found, cause=cause, next_step=found.next_step if is_local else ELSEWHERE, proof=answer.proof)
    return replace(found, proof=answer.proof) if found.layer == "scores" else found


def _ruled_out(proof: Proof) -> str:
    if not proof.attempts:
        return ""
    return f"none of {proof.attempts} known faults that were played through on the reference gives its vectors"


def _read(session: Session, run: Run, mine: Embeddings, theirs: Embeddings) -> Diagnosis:
    """The first layer at which a candidate departs from its reference, as far as it can be looked into."""
    reference, probes = session.run(run.combination.reference), _probes(mine, theirs)
    return diagnose(
        Arm(mine, run.evidence, session.stages(run, probes), session.inside(run, probes)),
        Arm(theirs, reference.evidence, session.stages(reference, probes), session.inside(reference, probes)),
        [each.text for each in probes],
    )


def _probes(mine: Embeddings, theirs: Embeddings) -> list[Input]:
    """A few texts that show where two runs part: the ones that moved most, and some of every length."""
    inputs = mine.inputs
    spread = np.linspace(0, len(inputs) - 1, min(PROBES // 2, len(inputs))).astype(int)
    if mine.dim == theirs.dim:
        cosines = (mine.normalised * theirs.normalised).sum(axis=1)
        moved = np.argsort(np.nan_to_num(cosines, nan=-1.0))[: PROBES // 2]
    else:
        moved = spread
    return [inputs[int(i)] for i in dict.fromkeys([*spread.tolist(), *moved.tolist()])]


def _played(session: Session, run: Run, mine: Embeddings, theirs: Embeddings) -> Answer:
    """What playing known faults through came to; a finding is worth more than its cause, so nothing is raised."""
    try:
        return _play(session, run, mine, theirs)
    except Exception as error:
        reason = f"known faults could not be played through: {one_line(error)}"
        return Answer(None, Proof("nothing", 0, untried=(reason,)))


def _play(session: Session, run: Run, mine: Embeddings, theirs: Embeddings) -> Answer:
    nothing = Answer(None, Proof("nothing", 0))
    if not np.isfinite(mine.matrix).all() or not len(mine):
        return nothing
    asked = _asked(session, run, mine, theirs)
    if not np.isfinite(asked.mine).all():
        return nothing
    reference = session.run(run.combination.reference, run.model)
    replay: Replay | None
    try:
        replay, refused = session.encoder(reference).replay(), ""
    except Unplayable as error:
        replay, refused = None, str(error)

    def encode(role: Role, texts: Sequence[str]) -> FloatArray:
        return session.encode_as(reference, role, texts)

    player = Player(asked, encode, replay)
    if replay is not None and not _is_the_references(player):
        refused = "the reference's own vectors of these texts could not be made anew from its parts"
        player = Player(asked, encode, None)
    return reproduce(player, run.model.roles, refused)


def _is_the_references(player: Player) -> bool:
    """Whether a replay gives the reference's own vectors where nothing is changed."""
    own, replayed = player.own(), player.sound
    return own.shape == replayed.shape and float(distances(own, replayed).max()) <= REPLAYED


def _asked(session: Session, run: Run, mine: Embeddings, theirs: Embeddings) -> Asked:
    """What the candidate answers to the probes; what it has answered where it takes no others."""
    noise = NOISE.get(run.combination.weight_precision, NOISE[""])
    places = np.linspace(0, len(theirs) - 1, min(len(theirs), POOL)).astype(int)
    pool = [theirs.inputs[place].text for place in places], theirs.matrix[places]
    some = _some(mine, theirs)
    encoder = session.encoder(run)
    if encoder.inputs is None and session.plan.is_live(run.combination):
        return _answers(session, run, some, noise, pool)
    rows = [mine.row(each) for each in some]
    calls = [Call(role, tuple(found)) for role, found in by_role(encoder, run.model, some)]
    return Asked([each.text for each in some], calls, np.stack(rows), noise, pool=pool, is_live=False)


def _answers(
    session: Session, run: Run, some: Sequence[Input], noise: float, pool: tuple[list[str], FloatArray]
) -> Asked:
    encoder = session.encoder(run)
    size = max(2, min(TOGETHER, session.plan.settings.batch_size))
    texts: list[str] = []
    calls: list[Call] = []
    answers: list[FloatArray] = []

    def ask(role: Role, those: Sequence[str]) -> None:
        try:
            answers.append(session.encode_as(run, role, those))
        except GateError:
            for text in those if len(those) > 1 else ():  # one of them is refused
                ask(role, [text])
            return
        calls.append(Call(role, tuple(range(len(texts), len(texts) + len(those)))))
        texts.extend(those)

    groups = by_role(encoder, run.model, some)
    for number, (role, rows) in enumerate(groups):
        own = [some[row].text for row in rows]
        for part in parts([*own, *(made(own) if not number else ())], size):
            ask(role, part)
    if not calls:
        raise GateError("every text that it was asked for is refused", "see what it answers")
    role, again = calls[0].role, [texts[row] for row in calls[0].rows]
    alone = _alone(texts, calls[0])
    for text in alone:
        ask(role, [text])
    ask(role, alone[:1] * 2)  # as long as each other, so that neither is filled up
    repeated: FloatArray | None
    try:
        repeated = session.encode_as(run, role, again)
    except GateError:  # what it gave before is enough
        repeated = None
    older = _older(session, texts, calls)
    return Asked(texts, calls, np.concatenate(answers), noise, repeated, pool, older)


def _some(mine: Embeddings, theirs: Embeddings) -> list[Input]:
    """Texts of the data: those that moved most, and others, of every role, in no order."""
    inputs = mine.inputs
    moves = distances(mine.matrix, theirs.matrix) if mine.dim == theirs.dim else np.zeros(len(inputs))
    roles = list(dict.fromkeys(each.role for each in inputs))
    short: list[int] = []
    for role in roles:
        own = [row for row, each in enumerate(inputs) if each.role == role]
        short += [row for row in own if len(inputs[row].text) < LONG] or own
    moved = sorted(short, key=lambda row: -moves[row])[:MOVED]
    spread = [
        rows[int(place)]
        for role in roles
        if (rows := [row for row in short if inputs[row].role == role])
        for place in np.linspace(0, len(rows) - 1, max(2, SOME // len(roles)))
    ]
    found = [inputs[row] for row in dict.fromkeys([*moved, *spread])]
    random.Random(0).shuffle(found)
    return found


def made(own: Sequence[str]) -> Iterator[str]:
    """Texts that are made for what may be wrong: odd ones, long ones, and ones that begin as others do."""
    yield from ODD
    words = " ".join(own).split() or ["word"]
    words *= 1 + 2 * max(LADDER) // len(words)
    mix = random.Random(1)
    mix.shuffle(words)
    for count in TWINS:
        begin = " ".join(words)[:count].rstrip()
        yield f"{begin} and then nothing that was said there."
        yield f"{begin} but rather something else again, which ends otherwise."
    for count in LADDER:  # where no spaces part words, one is as long as a text
        yield " ".join(mix.sample(words, count))[: count * CHARACTERS]


def parts(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """Texts in calls of one size, short ones apart from long ones, which they would be filled up to."""
    distinct = list(dict.fromkeys(texts))
    short = [text for text in distinct if len(text) < 200]
    long = [text for text in distinct if len(text) >= 200]
    for start in range(0, len(short), size):
        part = short[start : start + size]
        yield [*part, *[text for text in short if text not in part][: size - len(part)]]
    random.Random(2).shuffle(long)
    for start in range(0, len(long), size):
        yield long[start : start + size]


def _alone(texts: Sequence[str], call: Call) -> list[str]:
    """Texts that are asked for alone, too: short ones of the first call, and a long one."""
    own = sorted((texts[row] for row in call.rows), key=len)
    longest = [text for text in sorted(texts, key=len) if len(text) > LONG][:1]
    return [*own[:: max(1, len(own) // (ALONE - 1))][: ALONE - 1], *longest]


def _older(session: Session, texts: Sequence[str], calls: Sequence[Call]) -> dict[str, FloatArray]:
    """The incumbent's vectors of the same texts, where there is one."""
    if session.plan.incumbent is None or not session.plan.incumbent.runs:
        return {}
    incumbent = session.incumbent_of_own()
    roles = incumbent.model.roles
    rows = [session.encode_as(incumbent, roles[call.role.name], [texts[row] for row in call.rows]) for call in calls]
    return {"the incumbent": np.concatenate(rows)}
