# embed-parity with its own defaults.
"$BIN/embed-parity" compare --model "$REFERENCE" --tei "$URL"
