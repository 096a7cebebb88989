"""How a reader is chosen among the servers that may take a read. Called by ``routing.route`` for every read.

Pure apart from ``Balance``, which holds the little that strategies remember. Nothing here knows what a session is;
``direct`` is no entry: it never asks for a reader.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.config.schema import Strategy


class Balance:
    """What the strategies share over all sessions of a process.

    Attributes:
        turn: how often ``round_robin`` has chosen.
        in_use: server name -> connections that run a statement now, counted by the sessions.
    """

    __slots__ = ("in_use", "random", "turn")

    def __init__(self, in_use: dict[str, int], seed: int | None = None) -> None:
        self.turn = 0
        self.in_use = in_use
        self.random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing


def not_taken(balance: Balance) -> None:
    """The last choice was overruled: the next one has its turn."""
    balance.turn -= 1


Choose = Callable[[Sequence[ServerView], Balance], ServerView]


def any_at_random(readers: Sequence[ServerView], balance: Balance) -> ServerView:
    return readers[int(balance.random.random() * len(readers))]


def lowest_ping(readers: Sequence[ServerView], balance: Balance) -> ServerView:
    """The first one wins a tie, so that the choice does not flutter between equal servers."""
    return min(readers, key=lambda server: server.ping)


def in_turn(readers: Sequence[ServerView], balance: Balance) -> ServerView:
    balance.turn += 1
    return readers[balance.turn % len(readers)]


def fewest_in_use(readers: Sequence[ServerView], balance: Balance) -> ServerView:
    """Equal counts are broken at random: the first would get every read of an idle cluster."""
    fewest = min(balance.in_use.get(server.name, 0) for server in readers)
    return any_at_random([s for s in readers if balance.in_use.get(s.name, 0) == fewest], balance)


def by_weight(readers: Sequence[ServerView], balance: Balance) -> ServerView:
    """A weight of 0 takes no reads while another reader has more."""
    total = sum(server.weight for server in readers)
    if total == 0:
        return any_at_random(readers, balance)
    point = balance.random.random() * total
    for server in readers:
        point -= server.weight
        if point < 0:
            return server
    return readers[-1]


CHOOSE: dict[Strategy, Choose] = {
    Strategy.RANDOM: any_at_random,
    Strategy.CUSTOMIZED: lowest_ping,
    Strategy.ROUND_ROBIN: in_turn,
    Strategy.LEAST_CONNECTIONS: fewest_in_use,
    Strategy.WEIGHTED: by_weight,
}
