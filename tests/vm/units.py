"""In which units of systemd limits are held by cgroups, and that nothing is moved or left in any: what the tests can't see
from within the one unit that they are started in; and the server as the service that it is installed as (`service`). Started
by `guest`, as root, from a service of the system. One line a check, and what was found where it failed; the last line counts
them."""

import json
import os
import shlex
import subprocess
import sys
import time
import traceback

import service

CGROUP = "/sys/fs/cgroup"
STATES = {"root": "/var/lib/pinfold", "user": "/var/tmp/pinfold-1000"}
with open("/opt/pinfold/settings") as file:
    PROGRAMS = dict(line.strip().split("=", 1) for line in file)["programs"].strip("'")
RUNNER = PROGRAMS + "/pinfold-runner"
counts = {"passed": 0, "failed": 0}

# A process in a delegated scope of the user's own service manager, and one in a scope that nobody called delegated.
SCOPE = "systemd-run --user --scope --quiet -p Delegate=yes"
PLAIN_SCOPE = "systemd-run --user --scope --quiet"

# How the runner is started: who and in which kind of unit.
PLACES = {
    "root in a service": "{}",
    "root in a login session": "su -l root -c {quoted}",
    "root in a container's own hierarchy": "systemd-run --quiet --pipe --wait -p Delegate=yes unshare -Cm sh -c "
    f"'umount -l {CGROUP} && mount -t cgroup2 none {CGROUP} && exec {{}}'",
    # Whoever has a service manager of his own is given a scope by it.
    "user in a login session": "su -l user -c {quoted}",
    "user in a scope that is not delegated": "su -l user -c 'exec " + PLAIN_SCOPE + " {}'",
    "user in a delegated scope": "su -l user -c 'exec " + SCOPE + " {}'",
    "user in a delegated scope, with a shell": "su -l user -c " + shlex.quote(SCOPE + " sh -c '{}; exit $?'"),
    "user in a delegated service of his own": "su -l user -c "
    "'systemd-run --user --quiet --pipe --wait -p Delegate=yes {}'",
    "user in a delegated service": "systemd-run --quiet --uid=1000 --pipe --wait -p Delegate=yes {}",
    "user by PAM, in a delegated scope": "systemd-run --quiet --uid=1000 --pipe --wait -p PAMName=login "
    "-E XDG_RUNTIME_DIR=/run/user/1000 " + SCOPE + " {}",
}
# Where there is no cgroup for us.
UNDELEGATED = {
    "user in a service": "systemd-run --quiet --uid=1000 --pipe --wait {}",
    "root in a cgroup namespace under the host's mount": "unshare -C {}",
}


def check(name, holds, found=None):
    counts["passed" if holds else "failed"] += 1
    print(("ok    " if holds else "FAIL  ") + name + ("" if holds or found is None else f"\n      found: {found}"))


def shell(command, **more):
    return subprocess.run(command, shell=True, text=True, capture_output=True, timeout=100, **more)


def started(place, command):
    return place.replace("{quoted}", shlex.quote(command)).replace("{}", command)


def run(place, *command, **job):
    """Runs one job and gives its result; where there is none, what was said instead, so that a check can show it."""
    done = shell(started(place, RUNNER), input=json.dumps({"command": command, **job}))
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"status": "no result", "said": done.stdout + done.stderr, "usage": {}, "isolation": {}}


def groups(needle="pinfold-"):
    return [path for path, _, _ in os.walk(CGROUP) if needle in path.removeprefix(CGROUP)]


def members(path):
    try:
        with open(path + "/cgroup.procs") as file:
            return file.read().split()
    except OSError:
        return []


def nothing_left(name):
    slots = [path for path in STATES.values() if os.path.isdir(path) and os.listdir(path)]
    deadline = time.monotonic() + 20
    while (left := groups() + slots) and time.monotonic() < deadline:
        time.sleep(0.2)
    check(f"{name}: nothing is left", not left, left)


def whole(name, place):
    """Everything that a cgroup gives, in one place."""
    eat = "cat /proc/self/cgroup; exec python3 -c 'x = bytearray(300 << 20)'"
    limits = {"memory_bytes": 64 << 20, "pids": 20, "cpus": 1}
    result = run(place, "sh", "-c", eat, limits=limits, require=["cgroup", "memory", "pids", "cpu"])
    held = [result["isolation"].get(key) for key in ("cgroup", "memory", "pids", "cpu")]
    check(f"{name}: isolation", held == ["v2", "cgroup", "cgroup", "cgroup"], result)
    shot = result["status"] == "out_of_memory" and result["usage"]["oom_kills"] == 1
    check(f"{name}: out of memory", shot and result["stdout"] == "0::/\n", result)
    nothing_left(name)


def lacking(name, place):
    """Where there is no cgroup to be had."""
    result = run(place, "true")
    held = [result["isolation"].get(key) for key in ("cgroup", "memory", "pids")]
    check(f"{name}: isolation", result["status"] == "exited" and held == [None, "watched", "rlimit"], result)
    result = run(place, "true", require=["cgroup"])
    check(f"{name}: what is required", (result.get("error") or {}).get("code") == "requirement", result)
    nothing_left(name)


