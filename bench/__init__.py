"""Benchmarks: scripts, not tests. `python -m bench` prints ratios that were measured in one run.

Each benchmark runs its commands in turns (A B A B), after a warm-up of each, and compares medians of whole-process
wall times, so that a machine that is slower today is slower for both sides. Peers (DVC, Terraform) are optional.
"""
