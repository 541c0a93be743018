"""Old RLlib YAML (`cartpole-dqn: {run: DQN, env: ..., config: {...}}`)."""
from __future__ import annotations
from rlx.experiment.document import Document

def is_legacy(document: Document) -> bool:
    return False

def convert(document: Document) -> tuple[Document, list[str]]:
    return document, []
