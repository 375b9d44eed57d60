#!/usr/bin/python3
"""Exit with 0 while the container's Jupyter server answers.

A server writes its address to a file of its own in the runtime folder; without
one (another kind of server, or one that is starting) port 8888 is asked.
"""

import json
import os
import pathlib
import sys
import urllib.error
import urllib.request


def addresses():
    home = pathlib.Path(os.environ.get("HOME", "/home/jovyan"))
    runtime = os.environ.get("JUPYTER_RUNTIME_DIR", home / ".local/share/jupyter/runtime")
    files = pathlib.Path(runtime).glob("jpserver-*.json")
    for file in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True):
        try:
            server = json.loads(file.read_text())
            # the folder may be kept from an earlier container: only a live server counts
            os.kill(int(server["pid"]), 0)
        except (OSError, ValueError, KeyError):
            continue
        yield f"http://127.0.0.1:{server['port']}{server['base_url']}api"
    yield "http://127.0.0.1:8888/"


def answers(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError as refusal:
        return refusal.code < 500  # "sign in first" is an answer
    except OSError:
        return False
    return True


sys.exit(0 if any(answers(url) for url in addresses()) else 1)
