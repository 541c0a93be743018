"""Runners: acting in many environments at once, and handing over what happened as blocks."""
