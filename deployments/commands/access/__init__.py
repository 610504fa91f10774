"""Commands about who may use the endpoint."""
