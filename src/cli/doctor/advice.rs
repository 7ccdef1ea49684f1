//! From what is missing and how the host looks to the exact lines that change it. Each piece of advice names one cause;
//! a host may have several at once, and then all are listed, the likeliest first.

use super::host::Host;
use super::probe::{Feature, State};
use pinfold::Failure;
use serde::Serialize;
use std::path::PathBuf;

/// One cause and its cure.
#[derive(Debug, Serialize)]
pub(super) struct Advice {
    /// The feature that it brings, or `sandbox` for what every job needs.
    pub(super) about: &'static str,
    /// The cause.
    pub(super) why: String,
    /// The lines to type; where there are none, `why` says what to do.
    pub(super) commands: Vec<String>,
}

impl Advice {
    fn new<const N: usize>(about: &'static str, why: impl Into<String>, commands: [&str; N]) -> Self {
        Self { about, why: why.into(), commands: commands.map(str::to_owned).to_vec() }
    }
}

/// What to do about everything that is missing.
pub(super) fn advice(host: &Host, failure: Option<&Failure>, features: &[Feature]) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(failure) = failure {
        sandbox(host, failure, &mut advice);
        if features.iter().any(|feature| feature.name == "landlock-mode" && feature.state == State::Enforced) {
            let why =
                "until then a job that says so runs behind fewer fences: docs/job.md tells which, and each result too";
            advice.push(Advice::new("sandbox", why, ["pinfold run --mode landlock -- COMMAND"]));
        }
    }
    let lacks = |name: &str| features.iter().any(|feature| feature.name == name && feature.state != State::Enforced);
    if ["cgroup", "memory", "pids", "cpu"].into_iter().any(lacks) {
        cgroup(host, &mut advice);
    }
    for feature in features.iter().filter(|feature| feature.state == State::Missing) {
        // Where no cgroup can be used at all, that was said above.
        if let (false, Some(hint)) = (lacks("cgroup"), &feature.hint) {
            advice.push(Advice::new(feature.name, hint, []));
        }
    }
    if lacks("landlock") {
        advice.push(landlock(host));
    }
    if lacks("groups") && !host.is_root() {
        let why = "the kernel lets no unprivileged user drop groups: start Pinfold as a user who is in none that matter, or \
                   as root";
        advice.push(Advice::new("groups", why, ["id --groups --name"]));
    }
    advice
}

/// Why no job can be confined.
fn sandbox(host: &Host, failure: &Failure, advice: &mut Vec<Advice>) {
    let mut say = |why: &str, commands: Vec<String>| {
        advice.push(Advice { about: "sandbox", why: why.to_owned(), commands });
    };
    if host.wsl == Some(1) {
        say("WSL 1 has no Linux kernel; in Windows:", lines(["wsl --set-version DISTRIBUTION 2"]));
    } else if host.kernel_is_too_old() {
        say(&format!("Linux 5.14 or newer is needed, this is {}", host.kernel), Vec::new());
    }
    if host.seccomp_actions.is_none() {
        say("the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER), or `/proc/sys` is hidden from us", Vec::new());
    }
    if !host.namespaces_at_zero.is_empty() {
        let set = host.namespaces_at_zero.iter().map(|name| format!("sudo sysctl -w {name}=15000"));
        say(
            "a limit on namespaces is 0; for good, put the settings into `/etc/sysctl.d/60-pinfold.conf`",
            set.collect(),
        );
    }
    if !host.is_root() && host.unprivileged_userns_clone == Some(0) {
        say(
            "this kernel (Debian's) keeps user namespaces from users",
            lines([
                "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-pinfold.conf",
                "sudo sysctl --system",
            ]),
        );
    }
    if !host.is_root() && host.apparmor_restrict_unprivileged_userns == Some(1) {
        say(
            "AppArmor (Ubuntu's setting) keeps user namespaces from programs without a profile; give the runner one",
            apparmor_profile(&runner_path()),
        );
    }
    if host.is_root() && host.in_user_namespace {
        say(
            "we are root of a user namespace only, which has no uids to give to sandboxes; start Pinfold as another user",
            lines(["setpriv --reuid 1000 --regid 1000 --clear-groups pinfold …"]),
        );
    }
    if host.container.is_some() || host.seccomp_mode == Some(2) || !host.masked_proc.is_empty() {
        container(host, &mut say);
    }
    if matches!(failure.code.as_str(), "host_error") {
        say("`pinfold-runner` belongs beside `pinfold`, or on `PATH`", Vec::new());
    }
}

