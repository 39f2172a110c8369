"""Runs of the suite: cells, executors, plans, audit and conformance tests, behind the command line."""
