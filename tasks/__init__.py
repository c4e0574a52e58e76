"""Prefect tasks: thin wrappers of the library's functions, one module a stage.

What they do belongs in `tapehouse`; what is done in which order, in `flows`.
"""
