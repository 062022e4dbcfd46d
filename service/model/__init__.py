"""A model folder on disk, the variant chosen from it, its ONNX session, and the prediction that its outputs mean."""
