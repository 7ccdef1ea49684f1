//! How long `hello` takes in each language that is there, in a sandbox and bare: `cargo bench --bench code`. Languages may be named:
//! `cargo bench --bench code -- python java`.
//!
//! Bare is the very same command with the same environment, without a sandbox. What a sandbox costs by itself is told by `/bin/true` in
//! one and bare, and is taken off: the ratio is what being inside makes of the interpreter's own start. Compiling is left out on
//! both sides. All alternate, so that a noisy machine is noisy to all; minima and low quantiles are nearest to the work itself.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use pinfold::Pinfold;
use pinfold::code::{CodeConfig, CodeError, CodeRequest, Executor, Host, Language, Languages, Toolchain, View};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Each language gets as many rounds as fit into this, and no fewer and no more than these.
const TIME: Duration = Duration::from_secs(20);
const FEWEST: usize = 10;
const MOST: usize = 200;

/// What says hello.
const PROGRAMS: [(&str, &str); 15] = [
    ("bash", "echo hello"),
    ("c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); }"),
    ("c++", "#include <iostream>\nint main() { std::cout << \"hello\\n\"; }"),
    ("go", "package main\nimport \"fmt\"\nfunc main() { fmt.Println(\"hello\") }"),
    ("java", "public class Main { public static void main(String[] a) { System.out.println(\"hello\"); } }"),
    ("javascript", "console.log('hello');"),
    ("lua", "print('hello')"),
    ("perl", "print \"hello\\n\";"),
    ("php", "<?php echo \"hello\\n\";"),
    ("python", "print('hello')"),
    ("r", "cat('hello\\n')"),
    ("ruby", "puts 'hello'"),
    ("rust", "fn main() { println!(\"hello\"); }"),
    ("sqlite", "select 'hello';"),
    ("typescript", "const text: string = 'hello';\nconsole.log(text);"),
];

/// A language that does nothing, to see what a sandbox costs by itself.
const NOTHING: &str = r#"
name = "nothing"
file = "main.txt"
install = "package `coreutils`"
[[toolchain]]
name = "true"
programs = { true = ["true"] }
version = ["{true}", "--version"]
run = { command = ["{true}"] }
"#;

/// A directory with the code, compiled where that has to be, gone at the end.
struct Bare {
    directory: PathBuf,
    command: Vec<String>,
    view: View,
    toolchain: Toolchain,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _nothing_to_be_done = fs::remove_dir_all(&self.directory);
    }
}

fn main() {
    let runner = Path::new(env!("CARGO_BIN_EXE_pinfold")).with_file_name("pinfold-runner");
    assert!(runner.exists(), "build it first: cargo build --release --workspace");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut languages = Languages::embedded();
    languages.add(Language::from_toml(NOTHING).unwrap()).unwrap();
    let pinfold = Pinfold::builder().runner(runner).build().unwrap();
    // All of a CPU, and memory for V8 and the JVM where nothing but reserving is counted.
    let config = CodeConfig {
        allowed_languages: Vec::new(),
        max_cpu_percent: Some(0.0),
        max_memory_mb: 4096,
        ..CodeConfig::default()
    };
    let executor = Executor::new(config, languages.clone(), pinfold).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("load average {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!(
        "{:<12}{:>16}{:>16}{:>16}{:>18}{:>10}",
        "ms, least/10th", "bare", "sandbox", "true beyond", "ratio", "rounds"
    );
    for (name, code) in PROGRAMS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name)) {
        tokio.block_on(compare(&executor, languages.get(name).unwrap(), code));
    }
}

async fn compare(executor: &Executor, language: &Language, code: &str) {
    let request = CodeRequest::new(&language.name, code);
    let first = match executor.execute(request.clone()).await {
        Err(error @ CodeError::ToolchainMissing { .. }) => return println!("{:<12}{error}", language.name),
        other => other.unwrap(),
    };
    assert_eq!(first.stdout, "hello\n", "{}", first.stderr);
    let toolchain = language.toolchains.iter().find(|toolchain| toolchain.name == first.toolchain).unwrap();
    let bare = prepare(language, toolchain, code);
    let nothing = prepare(
        executor.languages().get("nothing").unwrap(),
        &executor.languages().get("nothing").unwrap().toolchains[0],
        "x",
    );
    let (start, mut times) = (Instant::now(), [const { Vec::new() }; 4]);
    while times[0].len() < FEWEST || (times[0].len() < MOST && start.elapsed() < TIME) {
        times[0].push(bare.run());
        times[1].push(inside(executor, &request).await);
        times[2].push(nothing.run());
        times[3].push(inside(executor, &CodeRequest::new("nothing", "x")).await);
    }
    let rounds = times[0].len();
    let [bare, sandbox, bare_true, inside_true] = times.map(sorted);
    let at = |index: usize| {
        let beyond = inside_true[index] - bare_true[index];
        (bare[index], sandbox[index], beyond, (sandbox[index] - beyond) / bare[index])
    };
    let ((a, b, c, ratio), (d, e, f, tenth)) = (at(0), at(rounds / 10));
    println!(
        "{:<12}{:>18}{:>16}{:>16}{:>18}{rounds:>10}",
        language.name,
        format!("{a:.1}/{d:.1}"),
        format!("{b:.1}/{e:.1}"),
        format!("{c:.1}/{f:.1}"),
        format!("{ratio:.3}/{tenth:.3}")
    );
}

