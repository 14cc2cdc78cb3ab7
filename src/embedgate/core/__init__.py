"""The terms that every other package speaks in: combinations, models, machines, judgements, errors, files."""
