"""embedgate: evaluation and regression gates for quantized Sentence Transformers models.

Data flows one way: combination -> encoder -> embeddings -> metric -> measurement -> judgement -> report.
"""

__version__ = "0.1.0"
