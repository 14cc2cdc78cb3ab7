"""Speed and memory: measured so that a noisy machine neither hides a loss nor invents one.

`workloads` says which texts are timed in which batches, `timing` builds what is timed, `paired` takes turns and says
how long to go on, `footprint` measures memory and cold start in a fresh process, which `fresh` starts, `host` notices
what else the machine is doing, and `noise` measures how much of all this is chance. `docs/budgets.md` explains the
method.
"""
