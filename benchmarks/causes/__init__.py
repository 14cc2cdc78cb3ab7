"""Models with one fault, with two, and sound ones that are unusual: what `benchmarks/causes.py` asks the causes of.

| module | has |
| --- | --- |
| `zoo` | the list of all of them |
| `before`, `within`, `after` | the faults, by where they happen to a text on its way to an embedding |
| `names` | what counts as naming them |
| `pipeline`, `around`, `unusual` | what they do: to a model, around it, and without harm |
| `fault` | what a fault is, and encoders that have it |
| `models` | the models that they happen to, and the texts that are asked |
| `check` | whether a fault is one |
| `tables` | the tables of docs/causes.md |
"""
