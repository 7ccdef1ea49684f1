//! Whole programs: those of tests/corpus/LANGUAGE/hostile do what a reader wants to know of, straight or by tricks; those of
//! `ordinary` only look as if. Beside each lies what is found in it: `LINE:COLUMN RULE`.

use super::validator::findings;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const LANGUAGES: [&str; 6] = ["python", "javascript", "typescript", "bash", "go", "rust"];

/// What older validators looked for, as substrings; where that alone is no program, after `=>` one that has it.
const SUBSTRINGS: [(&str, &[&str]); 6] = [
    (
        "python",
        &[
            "import os",
            "from os=>from os import path",
            "os.system=>os.system(x)",
            "os.popen=>os.popen(x)",
            "os.exec=>os.execv(x, y)",
            "import subprocess",
            "from subprocess=>from subprocess import run",
            "subprocess.run",
            "subprocess.call",
            "subprocess.Popen",
            "import sys",
            "from sys=>from sys import argv",
            "__import__=>__import__(x)",
            "eval(=>eval(x)",
            "exec(=>exec(x)",
            "compile(=>compile(x)",
            "open(=>open(x)",
            "file(=>file(x)",
            "import shutil",
            "shutil.rmtree",
            "shutil.move",
            "import pathlib",
            "pathlib.Path",
            "import socket",
            "import urllib",
            "import requests",
            "import httplib",
            "import ctypes",
            "import pickle",
            "pickle.load",
            "import marshal",
            "marshal.load",
            "globals()",
            "locals()",
            "vars()",
            "dir(=>dir(x)",
            "getattr(=>getattr(x, y)",
            "setattr(=>setattr(x, y, z)",
            "delattr(=>delattr(x, y)",
            "__builtins__",
            "__class__=>x.__class__",
            "__bases__=>x.__bases__",
            "__subclasses__=>x.__subclasses__()",
        ],
    ),
    (
        "javascript",
        &[
            "require('child_process')",
            "require(\"child_process\")",
            "require('fs')",
            "require(\"fs\")",
            "require('os')",
            "require(\"os\")",
            "require('http')",
            "require(\"http\")",
            "require('https')",
            "require(\"https\")",
            "require('net')",
            "require(\"net\")",
            "import child_process=>import child_process from 'child_process'",
            "import fs=>import fs from 'fs'",
            "import os=>import os from 'os'",
            "process.env",
            "process.exit",
            "process.kill",
            "eval(=>eval(x)",
            "Function(=>Function(x)",
            "new Function=>new Function(x)",
            "__proto__=>x.__proto__",
            "constructor.constructor=>x.constructor.constructor",
        ],
    ),
    (
        "typescript",
        &["require('child_process')", "require(\"child_process\")", "eval(=>eval(x)", "new Function(=>new Function(x)"],
    ),
    (
        "bash",
        &[
            "rm -rf=>rm -rf x",
            "rm -fr=>rm -fr x",
            "rmdir",
            "mkfs",
            "dd if==>dd if=x",
            "> /dev/=>echo > /dev/sda",
            ">/dev/=>echo >/dev/sda",
            "curl",
            "wget",
            "nc =>nc x",
            "netcat",
            "chmod",
            "chown",
            "sudo",
            "su =>su x",
            "shutdown",
            "reboot",
            "init =>init 0",
            "systemctl",
            "kill =>kill 1",
            "killall",
            "pkill",
            "/etc/passwd=>cat /etc/passwd",
            "/etc/shadow=>cat /etc/shadow",
            "~/.ssh=>cat ~/.ssh",
            "printenv",
            "env",
            "export=>export A=1",
        ],
    ),
    (
        "go",
        &[
            "os/exec=>import \"os/exec\"",
            "exec.Command=>var x = exec.Command(y)",
            "syscall.=>var x = syscall.Kill(1, 9)",
            "unsafe.=>var x unsafe.Pointer",
            "os.Remove=>var x = os.Remove(y)",
            "os.RemoveAll=>var x = os.RemoveAll(y)",
            "net/http=>import \"net/http\"",
            "net.Dial=>var x = net.Dial(y, z)",
        ],
    ),
    (
        "rust",
        &[
            "std::process::Command=>use std::process::Command;",
            "std::fs::remove=>fn f() { std::fs::remove_file(x); }",
            "unsafe {=>fn f() { unsafe { g() } }",
            "unsafe{=>fn f() { unsafe{ g() } }",
        ],
    ),
];

/// The programs of a folder, and what is to be found in each.
fn programs(language: &str, kind: &str) -> Vec<(PathBuf, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(language).join(kind);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension != "findings"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        // Nothing, where there is no such file.
        let expected = std::fs::read_to_string(path.with_extension("findings")).unwrap_or_default();
        (path, text, expected)
    };
    paths.into_iter().map(read).collect()
}

fn written(language: &str, text: &str) -> String {
    findings(language, text).iter().fold(String::new(), |mut all, found| {
        writeln!(all, "{}:{} {}", found.line, found.column, found.rule).unwrap();
        all
    })
}

#[test]
fn in_each_program_it_is_found_what_is_written_down() {
    for (language, kind) in LANGUAGES.iter().flat_map(|language| [(language, "hostile"), (language, "ordinary")]) {
        let programs = programs(language, kind);
        assert!(programs.len() >= if kind == "hostile" { 1 } else { 5 }, "{language}");
        for (path, text, expected) in programs {
            assert_eq!(written(language, &text), expected, "{}", path.display());
        }
    }
}

#[test]
fn no_line_of_evasions_escapes() {
    for language in LANGUAGES {
        for (path, text, _) in programs(language, "hostile") {
            if path.file_stem().is_none_or(|stem| stem != "evasions") {
                continue;
            }
            for line in text.lines().filter(|line| !line.starts_with([' ', 'd'])) {
                // The rest of the two that need one.
                let rest = match line {
                    line if line.ends_with('\\') => "\n os",
                    line if line.starts_with('@') => "\ndef f(): pass",
                    _ => "",
                };
                let line = format!("{line}{rest}");
                assert!(!findings(language, &line).is_empty(), "{language}: {line}");
            }
        }
    }
}

/// docs/code.md tells these figures.
#[test]
fn ordinary_programs_are_hardly_ever_flagged() {
    let (mut count, mut lines, mut found, mut substrings) = (0, 0, Vec::new(), 0);
    for (language, patterns) in SUBSTRINGS {
        for (path, text, _) in programs(language, "ordinary") {
            (count, lines) = (count + 1, lines + text.lines().count());
            found.extend(findings(language, &text).into_iter().map(|it| format!("{}: {it}", path.display())));
            let alone = |pattern: &&str| pattern.split("=>").next().map(str::to_owned);
            substrings += patterns.iter().filter_map(alone).map(|alone| text.matches(&alone).count()).sum::<usize>();
        }
    }
    // All of them are what the rule names: `import sys`, a name of pathlib's, and a file that is opened.
    assert!(count >= 30 && found.len() <= 3, "{count} {found:#?}");
    assert!(substrings > 60, "{count} programs, {lines} lines, {substrings} substrings");
}

#[test]
fn all_that_older_validators_looked_for_is_found() {
    for (language, patterns) in SUBSTRINGS {
        for pattern in patterns {
            let (alone, program) = pattern.split_once("=>").unwrap_or((pattern, pattern));
            assert!(program.contains(alone.trim_start_matches("=>")), "{pattern}");
            assert!(!findings(language, program).is_empty(), "{language}: {program}");
        }
    }
}
