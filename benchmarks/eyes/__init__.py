"""Faults that a gate should see, and sound encoders that it should not: what `benchmarks/eyes.py` asks embedgate of.

| module | has |
| --- | --- |
| `zoo` | the list of all of them: those of `benchmarks/causes`, and further ones |
| `reading`, `computing`, `answering`, `sound` | the further ones, by where they happen to a text on its way |
| `words`, `layers`, `answers` | what they do: to texts, within a model, and to embeddings |
| `encoder` | an encoder with a fault, in fp16 or on top of int8 |
| `hook` | registers them, as a host project's conftest.py does |
| `sessions` | a session of embedgate's own suites, and what its report says |
| `tables` | the tables of docs/faults.md |
"""
