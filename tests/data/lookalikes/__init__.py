"""Writers of tiny downloads in the official layout of each set, with its traps. The pictures are generated; no licensed byte is here."""
