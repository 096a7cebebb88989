"""The command line: arguments only. What a command does is in ``commands``, ``app`` and ``demo``.

Imports those only when their command runs, so that --help and --version answer at once.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mysqlproxy import __version__
from mysqlproxy.errors import ConfigFault

METHODS = (
    "mysql_native_password", "caching_sha2_password", "sha256_password", "client_ed25519", "parsec",
    "mysql_clear_password",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 done, 1 not (standard error says why), 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = _RUN[arguments.command](arguments)
    except ConfigFault as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _serve(arguments: argparse.Namespace) -> int:
    from mysqlproxy.app import serve

    return serve(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.check import check

    return check(arguments.config, connect=arguments.connect)


def _replay(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.replay import replay

    return replay(arguments.config, arguments.digests, offline=arguments.offline, as_json=arguments.json)


def _explain(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.explain import Question, explain

    question = Question(
        arguments.sql, user=arguments.user, schema=arguments.schema, offline=arguments.offline
    )
    return explain(arguments.config, question, as_json=arguments.json)


def _user(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.user import hash_password

    return hash_password(arguments.method)


def _pki(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.pki import pki

    return pki(
        arguments.dir,
        arguments.gatekeeper,
        arguments.trusted_host,
        arguments.proxy,
        days=arguments.days,
        renew=arguments.renew,
        renew_ca=arguments.renew_ca,
    )


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.chain:
        from mysqlproxy.demo.chain import run_chain

        return run_chain(arguments.once, arguments.dir)
    from mysqlproxy.demo.command import run_demo

    return run_demo(arguments.once, arguments.dir, arguments.port, arguments.http_port)


def _bench(arguments: argparse.Namespace) -> int:
    from mysqlproxy.commands.bench import Request, bench

    return bench(Request(**{name: getattr(arguments, name) for name in Request.__slots__}))


_RUN = {
    "serve": _serve,
    "check": _check,
    "explain": _explain,
    "replay": _replay,
    "user": _user,
    "pki": _pki,
    "demo": _demo,
    "bench": _bench,
}


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mysqlproxy.protocol.build import compiled

        print(f"mysqlproxy {__version__} ({'compiled' if compiled() else 'pure Python'})")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mysqlproxy",
        description="A proxy that speaks the MySQL protocol: writes to the manager, reads to the workers.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="say the version and whether it is compiled"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the daemon; SIGTERM drains, SIGHUP reloads")
    _config(serve)

    check = commands.add_parser("check", help="validate the configuration; every fault at once")
    _config(check)
    check.add_argument("--connect", action="store_true", help="try every server and every known login, too")

    explain = commands.add_parser("explain", help="what a statement is, where it goes, and why")
    _config(explain)
    explain.add_argument("--json", action="store_true", help="one JSON object instead of text")
    explain.add_argument("--user", metavar="NAME", help="with the strategy and consistency of this account")
    explain.add_argument("--schema", metavar="NAME", default="", help="the default schema")
    explain.add_argument("--offline", action="store_true", help="from the configuration alone, no connection")
    explain.add_argument("sql", metavar="SQL")

    replay = commands.add_parser("replay", help="what the rules would do to statements recorded earlier")
    _config(replay)
    replay.add_argument("--digests", type=Path, required=True, metavar="FILE", help="of statements_file")
    replay.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    replay.add_argument("--offline", action="store_true", help="no connection: views are taken for tables")

    user = commands.add_parser("user", help="what concerns accounts")
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")
    hashing = actions.add_parser(
        "hash", help="read a password, print the verifiers to put into the configuration"
    )
    hashing.add_argument(
        "--method", choices=METHODS, help="print only the verifier for this one, and nothing else"
    )

    pki = commands.add_parser("pki", help="CA, certificates and signing keys for the hosts of a chain")
    pki.add_argument("--dir", type=Path, required=True, metavar="D", help="where they are made, and renewed")
    for option, what in (
        ("--gatekeeper", "names and addresses of it, with commas between; once for each gatekeeper"),
        ("--trusted-host", "names and addresses"),
        ("--proxy", "names and addresses"),
    ):
        action = "append" if option == "--gatekeeper" else "store"
        pki.add_argument(option, action=action, required=True, metavar="HOSTS", help=what)
    pki.add_argument(
        "--days", type=_positive, default=397, metavar="N", help="until certificates expire; 397"
    )
    pki.add_argument(
        "--renew", action="store_true", help="new certificates and signing keys, from the same CA"
    )
    pki.add_argument(
        "--renew-ca",
        action="store_true",
        help="as --renew, and a new CA, which signs from the next --renew on",
    )

    demo = commands.add_parser(
        "demo", help="a manager, two workers and the daemon on this machine, with a workload"
    )
    demo.add_argument("--once", action="store_true", help="end after the workload")
    demo.add_argument(
        "--chain",
        action="store_true",
        help="gatekeeper, trusted host and proxy on hosts of their own; as root",
    )
    demo.add_argument("--dir", type=Path, metavar="D", help="where the servers keep their data meanwhile")
    for option, port, what in (("--port", 6033, "for clients"), ("--http-port", 9104, "for metrics")):
        demo.add_argument(
            option, type=int, default=port, metavar="N", help=f"the daemon's {what}, {port}; 0: a free one"
        )
    _bench_parser(
        commands.add_parser("bench", help="sysbench through the daemon, HAProxy and directly, in turns")
    )
    return parser


def _bench_parser(bench: argparse.ArgumentParser) -> None:
    _config(bench, required=False, text="its servers; without it a manager and two workers on this machine")
    bench.add_argument("--user", metavar="NAME", default="", help="which account of it; the first by default")
    bench.add_argument("--schema", metavar="NAME", default="sbtest", help="where tables may be made; sbtest")
    bench.add_argument(
        "--against", action="append", default=[], metavar="NAME=HOST:PORT[:PID]", help="one more proxy"
    )
    bench.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="rows by name; * and ? match"
    )
    bench.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    bench.add_argument("--rounds", type=_positive, default=3, metavar="N", help="of each row; 3")
    bench.add_argument("--seconds", type=_positive, default=3, metavar="N", help="of each turn; 3")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _config(
    parser: argparse.ArgumentParser, *, required: bool = True, text: str = "the configuration (TOML)"
) -> None:
    parser.add_argument("--config", type=Path, required=required, metavar="FILE", help=text)
