"""An `ssh` that runs here what it is told, with a home for each host; -L leads to a port of the test.

Below its folder: `HOST/home`; `HOST/error`, with what it says instead if the host cannot be reached; `bin`,
first in the PATH of what it runs; `port`, where tunnels lead; `calls`, a line of JSON for each call.
"""

import json
import os
import select
import socket
import sys
import threading
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_SSH", ""))


def main() -> None:
    """Do as ssh does."""
    words, options = sys.argv[1:], []
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        options.append((flag, words.pop(0) if flag in ("-i", "-o", "-l", "-L") else ""))
    user, _, host = words.pop(0).rpartition("@")
    user = user or dict(options)["-l"]
    with (FOLDER / "calls").open("a") as calls:
        calls.write(json.dumps({"host": host, "user": user, "command": " ".join(words)}) + "\n")
    error = FOLDER / host / "error"
    if error.exists():
        print(error.read_text(), file=sys.stderr)
        sys.exit(255)
    forwards = [value.split(":") for flag, value in options if flag == "-L"]
    if forwards:
        for _, here, _, _ in forwards:
            threading.Thread(target=listen, args=(int(here),), daemon=True).start()
        threading.Event().wait()
    home = FOLDER / host / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}"}
    os.chdir(home)
    os.execve("/bin/bash", ["bash", "-c", " ".join(words)], environment)


def listen(port: int) -> None:
    """Forward a port of the loopback to that of the test."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            here, _ = server.accept()
            threading.Thread(target=forward, args=(here,), daemon=True).start()


def forward(here: socket.socket) -> None:
    """Carry bytes both ways until one end closes."""
    try:
        there = socket.create_connection(("127.0.0.1", int((FOLDER / "port").read_text())))
    except OSError:
        here.close()
        return
    ends = {here: there, there: here}
    while True:
        for end in select.select(list(ends), [], [])[0]:
            try:
                data = end.recv(65536)
                ends[end].sendall(data)
            except OSError:
                data = b""
            if not data:
                here.close()
                there.close()
                return


if __name__ == "__main__":
    main()
