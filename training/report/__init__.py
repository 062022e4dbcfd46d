"""Figures, plots and pages about a model."""
