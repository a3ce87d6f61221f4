"""The FUSE edge: translates pyfuse3's requests for the engine. Decides nothing itself."""
