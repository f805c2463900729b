"""What watches a run and decides nothing: no result may depend on a module of this package."""
