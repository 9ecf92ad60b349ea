"""Serving: the gateway, its model processes, and what they observe."""
