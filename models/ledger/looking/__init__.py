"""The ledger as a person looks at it: the latest requests, what was spent, and all that is known of one request."""
