"""Entry point: ``tinyse`` and ``python -m tinyse``."""

from __future__ import annotations

from tinyse.cli import main

if __name__ == "__main__":
    main()
