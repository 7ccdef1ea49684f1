"""The server as the service of systemd's that it is installed as: `dist/systemd` as it is, with the programs' path changed as
docs/serve.md says. It is started by its socket, runs what is asked of it, reads its tokens anew, lives through restarts and
through clocks that are set, and leaves nothing. A part of `units.py`."""

import glob
import http.client
import json
import os
import shutil
import socket
import subprocess
import time

UNITS = "/etc/systemd/system"
STATE = "/var/lib/pinfold"
BOTH = "pinfold.socket pinfold.service"
SOCKET = "/run/pinfold.sock"
CGROUP = "/sys/fs/cgroup/system.slice/pinfold.service"
# How long anything may take in an emulated machine, in seconds.
PATIENCE = 120
EAT = "cat /proc/self/cgroup; exec python3 -c 'x = bytearray(300 << 20)'"
# What a server leaves that the next one takes up: names begin so.
STAYS = ("server.", "builds", "workspaces")


class Connection(http.client.HTTPConnection):
    """At the socket that systemd made."""

    def __init__(self):
        super().__init__("localhost", timeout=PATIENCE)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(SOCKET)


def ask(token, method, path, body=None):
    """The status and what came with it; status 0 where nobody answered."""
    headers = {"Authorization": "Bearer " + token}
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    connection = Connection()
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def shell(command):
    return subprocess.run(command, shell=True, text=True, capture_output=True, timeout=PATIENCE)


def shown(name):
    """A property of the service."""
    return shell(f"systemctl show --value -p {name} pinfold.service").stdout.strip()


def journal():
    return shell("journalctl --no-pager -u pinfold.service -n 30").stdout


