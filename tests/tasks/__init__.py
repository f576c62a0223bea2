"""Tests of tasks; a package, so that its test_load is another module than that of the models."""
