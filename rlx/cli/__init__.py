"""The command line: each command parses, calls one function, prints. Nothing here imports Ray or torch."""
