"""Start servers, fill the shop, serve it, drive traffic, report, and clear everything away."""

import argparse
import json
import secrets
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

from example_project.demo.progress import Progress
from example_project.demo.report import Report
from example_project.demo.servers import KINDS, Databases, running
from example_project.demo.site import Address, Site, fetch
from example_project.demo.traffic import Traffic


def main() -> int:
    options = arguments()
    stop_in_order()
    try:
        return demonstrate(options)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except (RuntimeError, CalledProcessError) as error:  # no servers, or one that does not start
        print(error, file=sys.stderr)
        return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m example_project.demo", description=__doc__)
    parser.add_argument("--db", choices=KINDS, default="postgresql", help="default: postgresql")
    parser.add_argument("--seconds", type=float, default=6, help="of traffic (default: 6)")
    parser.add_argument("--keep", action="store_true", help="leave the site running until Ctrl-C")
    return parser.parse_args()


def stop_in_order() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does, and no second one disturb that."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(*_: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def demonstrate(options: argparse.Namespace) -> int:
    say(f"Starting {options.db}: the shop with two replicas, its orders with one.")
    with TemporaryDirectory(prefix="shop-") as folder, running(options.db) as databases:
        site = prepare(databases, Path(folder))
        with site.served() as address:
            report = observe(site, address, options.seconds)
            print(report)
            problems = report.problems()
            for sentence in problems:
                print(f"PROBLEM: {sentence}", file=sys.stderr)
            if problems:
                print(site.log.read_text()[-4000:], file=sys.stderr)
            if options.keep:
                keep(site, address, Path(folder))
    return 1 if problems else 0


def prepare(databases: Databases, folder: Path) -> Site:
    """Return the site, with its tables made and filled on every node."""
    own = {
        "DEBUG": "0",
        # Also keeps this run's pools apart from those of other runs on this machine.
        "SECRET_KEY": secrets.token_urlsafe(32),
        # As many as a worker has threads: more would idle.
        "POOL_SIZE": "4",
    }
    site = Site(databases.environment | own, folder)
    say("Migrating and seeding.")
    site.migrate_and_seed()
    databases.wait_for_replicas()
    return site


def observe(site: Site, address: Address, seconds: float) -> Report:
    """Drive traffic, look at the pools from outside meanwhile, and at the health after it."""
    say(f"Driving traffic for {seconds:g} s against http://{address[0]}:{address[1]}/")
    with (
        Traffic(address) as traffic,
        ThreadPoolExecutor(1) as background,
        Progress(traffic.tally, seconds) as progress,
    ):
        progress.follow(until=lambda: progress.elapsed >= seconds / 2)
        status = background.submit(pool_status, site)
        progress.follow(until=lambda: progress.elapsed >= seconds and status.done())
        elapsed = progress.elapsed
    table, as_json = status.result()
    health_code, health = fetch(address, "/health/?format=json")
    return Report(traffic.tally, elapsed, table, as_json, health_code, health)


def pool_status(site: Site) -> tuple[str, dict]:
    """Return the pools of all workers, as a table and as JSON."""
    table = site.manage("poolstatus")
    return table, json.loads(site.manage("poolstatus", "--json"))


def keep(site: Site, address: Address, folder: Path) -> None:
    """Leave the site to the user, until a signal ends the demo."""
    password = secrets.token_urlsafe(9)
    site.manage(
        "createsuperuser",
        *("--noinput", "--username=admin", "--email=admin@example.com"),
        DJANGO_SUPERUSER_PASSWORD=password,
    )
    environment = folder / "environment"
    environment.write_text(site.shell_environment())
    print(f"\nThe shop:   http://{address[0]}:{address[1]}/")
    print(f"Its admin:  http://{address[0]}:{address[1]}/admin/  (admin, {password})")
    print(f"Its pools:  http://{address[0]}:{address[1]}/admin/poolrouter_admin/pools/")
    print("The same, from another shell:")
    print(f"  . {environment}; {sys.executable} example_project/manage.py poolstatus --watch")
    say("Ctrl-C stops it and removes everything.")
    while True:
        signal.pause()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
