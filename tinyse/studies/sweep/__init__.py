"""Sweeps: a grid of recipes trained, exported, scored and costed point by point, into one table.

``spec`` reads the YAML, ``plan`` decides folders and jobs, ``pool`` runs each point in a process of its own, ``nodes``
does so on a Ray cluster, ``point`` is what such a process does, ``results`` holds the outcome, ``render`` and
``figures`` show it, ``pipeline`` owns the order. docs/sweep.md is the manual.
"""
