"""Training: Keras twins of the layers, networks of them, and what trains networks."""
