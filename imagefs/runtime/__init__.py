"""Containers: the OCI spec, runc under conmon, their life. Synchronous; fetches no image."""
