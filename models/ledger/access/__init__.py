"""API keys and their policies."""
