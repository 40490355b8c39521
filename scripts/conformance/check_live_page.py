"""The live page of `fanwire serve --simulate` in Chromium: rebuilt books, resume, conflation, widths."""

import os
import re

import machine
from check_clients import run_client
from machine import CLIENTS
from processes import Server
from report import Failure

ADMINISTRATION = re.compile(r"administration on (http://\S+)")
SIMULATOR = ("--admin", "127.0.0.1:0", "--simulate", "--simulate-symbols", "4", "--simulate-rate", "600/s")


class SimulatingServer(Server):
    """One running `fanwire serve --simulate`."""

    def __init__(self, step, programs, **more):
        super().__init__(step, programs, *SIMULATOR, **more)
        self.command[self.command.index("echo")] = "serve"

    def page(self):
        """The address of the page. The line comes right after the one that was waited for."""
        line = self._lines.get(timeout=10)
        found = ADMINISTRATION.match(line or "")
        if not found:
            raise Failure(f"expected where the administration listens, saw {line}")
        return found.group(1)


def check(step, programs, backend):
    """The page in a browser."""
    node, folder = machine.node_environment(step)
    environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"), CHROMIUM=machine.browser(step))
    with SimulatingServer(step, programs, backend=backend) as server:
        run_client(step, [node, CLIENTS / "live_page.js", server.page()], environment)
