"""The PyTorch network: backbone, linear probe, fine-tuning, validation, history."""
