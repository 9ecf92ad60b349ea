"""The composition root: wires adapters to the core, one function per use case. Only `cli` stands above it."""
