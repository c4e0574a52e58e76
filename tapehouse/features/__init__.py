"""Features of order books and trades as formulas on numpy arrays; keeping them is `tapehouse.store.features`."""
