"""How fast tinyse is beside the plain way to do the same: ratios of interleaved rounds in one run.

``race`` runs two or more ways side by side, ``catalogue`` lists what is compared, ``training``, ``exporting``,
``streaming`` and ``simulating`` hold the ways, ``page`` writes what was found.
"""
