"""Metrics and their tables: what a model's streamed output gained, measured on the host.

``metrics`` wraps the established packages, ``scoring`` streams mixtures through an engine and scores
them, ``result`` holds the scores, ``render`` writes table, JSON, CSV and plots.
"""
