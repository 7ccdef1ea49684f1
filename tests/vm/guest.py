"""What must hold on a host under systemd with cgroup v2 alone. `run` starts this in the virtual machine, as root, from
a service of the system. One line a check, and what was found where it failed; the last line counts them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback

RUNNER = "/opt/pinfold/pinfold-runner"
CGROUP = "/sys/fs/cgroup"
STATES = {"root": "/var/lib/pinfold", "user": "/var/tmp/pinfold-1000"}
counts = {"passed": 0, "failed": 0}

# A process in a delegated scope of the user's own service manager, and one in a scope that nobody called delegated.
SCOPE = "systemd-run --user --scope --quiet -p Delegate=yes"
PLAIN_SCOPE = "systemd-run --user --scope --quiet"

# How the runner is started: who and in which kind of unit.
PLACES = {
    "root in a service": "{}",
    "root in a login session": "su -l root -c {quoted}",
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
    "user in a login session": "su -l user -c {quoted}",
    "user in a scope like a desktop's terminal": "su -l user -c " + shlex.quote(PLAIN_SCOPE + " sh -c '{}; exit $?'"),
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


def run(place, command, **job):
    """Runs one job and gives its result; where there is none, what was said instead, so that a check can show it."""
    done = shell(started(place, RUNNER), input=json.dumps({"command": ["sh", "-c", command], **job}))
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"status": "no result", "said": done.stdout + done.stderr, "usage": {}, "isolation": {}}


def groups(needle="pinfold-"):
    return [path for path, _, _ in os.walk(CGROUP) if needle in path.removeprefix(CGROUP)]


def nothing_left(name):
    slots = [path for path in STATES.values() if os.path.isdir(path) and os.listdir(path)]
    deadline = time.monotonic() + 10
    while (left := groups() + slots) and time.monotonic() < deadline:
        time.sleep(0.2)
    check(f"{name}: nothing is left", not left, left)


def whole(name, place):
    """Everything that a cgroup gives, in one place."""
    result = run(place, "cat /proc/self/cgroup; python3 -c 'x = bytearray(20 << 20)'")
    isolation = {key: result["isolation"].get(key) for key in ("cgroup", "memory", "pids", "cpu")}
    expected = {"cgroup": "v2", "memory": "cgroup", "pids": "cgroup", "cpu": "cgroup"}
    check(f"{name}: isolation", isolation == expected, result)
    check(f"{name}: /proc/self/cgroup", result.get("stdout", "").startswith("0::/\n"), result)
    usage = result["usage"]
    measured = all(usage.get(key) is not None for key in ("user_ms", "system_ms", "peak_memory_bytes", "oom_kills"))
    check(f"{name}: figures", measured and usage["peak_memory_bytes"] > 15_000_000, usage)
    eat = "python3 -c 'x = bytearray(300 << 20)'"
    limits = {"memory_bytes": 64 << 20}
    result = run(place, "exec " + eat, limits=limits)
    check(f"{name}: out of memory", result["status"] == "out_of_memory" and result["usage"]["oom_kills"] == 1, result)
    result = run(place, eat + "; exit 0", limits=limits)
    spared = (result["status"], result.get("exit_code"), result["usage"].get("oom_kills")) == ("exited", 0, 1)
    check(f"{name}: a child out of memory", spared, result)
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all; wait"
    result = run(place, script, limits={"pids": 6, "wall_ms": 20000})
    check(f"{name}: pids", result["status"] == "exited" and "fork" in result["stderr"].lower(), result)
    spin = "while :; do :; done"
    result = run(place, spin, limits={"cpu_ms": 500, "wall_ms": 30000})
    check(f"{name}: CPU time", result["status"] == "cpu_exceeded", result)
    result = run(place, f"exec timeout 2 sh -c '{spin}'", limits={"cpus": 0.25, "wall_ms": 30000})
    check(f"{name}: throttling", (result["usage"].get("throttled_ms") or 0) > 200, result)
    result = run(place, "true", require=["cgroup", "memory", "pids", "cpu"])
    check(f"{name}: what is required", result["status"] == "exited", result)
    nothing_left(name)


def honest(name, place):
    """Where there is no cgroup to be had."""
    result = run(place, "true")
    isolation = {key: result["isolation"].get(key) for key in ("cgroup", "memory", "pids")}
    expected = {"cgroup": None, "memory": "rlimit", "pids": "rlimit"}
    check(f"{name}: isolation", result["status"] == "exited" and isolation == expected, result)
    result = run(place, "true", require=["cgroup"])
    check(f"{name}: what is required", (result.get("error") or {}).get("code") == "requirement", result)
    result = run(place, "true", limits={"cpus": 0.5})
    check(f"{name}: throttling", (result.get("error") or {}).get("code") == "cgroup", result)
    nothing_left(name)


def by_supervisor(name, place):
    """`pinfold run`, as people start it."""
    done = shell(started(place, "/opt/pinfold/pinfold run --require cgroup --require memory -- cat /proc/self/cgroup"))
    check(f"{name}: pinfold run", done.returncode == 0 and done.stdout == "0::/\n", done)
    nothing_left(name)


def container(name):
    """Root in a cgroup namespace of its own with the hierarchy mounted anew, as in a container that may write to it."""
    inside = f"umount -l {CGROUP} && mount -t cgroup2 none {CGROUP} && exec"
    place = "systemd-run --quiet --pipe --wait -p Delegate=yes unshare -Cm sh -c '" + inside + " {}'"
    done = shell(started(place, RUNNER), input=json.dumps({"command": ["cat", "/proc/self/cgroup"]}))
    lines = done.stdout.strip().splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    holds = result.get("stdout") == "0::/\n" and result["isolation"]["memory"] == "cgroup"
    check(f"{name}: isolation", holds, done.stdout + done.stderr)
    nothing_left(name)


def killed(name, place, sweeper, state):
    """The runner is shot; the sandbox dies with it, and the next sweep takes away what is left."""
    job = json.dumps({"command": ["sh", "-c", "sleep 60 & sleep 60"]})
    process = subprocess.Popen(started(place, RUNNER), shell=True, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.stdin.write(job)
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (commands := [path for path in groups() if path.endswith("/command") and members(path)]):
        if time.monotonic() > deadline:
            return check(f"{name}: starts", False, groups())
        time.sleep(0.1)
    time.sleep(1)
    for pid in shell("pgrep -x pinfold-runner").stdout.split():
        if os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid"):
            os.kill(int(pid), signal.SIGKILL)
    process.wait(20)
    deadline = time.monotonic() + 10
    while (alive := [pid for path in commands for pid in members(path)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    check(f"{name}: the sandbox dies with its runner", not alive, alive)
    before = os.listdir(state)
    done = shell(started(sweeper, RUNNER + " --sweep"))
    check(f"{name}: something was there to sweep", bool(before), before)
    check(f"{name}: the sweep", done.returncode == 0 and not os.listdir(state), (done, os.listdir(state)))
    nothing_left(name)


def killed_early(name):
    """Shot at any moment of its start, the runner leaves no group that the next sweep doesn't find."""
    job = json.dumps({"command": ["sleep", "60"], "limits": {"cpus": 1}}).encode()
    for round in range(16):
        process = subprocess.Popen([RUNNER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process.stdin.write(job)
        process.stdin.close()
        time.sleep(round * 0.01)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while (left := groups() + os.listdir(STATES["root"])) and time.monotonic() < deadline:
        shell(RUNNER + " --sweep")
    check(name, not left, left)


def members(path):
    try:
        with open(path + "/cgroup.procs") as file:
            return file.read().split()
    except OSError:
        return []


def group_of(pid):
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            return CGROUP + file.read().strip().removeprefix("0::").rstrip("/")
    except OSError:
        return None


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


def two_at_once(name, place):
    job = json.dumps({"command": ["sh", "-c", "sleep 2; cat /proc/self/cgroup"], "require": ["memory", "pids"]})
    command = started(place, RUNNER)
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, shell=True, **pipe) for _ in range(2)]
    for process in running:
        process.stdin.write(job)
        process.stdin.close()
        process.stdin = None
    results = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    check(f"{name}: two at once", all(result["stdout"] == "0::/\n" for result in results), results)
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
    check(f"{name}: isolation", isolation["cgroup"] is None and isolation["memory"] == "rlimit", result)
    check(f"{name}: nobody is moved", "pinfold" not in said[1], said)
    stranger.kill()
    stranger.wait()
    nothing_left(name)


def main():
    before = {path: members(path) for path in groups("")}
    for name, place in PLACES.items():
        whole(name, place)
    for name, place in UNDELEGATED.items():
        honest(name, place)
    by_supervisor("root in a service", "{}")
    by_supervisor("user in a delegated scope", PLACES["user in a delegated scope, with a shell"])
    container("root in a container's cgroup namespace")
    user = PLACES["user in a delegated scope"]
    two_at_once("root in a service", "{}")
    two_at_once("user in a delegated scope", user)
    killed("root's runner shot", "{}", "{}", STATES["root"])
    killed_early("root's runner shot while it starts")
    killed("user's runner shot", user, "su -l user -c {quoted}", STATES["user"])
    shell_in_scope("user's shell in a delegated scope")
    terminal("user's terminal")
    foreign("a stranger in the scope")
    moved = [(pid, path) for path, pids in before.items() for pid in pids if group_of(pid) not in (None, path)]
    check("no process of the system was moved", not moved, moved)


try:
    main()
except Exception:  # Whatever it is, the host must learn of it and the machine be switched off.
    check("all checks are carried out", False, traceback.format_exc())
print(f"{counts['passed']} passed, {counts['failed']} failed")
sys.exit(counts["failed"] > 0)
