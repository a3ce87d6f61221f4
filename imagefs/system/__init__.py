"""The kernel seen from Python: mounts, locks, renames, processes. Never decides anything."""
