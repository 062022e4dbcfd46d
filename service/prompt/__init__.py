"""`python -m service predict` without `--out`: predictions of some images, for a person or for a program."""
