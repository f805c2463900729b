"""Speed, measured so that a stranger can measure it again: interleaved variants, at least five rounds, median and best."""
