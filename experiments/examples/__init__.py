"""Complete examples, which the tests run."""
