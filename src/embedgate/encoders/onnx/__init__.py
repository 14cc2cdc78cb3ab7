"""The one ONNX graph and what is derived from it."""
