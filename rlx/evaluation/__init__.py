"""How a policy is played to be judged, and the statistics of what it scores. Needs neither Ray nor torch."""
