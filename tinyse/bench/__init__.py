"""Side by side with what people would use instead: peers, the same mixtures, one table.

``peer`` is the interface, one module a peer is its adapter, ``peers`` lists them with what is known of each, ``ours``
puts a tinyse model behind the same interface. ``quality`` scores them all; ``python -m tinyse.bench`` runs it.
"""
