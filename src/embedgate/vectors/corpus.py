"""A collection of realistic size, grown from the few real embeddings there are.

A grown vector is a real one, its *parent*, moved at right angles to itself by a Gaussian with the covariance of its
nearest neighbours, and set to its length again. That is a smoothed bootstrap (Efron 1979; Silverman and Young 1987): a
draw from a kernel density estimate (Silverman 1986), whose kernel here is local, as in manifold Parzen windows (Vincent
and Bengio 2003); SMOTE (Chawla et al. 2002) is akin, but stays between a vector and one neighbour. The kernel's width
is drawn anew for each vector, so that some lie as near to their parents as a paraphrase does and others as far as
another text of the topic. `docs/corpus.md` says how near that comes to real collections, and where it does not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from embedgate.core.cache import ELSEWHERE
from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError, unwritten
from embedgate.core.files import read_json, to_json, write_whole
from embedgate.metrics import Matrix, require_finite
from embedgate.metrics.retrieval import similarities, top_k
from embedgate.vectors.collection import METHOD

NEIGHBOURS = 16
# The kernel is up to this many times as wide as the neighbours lie about the parent. Chosen with the number of
# neighbours by how near recall in a grown collection comes to that in a real one: `benchmarks/corpus.py`.
WIDEST = np.float32(3.2)
FEWEST_VECTORS = 2
# Nearer than this, two vectors are the same text in another spelling that the tokenizer does not see.
SAME = np.float32(1 - 1e-6)
# More vectors than this are kept in a file.
IN_MEMORY = 2**17
# Vectors with a random generator of their own, small enough to stay in the processor's cache.
CHUNK = 2**11
# Chunks between two lines of progress, after which growing can go on where it stopped.
CHUNKS_PER_BLOCK = 64
# What a file system may need beside the vectors.
SPARE_BYTES = 2**24
LOCK_SECONDS = 600


@dataclass(frozen=True, eq=False)
class Recipe:
    """How vectors are grown: which real vectors each comes from; the same for all combinations of a session.

    Attributes:
        neighbours: The nearest other real vectors of each real vector by the reference's embeddings, nearest first,
            int32 `[n, m]`, `m` being 16, or fewer where there are fewer vectors.
        seed: What parents and movements are drawn from.
    """

    neighbours: npt.NDArray[np.int32]
    seed: int

    @classmethod
    def of(cls, reference: Matrix, seed: int = 0) -> Recipe:
        """The recipe by the reference's embeddings.

        Vectors that repeat an earlier one are nobody's neighbours: they would say nothing about its surroundings.

        Args:
            reference: Normalised embeddings of the reference, float32 `[n, dim]`.
            seed: What is drawn is drawn from it.

        Raises:
            NotFinite: If an embedding holds NaN or infinity.
            ValueError: If there are fewer than two different vectors.
        """
        require_finite(reference, "reference embeddings")
        originals = _originals(reference) if len(reference) else np.empty(0, np.intp)
        if len(originals) < FEWEST_VECTORS:
            raise ValueError(f"{len(originals)} different vectors are too few to grow; {FEWEST_VECTORS} are the fewest")
        width = min(NEIGHBOURS, len(originals) - 1)
        place = np.full(len(reference), -1)
        place[originals] = np.arange(len(originals))
        neighbours = np.empty((len(reference), width), dtype=np.int32)
        for rows, scores in similarities(reference, reference[originals]):
            own = np.flatnonzero(place[rows] >= 0)
            scores[own, place[rows[own]]] = -np.inf  # no vector is its own neighbour
            neighbours[rows] = originals[top_k(scores, width)]
        neighbours.setflags(write=False)
        return cls(neighbours, seed)

    @property
    def sha256(self) -> str:
        """The hash that identifies the method and all that is drawn from, hex."""
        head = to_json([METHOD, self.seed, *self.neighbours.shape])
        return hashlib.sha256(head.encode() + self.neighbours.astype("<i4").tobytes()).hexdigest()


def _originals(vectors: Matrix) -> npt.NDArray[np.intp]:
    """Rows that repeat no earlier row."""
    copies = np.zeros(len(vectors), dtype=np.bool_)
    for rows, scores in similarities(vectors, vectors):
        scores[np.arange(len(rows)), rows] = 1  # whatever rounding, or no length at all, makes of it
        copies[rows] = np.argmax(scores >= SAME, axis=1) < rows
    return np.flatnonzero(~copies)


def _quiet(_: str) -> None:
    pass


def grow(
    real: Matrix, recipe: Recipe, size: int, *, folder: Path | None = None, progress: Callable[[str], None] = _quiet
) -> Matrix:
    """A collection of any size: the real vectors, then grown ones.

    A row depends on the real vectors, the recipe and its number alone, not on `size`. Under one recipe, row `i` comes
    from the same texts in every combination.

    Args:
        real: Embeddings of any length, float32 `[n, dim]`, in the recipe's order. A grown vector has its parent's
            length.
        recipe: How to grow them.
        size: Number of vectors.
        folder: Where more than 131,072 vectors are kept, one collection a folder; None to hold them all in memory. A
            collection that is there is used again, one that was interrupted goes on, and another one is deleted.
        progress: Takes a line now and then.

    Returns:
        float32 `[size, dim]`: `real` unchanged, then grown vectors; `real[:size]` where that is enough. Mapped from
        the file and read-only where it is kept in one.

    Raises:
        NotFinite: If a real vector holds NaN or infinity.
        ValueError: If the recipe is about another number of vectors.
        GateError: If the disk is too full, the folder cannot be written, or another process does not get done with it.
    """
    require_finite(real)
    if len(recipe.neighbours) != len(real):
        raise ValueError(f"a recipe for {len(recipe.neighbours)} vectors, but {len(real)} vectors")
    if size <= len(real):
        return real[:size]
    real = np.ascontiguousarray(real, dtype=np.float32)
    if folder is not None and size > IN_MEMORY:
        return _in_file(real, recipe, size, folder, progress)
    grown = np.empty((size, real.shape[1]), dtype=np.float32)
    grown[: len(real)] = real
    for done, chunk, vectors in _chunks(real, recipe, size):
        grown[done - len(vectors) : done] = vectors
        if _is_last_of_block(chunk) and done < size:
            progress(_so_far(done, size))
    return grown


def _is_last_of_block(chunk: int) -> bool:
    return (chunk + 1) % CHUNKS_PER_BLOCK == 0


def _so_far(done: int, size: int) -> str:
    return f"grown {done} of {size} vectors"


def _chunks(real: Matrix, recipe: Recipe, size: int, first: int = 0) -> Iterator[tuple[int, int, Matrix]]:
    """Grown vectors, a chunk at a time: how many vectors there are after it, its number, and float32 `[rows, dim]`.

    Nothing here is a dense product, which may sum in another order where there are more rows or threads.
    """
    from scipy.sparse import csr_array

    lengths = np.sqrt(np.einsum("ij,ij->i", real, real))
    unit = real / np.maximum(lengths, np.float32(1e-12))[:, None]
    width = recipe.neighbours.shape[1]
    cosines = np.stack([np.einsum("ij,ij->i", unit, unit[nearest]) for nearest in recipe.neighbours.T], axis=1)
    for chunk in range(first, -(-(size - len(real)) // CHUNK)):
        before = len(real) + chunk * CHUNK
        rows = min(CHUNK, size - before)
        # All are drawn even where fewer are needed, so that a row does not depend on how many follow it.
        rng = np.random.default_rng((recipe.seed, chunk))
        parents = rng.integers(0, len(real), CHUNK)
        weights = rng.random((CHUNK, 1), dtype=np.float32) * (WIDEST / np.float32(np.sqrt(width)))
        weights = weights * rng.standard_normal((CHUNK, width), dtype=np.float32)
        # The parent moved by the weighted sum of its neighbours' differences from it, as one sum. Of the differences,
        # what is at right angles to the parent counts: along it, wide movements would cancel the parent out.
        kept = 1 - np.einsum("ij,ij->i", weights, cosines[parents])[:, None]
        sources = np.concatenate([parents[:, None], recipe.neighbours[parents]], axis=1)[:rows]
        weights = np.concatenate([kept, weights], axis=1)[:rows]
        starts = np.arange(rows + 1) * (width + 1)
        grown = csr_array((weights.ravel(), sources.ravel(), starts), shape=(rows, len(real))) @ unit
        now = np.sqrt(np.einsum("ij,ij->i", grown, grown))
        grown *= (lengths[parents[:rows]] / np.maximum(now, np.float32(1e-12)))[:, None]
        yield before + rows, chunk, grown


def _in_file(real: Matrix, recipe: Recipe, size: int, folder: Path, progress: Callable[[str], None]) -> Matrix:
    file = folder / "corpus.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, progress):
            kept = _Kept(file, folder / "corpus.json", _key(real, recipe, size))
            done = kept.chunks()
            if done is None or done * CHUNK < size - len(real):
                _write(kept, done, real, recipe, size, progress)
            return _mapped(file, (size, real.shape[1]))
    except OSError as error:
        raise GateError(*unwritten(file, error, ELSEWHERE)) from error


def _mapped(file: Path, shape: tuple[int, int]) -> Matrix:
    """A collection in its file, float32 `[size, dim]`, mapped and read-only.

    Raises:
        GateError: If the file holds something else.
    """
    step = f"delete {file.parent}, and it is grown anew"
    # Mapped, so that a header cannot ask for more memory than the file has; NumPy reads it as Python.
    with distrusting(GateError, f"{file} is damaged", step, Exception):
        found = np.lib.format.open_memmap(file, mode="r")
    if found.shape != shape or found.dtype != np.float32:
        raise GateError(f"{file} is damaged: it holds {found.dtype} {found.shape}", step)
    return np.asarray(found)


def _key(real: Matrix, recipe: Recipe, size: int) -> str:
    head = to_json([METHOD, recipe.sha256, size, *real.shape])
    digest = hashlib.sha256(head.encode())
    digest.update(real.data)
    return digest.hexdigest()


@contextmanager
def _locked(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(folder / "corpus.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"another process grows vectors in {folder}: waiting for it")
            lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise GateError(
            f"another process has been growing vectors in {folder} for {LOCK_SECONDS} seconds",
            "wait until it ends, then try again",
        ) from error
    try:
        yield
    finally:
        lock.release()


class _Progress(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    chunks: Annotated[int, msgspec.Meta(ge=0)]
    bytes: Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class _Kept:
    """A collection in a file, and beside it what it is and how far it got."""

    file: Path
    record: Path
    key: str

    def chunks(self) -> int | None:
        """How many grown chunks are safely in the file; None where it is another one, or none."""
        try:
            record = read_json(self.record, _Progress, GateError)
            size = self.file.lstat().st_size
        except (OSError, GateError):
            return None
        whole = record is not None and record.key == self.key and size >= record.bytes
        return record.chunks if record is not None and whole else None

    def note(self, stream: BinaryIO, chunks: int) -> None:
        """Notes how far it got, once that is on the disk."""
        stream.flush()
        os.fsync(stream.fileno())
        record = _Progress(self.key, chunks, stream.tell())
        write_whole(self.record, f"{to_json(msgspec.structs.asdict(record))}\n".encode())

    def delete(self) -> None:
        """Deletes it; who has it mapped keeps what is mapped."""
        self.record.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)


def _write(
    kept: _Kept, done: int | None, real: Matrix, recipe: Recipe, size: int, progress: Callable[[str], None]
) -> None:
    """Grows what is missing, and appends it: a full disk then is an error, where a mapped page would be a crash."""
    if done is None:
        kept.delete()
    row_bytes = real.shape[1] * real.itemsize
    have = 0 if done is None else kept.file.stat().st_size
    _require_space(kept.file.parent, size * row_bytes - have, size, real.shape[1])
    # A new file takes nothing's place: a link, for example, which would be written through.
    with kept.file.open("r+b" if done is not None else "x+b") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f4", "fortran_order": False, "shape": (size, real.shape[1])}
        )
        if done is None:
            stream.write(real.astype("<f4", copy=False).data)
            done = 0
            kept.note(stream, done)
        else:
            stream.seek((len(real) + done * CHUNK) * row_bytes, os.SEEK_CUR)
            progress(f"growing goes on after {len(real) + done * CHUNK} of {size} vectors")
        for after, chunk, vectors in _chunks(real, recipe, size, done):
            stream.write(vectors.astype("<f4", copy=False).data)
            if after == size or _is_last_of_block(chunk):
                kept.note(stream, chunk + 1)
                progress(_so_far(after, size))


def _require_space(folder: Path, needed: int, size: int, dim: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise GateError(
            f"{folder} has {free / 2**20:,.0f} MiB free, but {size:,} vectors of {dim} dimensions need "
            f"{(needed + SPARE_BYTES) / 2**20:,.0f} MiB",
            "free some space, give a folder that has more by --gate-cache, or a smaller --gate-corpus-size",
        )
