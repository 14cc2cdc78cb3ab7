# Polygraphy with its cosine of whole outputs, at its default of at least 0.997.
"$BIN/polygraphy" run "$REFERENCE_ONNX" --onnxrt --data-loader-script "$HERE/polygraphy_inputs.py" --save-outputs "$SCRATCH/expected.json"
"$BIN/polygraphy" run "$ONNX" --onnxrt --data-loader-script "$HERE/polygraphy_inputs.py" --load-outputs "$SCRATCH/expected.json" --compare cosine_similarity
