"""What networks cost on the device: ours and others' shapes through Vela, Arm's TFLM firmware and our own.

``shapes`` builds the others' networks, ``costs`` measures one int8 network, ``catalogue`` gathers all of them,
``page`` writes them down. ``python -m tinyse.bench device`` runs it.
"""
