"""Clusters on one machine: hosts out of namespaces, and a simulated AWS whose instances are such hosts."""