/// What a container's runtime takes away. `--privileged` and `seccomp=unconfined` would bring it back too, and much more
/// that nobody asked for.
fn container(host: &Host, say: &mut impl FnMut(&str, Vec<String>)) {
    if host.container == Some("kubernetes") {
        say(
            "in Kubernetes the pod needs a user namespace, its whole `/proc`, and a seccomp profile that allows namespaces",
            lines([
                "spec: {hostUsers: false}",
                "securityContext: {procMount: Unmasked, seccompProfile: {type: Localhost, localhostProfile: pinfold.json}}",
            ]),
        );
        return;
    }
    let (mut options, mut reasons) = (Vec::new(), Vec::new());
    if host.seccomp_mode == Some(2) {
        options.push("--security-opt seccomp=pinfold-docker.json");
        reasons.push("its seccomp profile denies namespaces and mounts");
        say(
            "our system calls are filtered; if by a container's seccomp profile, write one that is Docker's with just these",
            lines([
                "curl -fsSLO https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json",
                "jq 'del(.syscalls[] | select(.names == [\"clone3\"])) | .syscalls += [{\"names\": [\"clone\", \"clone3\", \
                 \"unshare\", \"setns\", \"mount\", \"umount2\", \"pivot_root\", \"sethostname\", \"fsopen\", \"fsconfig\", \
                 \"fsmount\", \"open_tree\", \"move_mount\", \"mount_setattr\"], \"action\": \"SCMP_ACT_ALLOW\"}]' \
                 default.json > pinfold-docker.json",
            ]),
        );
        if host.container.is_none() {
            say(
                "if by a service of systemd's, put this into the service (`systemctl edit SERVICE`)",
                lines(["[Service]", "RestrictNamespaces=no", "SystemCallFilter=@mount"]),
            );
        }
    }
    if !host.masked_proc.is_empty() {
        options.push("--security-opt systempaths=unconfined");
        reasons.push("parts of `/proc` are covered, which forbids a fresh one");
    }
    if host.apparmor_profile.as_deref().is_some_and(|profile| profile.ends_with("(enforce)")) {
        options.push("--security-opt apparmor=unconfined");
        reasons.push("its AppArmor profile denies mounts");
    }
    if !options.is_empty() {
        let why = format!("start the container with what Pinfold needs: {}", reasons.join("; "));
        say(&why, vec![format!("docker run {} …", options.join(" "))]);
    }
}

