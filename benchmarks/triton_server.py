"""Serves a Sentence Transformers folder by NVIDIA's Triton Inference Server, started by PyTriton.

python benchmarks/triton_server.py FOLDER NAME PORT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from sentence_transformers import SentenceTransformer

folder, name, port = sys.argv[1:]
HERE = "127.0.0.1"
model = SentenceTransformer(folder, device="cpu")
dim = model.get_sentence_embedding_dimension()


@batch
def embed(text: Any) -> dict[str, Any]:
    """Embeddings of texts, bytes `[n, 1]`."""
    return {"sentence_embedding": model.encode([each.decode() for each in text[:, 0]]).astype(np.float32)}


addresses = TritonConfig(
    http_address=HERE,
    http_port=int(port),
    grpc_address=HERE,
    grpc_port=int(port) + 1,
    metrics_port=int(port) + 2,
)
with Triton(config=addresses) as server:
    server.bind(
        model_name=name,
        infer_func=embed,
        inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
        outputs=[Tensor(name="sentence_embedding", dtype=np.float32, shape=(dim,))],
        config=ModelConfig(max_batch_size=32),
    )
    server.serve()
