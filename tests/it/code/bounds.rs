//! What a program can't take more of than the configuration allows, and what is told when it tries.

use super::{execute, file, generous, run};
use crate::support::has_cgroups;
use pinfold::Status;
use pinfold::code::{CodeConfig, CodeRequest, Phase};
use std::time::{Duration, Instant};

fn bash(code: &str) -> CodeRequest {
    CodeRequest::new("bash", code)
}

/// The largest that this process has ever been, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_hundred_megabytes_of_output_are_cut_off_and_take_no_memory_here() {
    let before = peak();
    let result = execute(generous(), bash("head -c 100000000 /dev/zero | tr '\\0' x; echo done >&2")).unwrap();
    assert!(result.success && result.truncated);
    assert_eq!((result.stdout.len(), result.stderr.as_str()), (1 << 20, "done\n"));
    assert_eq!(result.outcome.unwrap().stdout_bytes, 100_000_000);
    // Other tests of this binary run meanwhile.
    assert!(peak() < before + (90 << 10), "{before} {}", peak());
}

#[test]
fn output_is_never_cut_in_the_middle_of_a_character() {
    let config = CodeConfig { max_output_bytes: 1000, ..generous() };
    let result = execute(config, bash("for i in {1..400}; do printf '€'; done")).unwrap();
    assert_eq!((result.stdout, result.truncated), ("€".repeat(333), true));
}

#[test]
fn a_fork_bomb_meets_its_limit_and_harms_nobody() {
    let code = "import os, sys\nmade = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            os.read(os.pipe()[0], 1)\n        made += 1\nexcept BlockingIOError:\n    print(made)";
    let Some(result) = run(CodeRequest::new("python", code)) else { return };
    assert!(result.success, "{result:?}");
    let made: u64 = result.stdout.trim().parse().unwrap();
    assert!((1..100).contains(&made), "{made}");
}

#[test]
fn memory_that_runs_out_is_told_as_such() {
    if !has_cgroups() {
        return crate::support::host_cannot("an allocation fails there instead");
    }
    let config = CodeConfig { max_memory_mb: 64, ..generous() };
    let result = execute(config, bash("x=$(head -c 500000000 /dev/zero | tr '\\0' x); echo ${#x}")).unwrap();
    assert!(!result.success, "{result:?}");
    assert_eq!((result.exit_code, result.error.as_deref()), (137, Some("memory limit exceeded")));
    assert!(result.memory_used_bytes.is_some_and(|bytes| bytes <= 64 << 20), "{result:?}");
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
    let start = Instant::now();
    let request = CodeRequest {
        timeout: Some(Duration::from_secs(1)),
        ..bash("echo partial; (setsid sleep 4711 &); sleep 4712")
    };
    let result = execute(generous(), request).unwrap();
    assert_eq!((result.exit_code, result.error.as_deref()), (-1, Some("execution timeout")));
    assert!(!result.success && result.timed_out && result.stdout == "partial\n");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_python_printed_before_its_time_ran_out_is_kept() {
    let request = CodeRequest::new("python", "import time\nprint('partial')\ntime.sleep(1000)");
    let Some(result) = run(CodeRequest { timeout: Some(Duration::from_secs(5)), ..request }) else { return };
    assert_eq!((result.stdout.as_str(), result.timed_out), ("partial\n", true));
}

#[test]
fn the_configurations_time_holds_whatever_a_request_says() {
    let config = CodeConfig { timeout: Some(Duration::from_millis(300)), ..generous() };
    let request = CodeRequest { timeout: Some(Duration::from_secs(1000)), ..bash("sleep 1000") };
    assert!(execute(config, request).unwrap().timed_out);
}

#[test]
fn a_compiler_has_limits_of_its_own() {
    let text = "name = 'slow'\nfile = 'main.x'\ninstall = 'nothing'\n[[toolchain]]\nname = 'Slow'\n\
        programs = { it = ['bash'] }\nversion = ['{it}', '--version']\n\
        compile = { command = ['{it}', '-c', 'echo compiling >&2; sleep 1000'], timeout = '300ms' }\n\
        run = { command = ['{it}', '{file}'] }\n";
    let mut languages = pinfold::code::Languages::default();
    languages.add(pinfold::code::Language::from_toml(text).unwrap()).unwrap();
    let pinfold = pinfold::Pinfold::builder().runner(crate::support::runner()).build().unwrap();
    let executor = pinfold::code::Executor::new(generous(), languages, pinfold).unwrap();
    let result = super::wait(executor.execute(CodeRequest::new("slow", "echo ran"))).unwrap();
    assert_eq!((result.phase, result.timed_out, result.stderr.as_str()), (Phase::Compile, true, "compiling\n"));
    assert_eq!(result.error.as_deref(), Some("compilation failed: execution timeout"));
    assert_eq!(result.compile.unwrap().outcome.unwrap().status, Status::TimedOut);
    assert_eq!(executor.stats().timeout_executions, 1);
}

#[test]
fn the_default_configuration_works_on_every_host_and_shares_cpus_where_it_can() {
    let config = CodeConfig { allowed_languages: Vec::new(), ..CodeConfig::default() };
    let result = execute(config, bash("echo hello")).unwrap();
    assert_eq!(result.stdout, "hello\n", "{result:?}");
    let config = CodeConfig { max_cpu_percent: Some(50.0), ..generous() };
    match execute(config, bash("echo hello")) {
        Ok(result) => assert!(result.success && has_cgroups()),
        Err(error) => assert!(!has_cgroups() || error.to_string().contains("cpu"), "{error}"),
    }
}

#[test]
fn neither_the_host_nor_the_network_is_there() {
    let code = "cat /etc/shadow; echo x > /usr/x; ls /home /root; exec 3<>/dev/tcp/127.0.0.1/22; ls /proc/1/root";
    let result = execute(generous(), CodeRequest { files: [file("x", "")].into(), ..bash(code) }).unwrap();
    assert!(!result.success && result.stdout.is_empty(), "{result:?}");
}

#[test]
fn mounts_are_read_only_unless_told() {
    let scratch = crate::sandbox::Scratch::new();
    std::fs::write(scratch.path("here"), "data").unwrap();
    let config = CodeConfig { mount_paths: [(scratch.text(""), "/data".to_owned())].into(), ..generous() };
    let result = execute(config, bash("cat /data/here; ! echo x > /data/new")).unwrap();
    assert_eq!((result.success, result.stdout.as_str()), (true, "data"), "{result:?}");
}
