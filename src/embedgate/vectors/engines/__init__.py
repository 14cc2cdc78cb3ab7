"""A module per engine."""
