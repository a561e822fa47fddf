"""What a run leaves behind: rounds, metrics, the run store and the trackers."""
