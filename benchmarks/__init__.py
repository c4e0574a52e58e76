"""Measurements: each figure of tapehouse beside a named baseline, taken in the same run on the same server."""
