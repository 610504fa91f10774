"""What is counted, measured and traced of requests and calls: Prometheus and OpenTelemetry. No text is in any of it."""
