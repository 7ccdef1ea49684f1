//! Makes processes of every unpleasant kind: `process KIND [NUMBER]`.

#![expect(unsafe_code, reason = "fork, signals and sessions are this probe's purpose")]
#![expect(clippy::disallowed_methods, reason = "the same")]

use std::io::{Error, Write};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(0u64);
    match arguments.get(1).map_or("", String::as_str) {
        "sleep" => rest(),
        "spin" => spin(Duration::from_millis(number)),
        "spinners" => {
            (0..number).filter(|_| fork() == 0).take(1).for_each(|_| spin(Duration::from_secs(600)));
            rest();
        }
        "short-spinners" => loop {
            // Each lives some milliseconds: nobody who looks now and then sees it twice.
            match fork() {
                0 => {
                    spin(Duration::from_millis(number));
                    end(0);
                }
                pid => wait(pid),
            }
        },
        "unreaped-spinners" => {
            // The kernel reaps each at once, and nobody is told what it used.
            disposition(libc::SIGCHLD, libc::SIG_IGN);
            loop {
                match fork() {
                    0 => {
                        spin(Duration::from_millis(number));
                        end(0);
                    }
                    pid => wait(pid),
                }
            }
        }
        "forks" => count("processes", || match fork() {
            0 => rest(),
            pid => pid > 0,
        }),
        "threads" => count("threads", || thread::Builder::new().spawn(|| rest()).is_ok()),
        "bomb" => loop {
            fork();
        },
        "chain" => loop {
            // Every process lives microseconds, and the next one is its child.
            if fork() != 0 {
                end(0);
            }
        },
        "daemon" => daemon(),
        "hold-stdout" => {
            if fork() == 0 {
                rest();
            }
            say("parent ends");
        }
        "stop" => {
            say("stopping");
            raise(libc::SIGSTOP);
            say("went on");
        }
        "ignore" => {
            (1..=64).for_each(|signal| disposition(signal, libc::SIG_IGN));
            say("ignoring");
            rest();
        }
        "exit-0" => {
            (1..=64).for_each(|signal| disposition(signal, leave as *const () as libc::sighandler_t));
            say("ready");
            rest();
        }
        "zombies" => {
            for _ in 0..number {
                if fork() == 0 {
                    end(0);
                }
            }
            say("zombies made");
        }
        "orphans" => {
            for _ in 0..number {
                let pid = fork();
                if pid == 0 {
                    // The grandchild is an orphan at once, and ends at once.
                    fork();
                    end(0);
                }
                wait(pid);
            }
            thread::sleep(Duration::from_millis(200));
            let left = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let left = left.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
            say(&format!("{left} processes"));
        }
        "kill-all" => {
            let pid = fork();
            if pid == 0 {
                rest();
            }
            disposition(libc::SIGTERM, libc::SIG_IGN);
            kill(-1, libc::SIGTERM);
            say(&format!("kill: {}", kill(-1, 0)));
            kill(-1, libc::SIGKILL);
            say("alive");
        }
        "kill-init" => {
            (1..=64).for_each(|signal| {
                kill(1, signal);
            });
            thread::sleep(Duration::from_millis(100));
            say(&format!("init: {}", kill(1, 0)));
        }
        "signal" => {
            // Rust's own handlers (SIGSEGV, SIGPIPE) would swallow it.
            let signal = i32::try_from(number).unwrap_or(0);
            disposition(signal, libc::SIG_DFL);
            raise(signal);
        }
        _ => say("unknown"),
    }
}

fn say(text: &str) {
    let mut stdout = std::io::stdout();
    let _nobody_reads = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn rest() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Does it until it fails, and says how often it worked and why it stopped.
fn count(what: &str, mut make: impl FnMut() -> bool) {
    let mut made = 0;
    while made < 100_000 && make() {
        made += 1;
    }
    say(&format!("{made} {what}, errno {}", Error::last_os_error().raw_os_error().unwrap_or(0)));
}

/// Double fork, a session of its own, closed stdio, the root as its directory: everything that escapes a process group.
fn daemon() {
    if fork() != 0 {
        say("daemon made");
        return;
    }
    // SAFETY: makes a session; no memory is handed over.
    unsafe { libc::setsid() };
    if fork() != 0 {
        end(0);
    }
    for number in 0..3 {
        // SAFETY: nothing in this process uses its standard streams from here on.
        unsafe { libc::close(number) };
    }
    let _still_a_daemon = std::env::set_current_dir("/");
    rest();
}

fn fork() -> i32 {
    // SAFETY: whoever calls this has one thread, or forks no more once it has several.
    unsafe { libc::fork() }
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process, without touching what it shares with its parent.
    unsafe { libc::_exit(code) }
}

fn wait(pid: i32) {
    // SAFETY: no status is asked for, so the kernel writes nothing.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn raise(signal: i32) {
    // SAFETY: a signal to ourselves; no handler of ours does more than end the process.
    unsafe { libc::raise(signal) };
}

fn kill(pid: i32, signal: i32) -> i32 {
    // SAFETY: a number to a number; no memory is handed over.
    if unsafe { libc::kill(pid, signal) } == 0 { 0 } else { Error::last_os_error().raw_os_error().unwrap_or(-1) }
}

fn disposition(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: the handler is one of the kernel's own, or `leave`, which is async-signal-safe.
    unsafe { libc::signal(signal, handler) };
}

extern "C" fn leave(_signal: i32) {
    end(0);
}
