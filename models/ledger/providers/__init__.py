"""What all processes that share the ledger know of the workers' providers."""