/// Why limits are not held by cgroups.
fn cgroup(host: &Host, advice: &mut Vec<Advice>) {
    let cgroup = &host.cgroup;
    let mut say = |why: String, commands: Vec<String>| advice.push(Advice { about: "cgroup", why, commands });
    if cgroup.v2_mount.is_none() && cgroup.v1_controllers.is_empty() {
        let mount = lines(["sudo mount -t cgroup2 none /sys/fs/cgroup"]);
        return say("no cgroup hierarchy is mounted".to_owned(), mount);
    }
    if cgroup.is_v1() {
        if host.is_root() {
            return say(
                "the controllers are bound to cgroup v1, and not all of them could be used".to_owned(),
                Vec::new(),
            );
        }
        return say(
            "this host has cgroup v1, which can't be handed to users; boot it with cgroup v2, and then again see `pinfold \
             doctor`"
                .to_owned(),
            lines([
                r#"sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub"#,
                "sudo update-grub",
                "sudo reboot",
            ]),
        );
    }
    if cgroup.v2_read_only {
        return say(
            "the container's cgroups are read-only; start it with the option for it (Docker 28 or newer; Podman)"
                .to_owned(),
            lines([
                "docker run --cgroupns=private --security-opt writable-cgroups=true …",
                "podman run --cgroupns=private --security-opt unmask=/sys/fs/cgroup …",
            ]),
        );
    }
    let missing = cgroup.missing();
    if missing.contains(&"memory") && root_lacks_memory(host) {
        say(
            "the kernel was booted without the memory controller (Raspberry Pi's is); add to its command line and reboot"
                .to_owned(),
            lines(["sudo sed -i 's/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt"]),
        );
    }
    if host.is_root() {
        let path = cgroup.v2_path.as_deref().unwrap_or("/");
        return say(
            format!(
                "our own cgroup `{path}` can't have children with all of cpu, memory and pids; start in one that can"
            ),
            lines(["sudo systemd-run --scope -p Delegate=yes pinfold …"]),
        );
    }
    if !missing.is_empty() {
        say(
            format!(
                "your systemd session does not get the controllers {}; afterwards log out and in",
                missing.join(", ")
            ),
            lines([
                "sudo mkdir -p /etc/systemd/system/user@.service.d",
                r"printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf",
                "sudo systemctl daemon-reload",
            ]),
        );
    }
    // Writable is not delegated: all units of a user's own manager are his, and where one was not delegated, systemd may
    // end all of it when the kernel shoots one process in it. The runner asks the manager for a scope, where there is one.
    say(
        "our own cgroup was not delegated to us, and no service manager of ours (`systemd --user`) gives us one that is; have \
         it started, then log in, or give the service that we are in `Delegate=yes`"
            .to_owned(),
        lines(["sudo loginctl enable-linger \"$USER\""]),
    );
}

/// The root cgroup knows what the kernel has at all.
fn root_lacks_memory(host: &Host) -> bool {
    let Some(mount) = &host.cgroup.v2_mount else { return false };
    std::fs::read_to_string(format!("{mount}/cgroup.controllers")).is_ok_and(|controllers| {
        host.container.is_none() && !controllers.split_whitespace().any(|name| name == "memory")
    })
}

fn landlock(host: &Host) -> Advice {
    match host.lsm.as_deref() {
        Some(lsm) if !lsm.split(',').any(|module| module == "landlock") => Advice {
            about: "landlock",
            why: "the kernel's list of security modules is without Landlock; add it to the boot parameters and reboot \
                  (or the kernel was built without it: CONFIG_SECURITY_LANDLOCK)"
                .to_owned(),
            commands: vec![
                format!(r#"sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&lsm=landlock,{lsm} /' /etc/default/grub"#),
                "sudo update-grub".to_owned(),
                "sudo reboot".to_owned(),
            ],
        },
        _ if host.seccomp_mode == Some(2) => Advice::new(
            "landlock",
            "the container's seccomp profile may deny it: Docker 20.10.10 and newer allow it; or the kernel is without it",
            [],
        ),
        _ => Advice::new(
            "landlock",
            "the kernel was built without it (CONFIG_SECURITY_LANDLOCK), or is older than 5.13",
            [],
        ),
    }
}

/// A profile that takes nothing from the runner and lets it make user namespaces: what Ubuntu itself ships for
/// programs like it.
fn apparmor_profile(runner: &str) -> Vec<String> {
    vec![format!(
        r#"printf 'abi <abi/4.0>,\nprofile pinfold-runner "{runner}" flags=(unconfined) {{\n  userns,\n}}\n' | sudo tee /etc/apparmor.d/pinfold-runner && sudo apparmor_parser -r /etc/apparmor.d/pinfold-runner"#
    )]
}

/// Where the runner is, as far as can be told: beside us.
fn runner_path() -> String {
    let beside = std::env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let runner = beside.as_deref().and_then(std::path::Path::parent).map(|directory| directory.join("pinfold-runner"));
    runner.unwrap_or_else(|| PathBuf::from("/usr/local/bin/pinfold-runner")).display().to_string()
}

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(str::to_owned).to_vec()
}
