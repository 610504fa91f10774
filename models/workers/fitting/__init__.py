"""What of a request reaches a worker as it is, what is put otherwise for it, and what a pool may state of it."""
