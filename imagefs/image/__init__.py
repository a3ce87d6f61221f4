"""Images as values: find, pull, commit, push, inspect them. Mounts nothing and runs nothing."""
