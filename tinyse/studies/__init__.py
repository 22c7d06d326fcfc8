"""Whole chains of work: run, release, sweeps, the doctor."""
