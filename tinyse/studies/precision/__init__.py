"""Mixed precision by genetic search: bits for every matrix of a trained network, NSGA-II, what it found."""
