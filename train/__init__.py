"""Training scripts, one a family. Run them as modules: `python -m train.diffusion --preset laptop`."""
