"""Loads embedgate's plugin for this checkout.

What is asserted is in `suites/`, what a suite can ask for in `fixtures/`, what was approved in `baselines/`, how it is
computed in `src/embedgate/`, and the tests of embedgate itself are in `tests/`.
"""

pytest_plugins = ("embedgate.plugin", "pytester")
