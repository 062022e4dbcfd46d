"""The images: which there are, which patient each belongs to, their splits, alterations and batches."""
