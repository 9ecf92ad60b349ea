"""How what gates ask is found out: one file for each gate, its `measure(ask, subject)` gives plain values."""
