"""`python -m service predict`: predictions for every image of a folder or glob, on one machine or a Ray cluster."""
