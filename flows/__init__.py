"""Prefect flows, one a module: each reads as the list of what it does."""
