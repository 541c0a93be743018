"""How a policy is played to be judged, and what can be said of scores. Needs neither Ray nor torch."""
