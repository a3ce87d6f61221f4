"""What the tests of real things share: registries, a counting proxy, the command, clean-up."""
