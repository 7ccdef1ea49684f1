"""Runs a command in a container such as Docker makes, by crun: `container.py CONDITION COMMAND…`. The conditions are those
below; `--list` names them. Started by `guest`, as root, in the virtual machine."""

import json
import os
import subprocess
import sys

# What of a Docker container each has: who, whether its seccomp profile filters, and whether its /proc is masked. The
# file system of cgroups is read-only in all of them; the last ones are no containers, but lack user namespaces.
CONDITIONS = {
    "docker-root": dict(uid=0, filtered=True, masked=True),
    "docker-user": dict(uid=1000, filtered=True, masked=True),
    "unfiltered-root": dict(uid=0, filtered=False, masked=True),
    "unfiltered-user": dict(uid=1000, filtered=False, masked=True),
    "unmasked-root": dict(uid=0, filtered=False, masked=False),
    "unmasked-user": dict(uid=1000, filtered=False, masked=False),
    "without-userns-root": dict(uid=0, filtered=False, masked=False, sysctl="user.max_user_namespaces=0"),
    "without-userns-user": dict(uid=1000, filtered=False, masked=False, sysctl="user.max_user_namespaces=0"),
    "forbidden-userns-user": dict(uid=1000, filtered=False, masked=False, sysctl="kernel.unprivileged_userns_clone=0"),
}
USUAL = {"user.max_user_namespaces": "15000", "kernel.unprivileged_userns_clone": "1"}

# Docker's defaults: the list is its seccomp profile, the rest `docker inspect` shows.
CAPABILITIES = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
                "KILL AUDIT_WRITE").split()
MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
# What its list of allowed calls leaves out, as far as anything here asks for it: without CAP_SYS_ADMIN.
DENIED = ("mount umount umount2 unshare setns pivot_root move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr "
          "sethostname setdomainname bpf perf_event_open keyctl add_key request_key userfaultfd kexec_load "
          "init_module finit_module delete_module quotactl quotactl_fd swapon swapoff reboot acct").split()
NEW_NAMESPACES = 0x7E020000
SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": DENIED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        # So that the C library falls back to clone, whose flags a filter can see.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ] + [
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
         "args": [{"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"}]}
        for bit in range(32) if NEW_NAMESPACES >> bit & 1
    ],
}


def bundle(rootfs, command, uid, filtered, masked):
    capabilities = ["CAP_" + name for name in CAPABILITIES]
    kinds = ["bounding", "effective", "permitted"] if uid == 0 else ["bounding"]
    linux = {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]}
    if filtered:
        linux["seccomp"] = SECCOMP
    if masked:
        linux |= {"maskedPaths": MASKED, "readonlyPaths": READ_ONLY}
    mounts = [
        ("proc", "proc", "/proc", ["nosuid", "noexec", "nodev"]),
        ("tmpfs", "tmpfs", "/dev", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("devpts", "devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("tmpfs", "shm", "/dev/shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("mqueue", "mqueue", "/dev/mqueue", ["nosuid", "noexec", "nodev"]),
        ("sysfs", "sysfs", "/sys", ["nosuid", "noexec", "nodev", "ro"]),
        ("cgroup", "cgroup", "/sys/fs/cgroup", ["ro", "nosuid", "noexec", "nodev"]),
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "user": {"uid": uid, "gid": uid}, "cwd": "/", "args": command,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp"],
            "capabilities": {kind: capabilities for kind in kinds},
        },
        "root": {"path": rootfs},
        "hostname": "container",
        "mounts": [dict(type=kind, source=source, destination=place, options=options)
                   for kind, source, place, options in mounts],
        "linux": linux,
    }


def main():
    if sys.argv[1] == "--list":
        return print("\n".join(CONDITIONS))
    name, command = sys.argv[1], sys.argv[2:]
    condition = dict(CONDITIONS[name])
    sysctl = condition.pop("sysctl", None)
    place = f"/run/containers/{name}"
    # Not in /run itself, which is small.
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", place], check=True)
    for directory in ("upper", "work", "root"):
        os.makedirs(f"{place}/{directory}", exist_ok=True)
    # The machine's own root below a layer that is thrown away, as Docker's overlay2 has it.
    layers = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", f"{place}/root"], check=True)
    with open(f"{place}/config.json", "w") as file:
        json.dump(bundle(f"{place}/root", command, **condition), file)
    if sysctl:
        subprocess.run(["sysctl", "-qw", sysctl], check=True)
    status = subprocess.run(["crun", "--cgroup-manager=cgroupfs", "run", "--bundle", place, name]).returncode
    if sysctl:
        setting = sysctl.partition("=")[0]
        subprocess.run(["sysctl", "-qw", f"{setting}={USUAL[setting]}"], check=True)
    subprocess.run(["umount", "-l", f"{place}/root", place], check=True)
    sys.exit(status)


main()
