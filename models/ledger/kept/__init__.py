"""What the ledger keeps for the clients of the endpoint."""
