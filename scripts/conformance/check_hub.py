"""The steps about `fanwire serve`: its wire protocol from outside, and the clients of the repository."""

import check_hub_clients
import check_hub_commands
import check_hub_flow
import check_hub_self
import check_hub_topics
import check_hub_wire

# Name, title, function: each runs on both backends, on one core and on two.
BLACK_BOX = (
    ("hub-commands", "the hub: every mistake gets its exact error", check_hub_commands.check_mistakes),
    ("hub-limits", "the hub: every limit", check_hub_commands.check_limits),
    ("hub-floods", "the hub: floods of mistakes, random messages", check_hub_commands.check_floods),
    ("hub-subscribing", "the hub: order, history, patterns", check_hub_topics.check_subscribing),
    ("hub-resuming", "the hub: resume is whole or says why not", check_hub_topics.check_resuming),
    ("hub-state", "the hub: snapshots and rebuilt states", check_hub_flow.check_state),
    ("hub-rates", "the hub: max_rate", check_hub_flow.check_rates),
    ("hub-binary", "the hub: subprotocols, fanwire.v1.binary byte for byte", check_hub_wire.check_subprotocols),
    ("hub-raw", "the hub: /raw/", check_hub_wire.check_raw),
    ("hub-js", "the hub: the JavaScript client", check_hub_clients.check_js),
    ("hub-python", "the hub: the Python client", check_hub_clients.check_python),
    ("hub-chromium", "the hub: Chromium", check_hub_clients.check_browser),
    ("hub-slow", "the hub: readers that fall behind", check_hub_flow.check_slow_readers),
)


# What needs no hub.
ALONE = (
    ("self-hub", "canaries: what judges the hub notices what is wrong", check_hub_self.check_judges),
    ("clients-js", "the JavaScript client against a scripted server", check_hub_clients.check_js_alone),
    ("clients-python", "the Python client against a scripted server", check_hub_clients.check_python_alone),
)


def add_steps(per_backend):
    """Adds the steps with `per_backend(name, title, function, *arguments, **options)`."""
    per_backend("hub-documented", "every command of docs/clients.md", check_hub_clients.check_documented)
    for name, title, function in BLACK_BOX:
        for cores in (1, 2):
            suffix = "" if cores == 1 else f"-{cores}"
            per_backend(f"{name}{suffix}", f"{title}, {cores} core{'s' * (cores > 1)}", function, cores)
