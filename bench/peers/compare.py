#!/usr/bin/env python3
"""The same booking saga on Sagaline and on its peers, in turns on one quiet machine; prints one table of medians.

    bench/peers/compare.py [--rounds 3] [--sagas 20000] [--concurrency 256] [--only sagaline,river,dbos,restate]

Needs what the peers' run.sh need (README.md) and `cargo build --release` of Sagaline. The peers' Postgres is a server of
its own, started here with the same settings as Sagaline's benchmark gives its own. A run whose check fails is an error.
A table line is the median of its runs; the lowest and highest rate stand beside it.
"""
import argparse, json, os, pathlib, pwd, shutil, socket, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SETTINGS = {"max_wal_size": "4GB", "shared_buffers": "256MB", "max_connections": "200", "jit": "off",
            "listen_addresses": "127.0.0.1", "fsync": "on", "synchronous_commit": "on"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A server in a scratch directory; as another user where we are root, for Postgres refuses root."""

    def __init__(self):
        found = shutil.which("pg_ctl")
        places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not found and not places:
            sys.exit("compare.py: no pg_ctl found; install Postgres' server programs")
        self.bin = pathlib.Path(found).parent if found else places[-1].parent
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="peers-pg-", dir="/var/tmp"))
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.dir, self.user)
        self.port = free_port()
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8")
        with open(self.dir / "data" / "postgresql.conf", "a") as conf:
            conf.write(f"port={self.port}\nunix_socket_directories='{self.dir}'\n")
            conf.writelines(f"{k}='{v}'\n" for k, v in SETTINGS.items())
        self.run("pg_ctl", "-D", self.data, "-w", "-l", str(self.dir / "log"), "start")

    @property
    def data(self):
        return str(self.dir / "data")

    def run(self, program, *arguments):
        command = [str(self.bin / program), *arguments]
        kwargs = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid} if self.user else {}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.dir, **kwargs)

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "fast", "stop")
        shutil.rmtree(self.dir, ignore_errors=True)


def last_json(command, env):
    done = subprocess.run([str(part) for part in command], env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        sys.exit(f"compare.py: {' '.join(map(str, command))} failed ({done.returncode})")
    result = json.loads(lines[-1])
    if not result["ok"]:
        sys.exit(f"compare.py: a wrong result: {result}")
    return result


def sagaline(sagas, concurrency, _postgres):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    r = last_json([target / "release" / "sagaline", "bench", "saga", "--sagas", sagas, "--concurrency", concurrency,
                   "--output", "json"], {})
    cpu = sum(v or 0 for k, v in r.items() if k.endswith("_cpu_ms_per_saga"))
    return {"rate": r["sagas_per_s"], "p50": r["p50_ms"], "p99": r["p99_ms"], "cpu": cpu, "other": r["other_cpu_s"]}


def peer(folder, **env):
    def run(sagas, concurrency, postgres):
        r = last_json([HERE / folder / "run.sh", sagas, concurrency], {"PEER_PG_PORT": str(postgres.port), **env})
        return {"rate": r["sagas_per_s"], "p50": r["p50_ms"], "p99": r["p99_ms"],
                "cpu": r["cpu_ms_per_saga"]["total_without_shared"], "other": r["other_cpu_s"]}
    return run


SYSTEMS = {
    "sagaline": ("Sagaline (Kafka, Postgres)", sagaline),
    "restate": ("Restate, 4 partitions", peer("restate", RESTATE_DEFAULT_NUM_PARTITIONS="4")),
    "river": ("River, a step may run twice", peer("river")),
    "river-tx": ("River, each step once", peer("river", COMPLETE="tx")),
    "dbos": ("DBOS for Rust", peer("dbos")),
}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--sagas", type=int, default=20000)
    options.add_argument("--concurrency", type=int, default=256)
    options.add_argument("--only", default=",".join(SYSTEMS), help="comma-separated: " + ", ".join(SYSTEMS))
    options = options.parse_args()
    names = options.only.split(",")
    unknown = set(names) - set(SYSTEMS)
    if unknown:
        sys.exit(f"compare.py: unknown: {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    runs = {name: [] for name in names}
    postgres = Postgres()
    try:
        for round_number in range(options.rounds):
            for name in names:
                title, run = SYSTEMS[name]
                result = run(options.sagas, options.concurrency, postgres)
                runs[name].append(result)
                print(f"round {round_number + 1}: {title}: {result['rate']:.0f}/s", file=sys.stderr, flush=True)
    finally:
        postgres.stop()
    middle = lambda name, key: statistics.median(run[key] for run in runs[name])
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {options.sagas} sagas, {options.concurrency} in flight, "
          f"median of {options.rounds}\n")
    print("| system | sagas/s | lowest–highest | p50 ms | p99 ms | CPU ms a saga |\n|---|---|---|---|---|---|")
    for name in names:
        rates = [run["rate"] for run in runs[name]]
        print(f"| {SYSTEMS[name][0]} | {middle(name, 'rate'):.0f} | {min(rates):.0f}–{max(rates):.0f} "
              f"| {middle(name, 'p50'):.1f} | {middle(name, 'p99'):.1f} | {middle(name, 'cpu'):.2f} |")


if __name__ == "__main__":
    main()
