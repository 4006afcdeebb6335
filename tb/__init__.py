"""Every test: the pytest side, the benches that run in a simulator, their drivers and the runner."""
