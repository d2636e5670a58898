"""Timings of models, metrics and the selective scan on this machine."""
