"""Networks twice: as a ``Net`` that is trained, and as a ``Graph`` of integer operators that runs. NumPy only."""
