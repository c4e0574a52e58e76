"""All of tapehouse on this machine, beside the checkout: `python -m flows.local up`, which is what `make up` runs.

What runs is told in `stack`, how a process is started and found again in `daemon`.
"""
