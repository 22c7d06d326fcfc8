"""Scores of the output, costs of the network, cards, and tools around the simulator."""
