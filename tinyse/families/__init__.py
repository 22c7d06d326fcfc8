"""Families of networks, one file each: ``net(...) -> Net`` and the ``ENDS`` it is trained between."""
