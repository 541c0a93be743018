"""rlx: run, resume and compare the distributed deep-RL lineage on Ray RLlib."""

__version__ = "0.1.0"
