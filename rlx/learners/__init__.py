"""Learners: windows in, updates and priorities out; optimisers."""