def killed(name, place, sweeper, state):
    """A runner is shot in one unit, and swept after from another."""
    process = subprocess.Popen(started(place, RUNNER), shell=True, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.stdin.write(json.dumps({"command": ["sleep", "60"]}))
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (commands := [path for path in groups() if path.endswith("/command") and members(path)]):
        if time.monotonic() > deadline:
            return check(f"{name}: starts", False, groups())
        time.sleep(0.1)
    shell("pkill -KILL -x pinfold-runner")
    process.wait(20)
    deadline = time.monotonic() + 10
    while (alive := [pid for path in commands for pid in members(path)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    check(f"{name}: the sandbox dies with its runner", not alive, alive)
    before = os.listdir(state)
    done = shell(started(sweeper, RUNNER + " --sweep"))
    check(f"{name}: the sweep", before and done.returncode == 0 and not os.listdir(state), (before, done))
    nothing_left(name)


def shell_in_scope(name):
    """A user's shell that stays in its scope: what becomes of it, and of the runners that it starts."""
    script = f"""
        own() {{ sed 's/.*\\.scope//' /proc/self/cgroup; }}
        job='{{"command": ["sh", "-c", "sleep 1; cat /proc/self/cgroup"], "require": ["memory", "pids"]}}'
        echo "$job" | {RUNNER}; own
        echo "$job" | {RUNNER} >/tmp/one & echo "$job" | {RUNNER} >/tmp/two & wait
        cat /tmp/one /tmp/two; own
        systemctl --user daemon-reload
        echo "$job" | {RUNNER}; own
        find /sys/fs/cgroup$(sed 's/^0:://; s/\\.scope.*/.scope/' /proc/self/cgroup) -mindepth 1 -type d -printf '%P\\n'
    """
    done = shell(f"su -l user -c {shlex.quote(SCOPE + ' sh')}", input=script)
    lines = done.stdout.splitlines()
    results = [json.loads(line)["status"] for line in lines if line.startswith("{")]
    check(f"{name}: one, two at once, and one after a reload", results == ["exited"] * 4, done)
    others = [line for line in lines if not line.startswith("{")]
    check(f"{name}: one group aside, and no other", others == ["/pinfold-aside"] * 3 + ["pinfold-aside"], others)
    nothing_left(name)


def terminal(name):
    """In a scope that nobody delegated nothing is moved, and a sandbox out of memory doesn't bring the others down."""
    job = json.dumps({"command": ["python3", "-c", "x = bytearray(300 << 20)"], "limits": {"memory_bytes": 64 << 20}})
    script = f"echo '{job}' | {RUNNER} >/dev/null; sleep 2; cat /proc/self/cgroup; echo alive"
    done = shell(f"su -l user -c {shlex.quote(PLAIN_SCOPE + ' sh')}", input=script)
    check(name, done.stdout.endswith("alive\n") and "pinfold" not in done.stdout, done)
    nothing_left(name)


def foreign(name):
    """A process of another user in the scope: it is not moved, and the result says that nothing is held by a cgroup."""
    script = f"""
        sed 's/^0:://' /proc/self/cgroup; read _
        echo '{{"command": ["true"]}}' | {RUNNER}
        cat /proc/self/cgroup; sleep 1
    """
    process = subprocess.Popen(f"su -l user -c {shlex.quote(SCOPE + ' sh -c ' + shlex.quote(script))}", shell=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    scope = CGROUP + process.stdout.readline().strip()
    stranger = subprocess.Popen(["sleep", "100"])
    with open(scope + "/cgroup.procs", "w") as file:
        file.write(str(stranger.pid))
    said = process.communicate("go\n", timeout=60)[0].splitlines()
    result = json.loads(said[0])
    isolation = result["isolation"]
    check(f"{name}: isolation", isolation["cgroup"] is None and isolation["memory"] == "watched", result)
    check(f"{name}: nobody is moved", "pinfold" not in said[1], said)
    stranger.kill()
    stranger.wait()
    nothing_left(name)


def main():
    before = {path: members(path) for path in groups("")}
    for name, place in PLACES.items():
        whole(name, place)
    for name, place in UNDELEGATED.items():
        lacking(name, place)
    killed("root's runner shot", "{}", "{}", STATES["root"])
    killed("user's runner shot", PLACES["user in a delegated scope"], "su -l user -c {quoted}", STATES["user"])
    shell_in_scope("user's shell in a delegated scope")
    terminal("user's terminal")
    foreign("a stranger in the scope")
    service.checks(check, nothing_left, PROGRAMS)
    now = {pid: path for path in groups("") for pid in members(path)}
    moved = [(pid, path) for path, pids in before.items() for pid in pids if now.get(pid, path) != path]
    check("no process of the system was moved", not moved, moved)


try:
    main()
except Exception:  # Whatever it is, the host must learn of it.
    check("all checks are carried out", False, traceback.format_exc())
print(f"{counts['passed']} passed, {counts['failed']} failed")
sys.exit(counts["failed"] > 0)
