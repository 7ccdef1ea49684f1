//! What kind of host this is, in a line each: the conditions that decide what a sandbox can have, by their names.

use super::host::Host;

/// The conditions that hold here. What is missing because of them, and the cure, is for `advice` to say.
pub(super) fn conditions(host: &Host) -> Vec<String> {
    let mut conditions = vec![cgroups(host)];
    let mut holds = |condition: bool, text: String| {
        if condition {
            conditions.push(text);
        }
    };
    holds(
        !host.masked_proc.is_empty(),
        format!("parts of /proc are covered ({}), so an ordinary user can mount no fresh one", some(&host.masked_proc)),
    );
    holds(host.seccomp_mode == Some(2), "our own system calls are filtered (seccomp)".to_owned());
    holds(host.in_user_namespace, "we are in a user namespace already".to_owned());
    holds(
        !host.namespaces_at_zero.is_empty(),
        format!("namespaces are switched off ({})", host.namespaces_at_zero.join(", ")),
    );
    holds(
        !host.is_root() && host.unprivileged_userns_clone == Some(0),
        "user namespaces are kept from users (kernel.unprivileged_userns_clone)".to_owned(),
    );
    holds(
        !host.is_root() && host.apparmor_restrict_unprivileged_userns == Some(1),
        "user namespaces are kept from programs without a profile (AppArmor)".to_owned(),
    );
    let profile = host.apparmor_profile.as_deref().unwrap_or_default();
    holds(!profile.is_empty(), format!("we run under AppArmor's profile {profile}"));
    holds(host.selinux_enforcing, "SELinux enforces its policy".to_owned());
    conditions
}

fn cgroups(host: &Host) -> String {
    let cgroup = &host.cgroup;
    match (&cgroup.v2_mount, cgroup.is_v1()) {
        (None, false) => "no cgroup hierarchy is mounted".to_owned(),
        (Some(_), true) => {
            format!("cgroups: hybrid, controllers on v1 ({}), beside v2", cgroup.v1_controllers.join(", "))
        }
        (None, true) => format!("cgroups: v1 ({})", cgroup.v1_controllers.join(", ")),
        (Some(_), false) => {
            let access = match (cgroup.v2_read_only, cgroup.v2_writable) {
                (true, _) => "read-only",
                (false, true) => "writable",
                (false, false) => "not ours to write to",
            };
            let controllers = match cgroup.v2_controllers.as_slice() {
                [] => "without controllers".to_owned(),
                controllers => controllers.join(", "),
            };
            let path = cgroup.v2_path.as_deref().unwrap_or("/");
            format!("cgroups: v2, our own `{path}` is {access} ({controllers})")
        }
    }
}

/// The first of them, and how many more there are.
fn some(paths: &[String]) -> String {
    match paths {
        [first, _, ..] => format!("{first} and {} more", paths.len() - 1),
        _ => paths.join(", "),
    }
}