/// What a program and its sandbox take, by the runner's clock: what belongs to compiling is left out.
async fn inside(executor: &Executor, request: &CodeRequest) -> Duration {
    let result = executor.execute(request.clone()).await.unwrap();
    assert!(result.success, "{result:?}");
    let usage = result.outcome.unwrap().usage;
    let all = [usage.setup_ms, usage.wall_ms, usage.teardown_ms].map(Option::unwrap_or_default);
    Duration::from_secs_f64(all.iter().sum::<f64>() / 1e3)
}

/// The code in a directory of its own, compiled if it has to be, and the command that runs it.
fn prepare(language: &Language, toolchain: &Toolchain, code: &str) -> Bare {
    let (path, home) = (std::env::var_os("PATH").unwrap_or_default(), std::env::home_dir());
    let host = Host { path: &path, home: home.as_deref(), trusted: &|_| Ok(()) };
    let view = toolchain.view(host).unwrap();
    let directory = std::env::temp_dir().join(format!("pinfold-bench-{}-{}", std::process::id(), language.name));
    fs::create_dir_all(directory.join("output")).unwrap();
    fs::write(directory.join(language.file_name(code)), code).unwrap();
    let mut bare = Bare { directory, command: Vec::new(), view, toolchain: toolchain.clone() };
    if let Some(compile) = &toolchain.compile {
        let command = bare.fill(language, code, &compile.command);
        let output = bare.start(&command).envs(&compile.env).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    bare.command = bare.fill(language, code, &toolchain.run.command);
    bare
}

impl Bare {
    fn fill(&self, language: &Language, code: &str, command: &[String]) -> Vec<String> {
        let file = language.file_name(code);
        let stem = file.split('.').next().unwrap_or_default().to_owned();
        let output = self.directory.join("output").to_string_lossy().into_owned();
        let mut values = vec![
            ("file".to_owned(), file.clone()),
            ("stem".to_owned(), stem),
            ("output".to_owned(), output),
            ("memory_bytes".to_owned(), (4_u64 << 30).to_string()),
            ("heap_mib".to_owned(), 3072.to_string()),
        ];
        for (key, names) in &self.toolchain.programs {
            values.push((key.clone(), names.iter().find_map(|name| self.find(name)).unwrap()));
        }
        let fill = |part: &String| {
            values.iter().fold(part.clone(), |part, (key, value)| part.replace(&format!("{{{key}}}"), value))
        };
        command.iter().map(fill).collect()
    }

    /// Where the toolchain lives, and not a shim of it.
    fn find(&self, name: &str) -> Option<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = self.view.path.iter().cloned().chain(std::env::split_paths(&path));
        let found = directories.map(|directory| directory.join(name)).find(|path| path.exists())?;
        Some(found.to_string_lossy().into_owned())
    }

    fn start(&self, command: &[String]) -> Command {
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]).current_dir(&self.directory).env_clear().stdin(Stdio::null());
        let directories = self.view.path.iter().map(|path| path.to_string_lossy().into_owned());
        let path: Vec<_> = directories.chain(["/usr/local/bin:/usr/bin:/bin".to_owned()]).collect();
        child.env("PATH", path.join(":")).env("HOME", &self.directory).env("LANG", "C.UTF-8");
        child.envs(&self.view.env).envs(&self.toolchain.run.env);
        child
    }

    fn run(&self) -> Duration {
        let start = Instant::now();
        let output = self.start(&self.command).output().unwrap();
        let took = start.elapsed();
        assert!(output.status.success(), "{:?}: {}", self.command, String::from_utf8_lossy(&output.stderr));
        took
    }
}

/// In milliseconds.
fn sorted(mut times: Vec<Duration>) -> Vec<f64> {
    times.sort();
    times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect()
}
