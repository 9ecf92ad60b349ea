"""Declarative model lifecycles: plan and apply, for the life of a machine-learning model."""

__version__ = "0.1.0"
