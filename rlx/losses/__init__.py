"""Losses as functions of tensors; no Ray, no state."""
