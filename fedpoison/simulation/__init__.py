"""One run, its clean reference run, centralized training, replay, and batches of runs."""
