"""MedXfer's service: serves a model folder over HTTP."""

import os

# Must be set before ONNX Runtime is loaded: from 1.29 on it reports usage and the model's file name to its maker
# (microsoft/onnxruntime #27379). An operator may set 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
