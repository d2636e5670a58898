"""Timings of models and metrics on this machine."""
