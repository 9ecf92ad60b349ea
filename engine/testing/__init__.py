"""Fakes and contract suites, for this project and for authors of adapters."""
