# The same of an encoder, which a hook of pytest names: embedgate_hook.py.
"$BIN/python" -m pytest --pyargs embedgate.suites -m cpu -k "not approved" --gate-model "$REFERENCE" -p embedgate_hook --gate-combination faulty-fp32-cpu --gate-depth quick --gate-report "$SCRATCH"
