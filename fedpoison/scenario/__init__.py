"""What a run is: the scenario, its attackers, schedules and aggregation, and the names that it can use."""
