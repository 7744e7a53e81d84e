"""Tests of the backends that keep files on this machine."""
