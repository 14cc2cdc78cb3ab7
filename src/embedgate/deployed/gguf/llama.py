"""llama.cpp by the functions of its own header, which llama-cpp-python has one to one; all that calls it is here.

`llama_cpp.Llama` is not used: it cuts a long text's end token away, puts every number into a list, and tells nothing of
why a file does not load.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from embedgate.core.errors import BuildError, EncodeError
from embedgate.encoders import FloatArray

POOLINGS: dict[str | None, int] = {
    None: llama_cpp.LLAMA_POOLING_TYPE_NONE,
    "mean": llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    "cls": llama_cpp.LLAMA_POOLING_TYPE_CLS,
    "lasttoken": llama_cpp.LLAMA_POOLING_TYPE_LAST,
}
# Tokens in a batch, as llama.cpp's server has it; more where a text has more. Every token attends to the whole batch,
# so that larger ones take longer.
BATCH_TOKENS = 512
# Texts in a batch, at most.
SEQUENCES = 64
# As ggml.h numbers them.
ERROR_LEVEL = 4
# Runs a file in a process of its own.
TRIAL = """
import sys
from pathlib import Path
from embedgate.deployed.gguf.llama import Llama
runs = Llama(Path(sys.argv[1]), sys.argv[1], threads=1)
runs.pooled([runs.tokens(text) for text in ("Two short texts.", "try every kernel.")], "mean", 2)
"""

_said: list[str] = []
# Held while a file is loaded, so that what is heard is about it.
_loads = threading.Lock()


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _hear(level: int, text: bytes, _: Any) -> None:
    """Keeps what llama.cpp reports as errors, and prints nothing."""
    if level == ERROR_LEVEL:
        _said.append(text.decode("utf-8", "replace").strip())


@cache
def _start() -> None:
    """Starts the library, once in a process."""
    llama_cpp.llama_log_set(_hear, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


class Llama:
    """A loaded file. Not safe to use from several threads at once.

    Args:
        path: The file.
        origin: What it is called in messages.
        threads: Threads to compute with.
        repacks: Whether weights may be rearranged for this CPU, as llama.cpp does unless told otherwise.

    Raises:
        BuildError: If llama.cpp does not load it.
    """

    def __init__(self, path: Path, origin: str, threads: int, repacks: bool = True) -> None:
        self._origin = origin
        self._threads = threads
        self._contexts: dict[str | None, tuple[int, Any]] = {}
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = repacks
        with _loads:
            _start()
            _said.clear()
            self._model: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
            if not self._model:
                raise BuildError(
                    f"llama.cpp does not load {origin}: {_told()}", "convert it by this version's convert_hf_to_gguf.py"
                )
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.dim = int(llama_cpp.llama_model_n_embd_out(self._model))

    def tokens(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text by the file's own tokenizer; with those that begin and end every text, unless told.

        Raises:
            EncodeError: If the file is closed.
        """
        if self._model is None:
            raise EncodeError(f"{self._origin} is closed already", "build its encoder anew")
        raw = text.encode()
        size = len(raw) + 8
        while True:
            ids = (llama_cpp.llama_token * size)()
            found = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, size, special, False)
            if found >= 0:
                return list(ids[:found])
            size = -found

    def pooled(self, texts: Sequence[Sequence[int]], pooling: str, batch_size: int) -> FloatArray:
        """One embedding for each text, as the pooling gives it, float32 `[n, dim]`.

        Args:
            texts: Token ids.
            pooling: One of `POOLINGS`.
            batch_size: Texts in a batch, at most.

        Raises:
            EncodeError: If llama.cpp fails.
        """
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch in _batches(texts, min(batch_size, SEQUENCES)):
            context = self._run([texts[row] for row in batch], pooling)
            for place, row in enumerate(batch):
                rows[row] = self._read(llama_cpp.llama_get_embeddings_seq(context, place), 1)[0]
        return rows

    def hidden(self, text: Sequence[int]) -> FloatArray:
        """A text's token embeddings, float32 `[tokens, dim]`.

        Raises:
            EncodeError: If llama.cpp fails.
        """
        return self._read(llama_cpp.llama_get_embeddings(self._run([text], None)), len(text))

    def close(self) -> None:
        """Frees the file and what was computed with it."""
        for _, context in self._contexts.values():
            llama_cpp.llama_free(context)
        self._contexts.clear()
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _read(self, found: Any, rows: int) -> FloatArray:
        if not found:
            raise EncodeError(f"llama.cpp gave no embedding by {self._origin}", "embed the text with llama.cpp itself")
        # A copy: llama.cpp reuses its memory.
        return np.ctypeslib.as_array(found, shape=(rows, self.dim)).astype(np.float32)

    def _run(self, texts: Sequence[Sequence[int]], pooling: str | None) -> Any:
        """Runs one batch, each text a sequence of its own; the context that holds its results."""
        tokens = sum(map(len, texts))
        context = self._context(tokens, pooling)
        if memory := llama_cpp.llama_get_memory(context):
            llama_cpp.llama_memory_clear(memory, True)
        batch = llama_cpp.llama_batch_init(tokens, 0, 1)
        try:
            at = 0
            for sequence, ids in enumerate(texts):
                for position, token in enumerate(ids):
                    batch.token[at], batch.pos[at], batch.logits[at] = token, position, 1
                    batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                    at += 1
            batch.n_tokens = tokens
            _said.clear()
            if status := llama_cpp.llama_decode(context, batch):
                raise EncodeError(f"llama.cpp failed with {self._origin} ({status}: {_told()})", "see its own log")
        finally:
            llama_cpp.llama_batch_free(batch)
        return context

    def _context(self, tokens: int, pooling: str | None) -> Any:
        """A context for batches of so many tokens: made anew, twice as large, where they are more than before."""
        size, context = self._contexts.get(pooling, (BATCH_TOKENS, None))
        if context is not None and tokens <= size:
            return context
        if context is not None:
            llama_cpp.llama_free(self._contexts.pop(pooling)[1])
        while size < tokens:
            size *= 2
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = size
        params.n_seq_max = SEQUENCES
        params.kv_unified = params.embeddings = True
        params.n_threads = params.n_threads_batch = self._threads
        params.pooling_type = POOLINGS[pooling]
        params.offload_kqv = params.op_offload = False
        context = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            raise BuildError(f"llama.cpp cannot run {self._origin}: {_told()}", "see its own log")
        self._contexts[pooling] = size, context
        return context


def ends_by(path: Path) -> str | None:
    """The signal that ends a process in which llama.cpp runs a file, where this CPU has AMX; None where it runs.

    With some compilers, quantized weights in AMX's layout end the process (ggml-org/llama.cpp issue 20824). That would
    be this one.
    """
    _start()
    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        return None
    done = subprocess.run([sys.executable, "-c", TRIAL, str(path)], capture_output=True, check=False)
    return signal.Signals(-done.returncode).name if done.returncode < 0 else None


def version() -> str:
    """Name and version of the library."""
    return f"llama-cpp-python {llama_cpp.__version__}"


def _told() -> str:
    """What llama.cpp has reported as an error, of several the first: what follows is that the rest failed, too."""
    return next((line for line in _said if line), "it says nothing").splitlines()[0]


def _batches(texts: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Rows of texts that are run together, the longest first."""
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(texts)), key=lambda row: -len(texts[row])):
        if batch and (len(batch) == most or tokens + len(texts[row]) > max(BATCH_TOKENS, len(texts[batch[0]]))):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += len(texts[row])
    if batch:
        yield batch
