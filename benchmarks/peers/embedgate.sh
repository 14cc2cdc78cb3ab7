# embedgate with its own defaults and data. Nothing is approved, so it knows no more than its peers.
"$BIN/python" -m pytest --pyargs embedgate.suites -m cpu -k "not approved" --gate-model "$REFERENCE" --gate-candidate "$CANDIDATE" --gate-depth quick --gate-report "$SCRATCH"
