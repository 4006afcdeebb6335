"""Every test: the pytest side, the benches inside a simulator, their drivers and the runner."""
