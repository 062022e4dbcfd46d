"""The images: which there are, whose they are, how they are split, altered and batched."""
