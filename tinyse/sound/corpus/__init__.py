"""Speech and noise: fetching, importing, splitting, mixing."""
