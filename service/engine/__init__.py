"""Runs a loaded model: admission, decoding threads, batching over lanes, and the watchdog."""
