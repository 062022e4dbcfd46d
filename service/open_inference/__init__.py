"""The Open Inference Protocol below `/v2`: its routes, requests and responses."""
