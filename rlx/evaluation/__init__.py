"""Scores and what can be said of them: normalisation, aggregates over games, intervals over seeds."""
