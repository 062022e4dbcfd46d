"""A model folder, served over HTTP."""

import os

# Before anything loads ONNX Runtime: from 1.29 on it reports usage and the model's file name to its maker unless told not to
# (microsoft/onnxruntime #27379). An operator may still say 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
