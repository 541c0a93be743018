"""Clusters on AWS and on hosts: the short file, Ray's launcher file, and the way back to nothing."""
