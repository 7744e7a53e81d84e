"""The storage systems: one module or package a backend; no two import each other."""
