"""Public fakes, contract suites and builders of test images; only tests import them."""
