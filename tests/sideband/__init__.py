"""Tests of the hsmsideband backend."""
