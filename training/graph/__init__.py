"""The exported ONNX graph and the model folder around it."""
