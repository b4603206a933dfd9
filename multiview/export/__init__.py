"""Exports of runs: SavedModels for TensorFlow Serving and whatever else runs TensorFlow, files for LiteRT and ONNX."""
