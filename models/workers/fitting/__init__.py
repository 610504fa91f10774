"""What of a request reaches a worker as it is, and what is put otherwise for it: formats, effort."""