def eventually(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def install(programs, user):
    for unit, section, setting in [("pinfold.socket", "Socket", "SocketUser"), ("pinfold.service", "Service", "User")]:
        with open(f"/opt/pinfold/{unit}") as file:
            text = file.read()
        with open(f"{UNITS}/{unit}", "w") as file:
            file.write(text.replace("/usr/local/bin/", programs + "/"))
        if user:
            os.makedirs(f"{UNITS}/{unit}.d", exist_ok=True)
            with open(f"{UNITS}/{unit}.d/user.conf", "w") as file:
                file.write(f"[{section}]\n{setting}={user}\n")
    shell("systemctl daemon-reload")


def remove():
    shell(f"systemctl stop {BOTH}")
    for path in glob.glob(f"{UNITS}/pinfold.*"):
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    shell("systemctl daemon-reload; systemctl reset-failed")
    shutil.rmtree(STATE, ignore_errors=True)
    shutil.rmtree("/run/pinfold", ignore_errors=True)


def started(check, name, programs, user=None):
    """Installs the units, and has the socket start the server: the token that it made, or none."""
    install(programs, user)
    said = shell(f"cd {UNITS} && systemd-analyze verify --man=no {BOTH}")
    check(f"{name}: the units are well-formed", said.returncode == 0 and not said.stderr, said)
    done = shell("systemctl start pinfold.socket")
    check(f"{name}: the socket is there before the server", done.returncode == 0 and shown("ActiveState") == "inactive", done)
    answer = ask("", "GET", "/readyz")
    is_ready = answer == (200, "ready\n") and shown("ActiveState") == "active"
    check(f"{name}: who connects starts the server", is_ready, (answer, journal()))
    if not is_ready:
        return None
    with open(STATE + "/server.tokens") as file:
        return file.readline().split()[1]


def limits(check, name, token):
    """A job that is shot for its memory, and nobody else with it."""
    job = {"command": ["sh", "-c", EAT], "limits": {"memory_bytes": 64 << 20}, "require": ["cgroup", "memory", "pids"]}
    status, result = ask(token, "POST", "/v1/run", job)
    if status != 200:
        return check(f"{name}: a job", False, (status, result))
    held = [result["isolation"].get(key) for key in ("cgroup", "memory", "pids")]
    check(f"{name}: isolation", held == ["v2", "cgroup", "cgroup"], result)
    is_shot = result["status"] == "out_of_memory" and result["stdout"] == "0::/\n"
    check(f"{name}: out of memory", is_shot and shown("ActiveState") == "active", result)


def reload(check, name, token):
    added = "a-token-that-was-added"
    with open(STATE + "/server.tokens", "a") as file:
        file.write(f"ops {added}\n")
    before = ask(added, "GET", "/v1/sandboxes")[0]
    done = shell("systemctl reload pinfold.service")
    after = eventually(lambda: ask(added, "GET", "/v1/sandboxes")[0] == 200)
    check(f"{name}: a token that was added is good after a reload", before == 401 and done.returncode == 0 and after, done)
    check(f"{name}: so are the others", ask(token, "GET", "/v1/sandboxes")[0] == 200)


def restarts(check, name, token):
    """A sandbox lives through the end of the server, whether that was wished for or not."""
    status, made = ask(token, "PUT", "/v1/sandboxes/box", {})
    check(f"{name}: a sandbox", status == 201, (status, made))
    for how in ["systemctl restart pinfold.service", "systemctl kill --kill-who=main --signal=KILL pinfold.service"]:
        before = shown("MainPID")
        done = shell(how)
        again = eventually(lambda: shown("MainPID") not in ("0", before) and ask("", "GET", "/readyz")[0] == 200)
        answer = ask(token, "POST", "/v1/sandboxes/box/exec", {"command": ["echo", "still"]})
        lives = answer[0] == 200 and answer[1]["stdout"] == "still\n"
        check(f"{name}: a sandbox lives through `{how}`", again and lives, (done, answer, journal()))


def build(token, project, script, more=""):
    """Hands a build in: its id."""
    file = f"artifact = 'out'\n[[phase]]\nname = 'build'\n{more}run = {json.dumps(script)}\n"
    files = {"files": [{"path": "pinfold.toml", "content": file}]}
    return ask(token, "POST", f"/v1/builds?project={project}", files)[1]["id"]


def where(token, build):
    """The state of a build, and in which attempt it is."""
    status, told = ask(token, "GET", f"/v1/builds/{build}")
    return (told["state"], told["attempt"]) if status == 200 else (status, told)


def clocks(check, name, token):
    """The clock is set far forward and far back while a build runs: it is not lost, and nothing expires or is forgotten."""
    made = []
    for word in ["one", "two"]:
        made.append(build(token, "site", f"mkdir out; echo {word} > out/index.html"))
        eventually(lambda: where(token, made[-1])[0] == "succeeded")
    opened = ask(token, "POST", "/v1/previews", {"project": "site"})[1]
    caches = "caches = [{ name = 'c', path = '/tmp/c' }]\n"
    script = "touch /tmp/c/begun; while [ ! -e /tmp/c/go ]; do sleep 0.2; done; echo made > out"
    runs = build(token, "slow", script, caches)
    begun = eventually(lambda: glob.glob(STATE + "/builds/caches/*/begun"))
    check(f"{name}: a build runs", bool(begun), where(token, runs))
    for jump in ["+400 days", "-800 days", "+400 days"]:
        shell(f"date --set '{jump}'")
        # So long that the worker gives signs of life and looks for builds that are lost, whatever follows from that.
        was_lost = eventually(lambda: where(token, runs) != ("running", 1), 25)
        check(f"{name}: a build runs on when the clock is set by {jump}", not was_lost, where(token, runs))
        states = [where(token, one)[0] for one in made]
        check(f"{name}: what was built is remembered", states == ["succeeded"] * 2, states)
        listed = ask(token, "GET", "/v1/previews")[1]
        ids = [one["id"] for one in listed["previews"]]
        check(f"{name}: a preview holds", ids == [opened["preview"]["id"]], listed)
    for path in begun:
        open(os.path.dirname(path) + "/go", "w").close()
    ended = eventually(lambda: where(token, runs)[0] == "succeeded")
    check(f"{name}: it ends as if nothing had been", ended and where(token, runs)[1] == 1, where(token, runs))


def stopped(check, nothing_left, name, token):
    answer = ask(token, "DELETE", "/v1/sandboxes/box")
    check(f"{name}: its sandbox ends", answer[0] in (204, 404), answer)
    begun = time.monotonic()
    done = shell(f"systemctl stop {BOTH}")
    took, ended = time.monotonic() - begun, (shown("ActiveState"), shown("Result"))
    # Longer than --drain is only who is killed in the end.
    is_good = done.returncode == 0 and ended == ("inactive", "success") and took < 50
    check(f"{name}: it ends when it is told to", is_good, (done, ended, took, journal()))
    left = [path for path in (SOCKET, CGROUP) if os.path.exists(path)]
    check(f"{name}: its socket and its group are gone", not left, left)
    processes = shell("pgrep -a pinfold").stdout
    check(f"{name}: no process is left", not processes, processes)
    others = [entry for entry in os.listdir(STATE) if not entry.startswith(STAYS)]
    check(f"{name}: nothing is left but what the next one takes up", not others, others)
    remove()
    nothing_left(name)


def checks(check, nothing_left, programs):
    """As it is, which is root's; and as an ordinary user's."""
    name = "the service"
    token = started(check, name, programs)
    if token:
        limits(check, name, token)
        reload(check, name, token)
        restarts(check, name, token)
        clocks(check, name, token)
    stopped(check, nothing_left, name, token or "")
    name = "the service of a user"
    token = started(check, name, programs, "user")
    if token:
        limits(check, name, token)
        groups = shell(f"find {CGROUP} -mindepth 1 -type d -printf '%P\\n'").stdout.split()
        check(f"{name}: its groups are in its unit's", groups == ["pinfold-aside"], groups)
        reload(check, name, token)
    stopped(check, nothing_left, name, token or "")
