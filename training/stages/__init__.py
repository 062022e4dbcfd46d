"""The seven stages of a run, in the order of `pipeline.py`; each is `run(config, run_dir)`."""
