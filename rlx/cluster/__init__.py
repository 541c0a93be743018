"""Clusters on AWS and on hosts of one's own: the short YAML, Ray's launcher file, and the way back to nothing."""
