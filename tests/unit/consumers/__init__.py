"""Tests of the materializer."""
