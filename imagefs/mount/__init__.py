"""Mounts: starting, listing and ending them, and the processes that keep them alive."""
