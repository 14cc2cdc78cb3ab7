# Polygraphy with its own defaults: every number within 1e-5, absolute or relative.
"$BIN/polygraphy" run "$REFERENCE_ONNX" --onnxrt --data-loader-script "$HERE/polygraphy_inputs.py" --save-outputs "$SCRATCH/expected.json"
"$BIN/polygraphy" run "$ONNX" --onnxrt --data-loader-script "$HERE/polygraphy_inputs.py" --load-outputs "$SCRATCH/expected.json"
