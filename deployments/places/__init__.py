"""Where flow runs run: processes of a worker, containers, pods."""
