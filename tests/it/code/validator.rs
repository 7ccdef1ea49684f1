//! What the validator finds: every pattern that it is to find, by rule and line, and nothing in programs that only look
//! as if.

use super::{execute, generous};
use pinfold::code::{CodeConfig, CodeError, CodeRequest, Finding, Language, Languages, Level, Policy, Validator};
use pinfold_runner::Content;
use std::sync::LazyLock;

pub(super) fn findings(language: &str, code: &str) -> Vec<Finding> {
    static KNOWN: LazyLock<(Languages, Validator)> = LazyLock::new(|| (Languages::embedded(), Validator::default()));
    let (languages, validator) = &*KNOWN;
    let language = languages.get(language).unwrap();
    let files = [(language.file.clone(), Content::from(code))].into();
    validator.findings(language, &files).unwrap()
}

/// The rules that are found in each line: `RULE RULE` after the code and `#=`.
fn check(language: &str, lines: &[(&str, &str)]) {
    let code: Vec<_> = lines.iter().map(|(code, _)| *code).collect();
    let found = findings(language, &code.join("\n"));
    for (index, (code, rules)) in lines.iter().enumerate() {
        let here: Vec<_> = found.iter().filter(|it| it.line == index + 1).map(|it| it.rule.as_str()).collect();
        assert_eq!(here.join(" "), *rules, "{language}: `{code}`");
    }
}

/// Looks that nothing is found, and tells what was.
fn clean(language: &str, code: &str) {
    let found: Vec<_> = findings(language, code).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{language}: {found:#?}");
}

#[test]
fn python_is_looked_through() {
    check(
        "python",
        &[
            ("import os", "import:os"),
            ("from os import path", "import:os"),
            ("import os.path as p, sys", "import:os import:sys"),
            ("os.system('x'); os.popen('x'); os.execv('x', [])", "os:system os:popen os:execv"),
            ("import subprocess", "import:subprocess"),
            ("from subprocess import run as r", "import:subprocess"),
            (
                "subprocess.run(); subprocess.call(); subprocess.Popen()",
                "subprocess:run subprocess:call subprocess:Popen",
            ),
            ("from sys import argv", "import:sys"),
            ("__import__('x')", "call:__import__"),
            ("eval('1'); exec('1'); compile('1', '', 'exec')", "call:eval call:exec call:compile"),
            ("open('x'); file('x')", "call:open call:file"),
            ("import shutil; shutil.rmtree('x'); shutil.move('x', 'y')", "import:shutil shutil:rmtree shutil:move"),
            ("import pathlib; pathlib.Path('x')", "import:pathlib pathlib:Path"),
            (
                "import socket, urllib.request, requests, httplib",
                "import:socket import:urllib import:requests import:httplib",
            ),
            ("import ctypes", "import:ctypes"),
            ("import pickle; pickle.load(x)", "import:pickle unpickle:load"),
            ("import marshal; marshal.load(x)", "import:marshal unpickle:load"),
            ("globals(); locals(); vars(); dir(x)", "call:globals call:locals call:vars call:dir"),
            ("getattr(os, 'sys' + 'tem'); setattr(a, b, c); delattr(a, b)", "call:getattr call:setattr call:delattr"),
            ("__builtins__", "name:__builtins__"),
            ("().__class__.__bases__[0].__subclasses__()", "name:__class__ name:__bases__ name:__subclasses__"),
            ("f = eval; map(exec, [])", "alias:eval alias:exec"),
        ],
    );
    clean(
        "python",
        "# import os; eval(x)\nenvironment = 'import os'\ntext = \"\"\"\nos.system('x')\n\"\"\"\nmodel.eval()\n\
        reopen(1)\ndirectory(1)\nimport oscillator\nfrom evaluation import compile_time\nself.file(1)\nx.dir('a')\nf'{environment}'",
    );
}

const SCRIPT: &[(&str, &str)] = &[
    ("const a = require('child_process'), b = require(\"fs\");", "require:child_process require:fs"),
    (
        "require('os'); require('http'); require(\"https\"); require(`net`);",
        "require:os require:http require:https require:net",
    ),
    ("require('node:child_process'); require('fs/promises');", "require:child_process require:fs/promises"),
    ("import c from 'child_process';", "import:child_process"),
    ("import { readFile } from \"fs\"; import * as d from 'os';", "import:fs import:os"),
    ("process.env; process.exit(1); process.kill(1);", "process:env process:exit process:kill"),
    ("process['env'].X;", "process:env"),
    ("eval('1'); Function('1'); new Function('1');", "call:eval call:Function new:Function"),
    ("({}).__proto__; ({})['__proto__'];", "name:__proto__ name:__proto__"),
    ("[].constructor.constructor('x');", "name:constructor call:constructor"),
    ("require('child_' + 'process'); require(name);", "require-computed require-computed"),
    ("const e = eval; import('fs');", "alias:eval import:fs"),
];

const CLEAN_SCRIPT: &str = "// require('fs')\nconst environment = 'process.env';\nconst s = `eval(1) ${environment}`;\n\
    evaluate(1); medieval(2); require('./fs'); require('lodash');\nfunction makeFunction() {}\nobject.exit(); subprocess.exit();\n\
    /* new Function() */ const http = 1; class A { constructor() {} }\nconst r = /process.env/;\nimport x from './os.js';";

#[test]
fn javascript_is_looked_through() {
    check("javascript", SCRIPT);
    clean("javascript", CLEAN_SCRIPT);
}

#[test]
fn typescript_is_looked_through() {
    check("typescript", SCRIPT);
    check(
        "typescript",
        &[("import fs = require('fs');", "require:fs"), ("const x = eval('1') as number;", "call:eval")],
    );
    clean("typescript", CLEAN_SCRIPT);
    clean(
        "typescript",
        "interface A { eval: string; env?: Record<string, string> }\ntype F = Function;\nenum Process { exit }",
    );
}

#[test]
fn shell_scripts_are_looked_through() {
    check(
        "bash",
        &[
            (
                "rm -rf /x; rm -fr x; rm -r -f x; /bin/rm --recursive x",
                "rm-recursive rm-recursive rm-recursive rm-recursive",
            ),
            ("rmdir x; mkfs /dev/x; mkfs.ext4 /dev/x", "command:rmdir command:mkfs command:mkfs.ext4"),
            ("dd if=/dev/zero of=x", "dd"),
            ("echo x > /dev/sda; echo x >/dev/sdb", "redirect:/dev/sda redirect:/dev/sdb"),
            ("curl x; wget x; nc x 1; netcat x 1", "command:curl command:wget command:nc command:netcat"),
            ("chmod 777 x; chown a x; sudo x; su x", "command:chmod command:chown command:sudo command:su"),
            (
                "shutdown; reboot; init 0; systemctl stop x",
                "command:shutdown command:reboot command:init command:systemctl",
            ),
            ("kill 1; killall x; pkill x", "command:kill command:killall command:pkill"),
            ("cat /etc/passwd; wc -l < /etc/shadow", "path:/etc/passwd path:/etc/shadow"),
            ("cat ~/.ssh/id_rsa; cp \"$HOME/.ssh/x\" .", "path:~/.ssh/id_rsa path:$HOME/.ssh/x"),
            ("printenv; env; export A=1", "command:printenv command:env command:export"),
            ("x=$(curl x); if wget x; then true; fi", "command:curl command:wget"),
            ("/usr/bin/curl x | bash", "command:curl piped:bash"),
        ],
    );
    clean(
        "bash",
        "# rm -rf /\nenvironment=1\necho 'curl x; sudo y' \"/etc/passwd\"\nexported=$environment\n\
        echo x > /dev/null 2>&1\nrm x\ninitialize() { echo skill; }\ninitialize\ncat <<'END'\nwget x\nEND\n[ \"$killed\" = 1 ] || true\n\
        cat ./etc/passwords\necho x >&2\ngrep -rf patterns .\nformatted=mkfs",
    );
}

#[test]
fn go_is_looked_through() {
    check(
        "go",
        &[
            ("package main", ""),
            ("import \"os/exec\"", "import:os/exec"),
            ("import h \"net/http\"", "import:net/http"),
            ("import ( \"syscall\"; \"unsafe\"; \"fmt\" )", "import:syscall import:unsafe"),
            ("func main() {", ""),
            ("exec.Command(\"x\")", "exec:Command"),
            ("syscall.Kill(1, 9)", "syscall:Kill"),
            ("var p = unsafe.Pointer(nil); var q unsafe.Pointer", "unsafe:Pointer unsafe:Pointer"),
            ("os.Remove(\"x\"); os.RemoveAll(\"x\")", "os:Remove os:RemoveAll"),
            ("net.Dial(\"tcp\", \"x\"); net.DialTimeout(\"tcp\", \"x\", 1)", "net:Dial net:DialTimeout"),
            ("}", ""),
        ],
    );
    clean(
        "go",
        "package main\n// import \"os/exec\"\nimport \"fmt\"\nfunc main() {\ns := \"exec.Command os.Remove\"\nt := `net/http`\n\
        fmt.Println(s, t, cos.Remove(1), planet.Dial(2), exec(3))\n}",
    );
}

#[test]
fn rust_is_looked_through() {
    check(
        "rust",
        &[
            ("use std::process::Command;", "process:Command"),
            ("use std::process::{Command, Stdio};", "process:Command"),
            ("fn f() { let _ = std::process::Command::new(\"x\"); }", "process:Command"),
            ("fn g() { let _ = std::fs::remove_file(\"x\"); }", "fs:remove_file"),
            ("use std::fs::remove_dir_all;", "fs:remove_dir_all"),
            ("fn h() { let _ = fs::remove_dir(\"x\"); }", "fs:remove_dir"),
            ("fn i() { unsafe { j() } }", "unsafe"),
            ("fn k() { unsafe{ j() } }", "unsafe"),
            ("unsafe fn j() {}", "unsafe"),
            ("use std::process::*;", "process:std::process"),
            ("fn l(c: std::process::Command) {}", "process:Command"),
        ],
    );
    clean(
        "rust",
        "// unsafe { }\nuse std::process::ExitCode;\nuse clap::Command;\nfn main() {\nlet s = \"unsafe { std::process::Command\";\n\
        let unsafely = std::fs::read(\"x\");\nlet r = r#\"unsafe{\"#;\ncache.remove_file(s);\n}",
    );
}

#[test]
fn a_finding_is_told_by_its_place_in_characters() {
    let found = findings("python", "x = 1\ny = 'é€'; eval(x)\n");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].column, found[0].excerpt.as_str()), (2, 11, "eval(x)"));
    let words = found[0].to_string();
    assert_eq!(words, "potentially dangerous pattern: call:eval (main.py:2:11: eval(x))");
}

#[test]
fn the_policy_warns_blocks_or_is_silent_by_rule() {
    let code = CodeRequest::new("bash", "export A=1; chmod 600 script.sh; echo ran");
    let with = |validation: Policy| execute(CodeConfig { validation, ..generous() }, code.clone());
    let warned = with(Policy::default()).unwrap();
    let rules: Vec<_> = warned.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!((rules, warned.stdout.as_str()), (vec!["command:export", "command:chmod"], "ran\n"));
    assert!(with(Level::Off.into()).unwrap().findings.is_empty());
    let error = with(Level::Block.into()).unwrap_err();
    assert!(error.to_string().starts_with("code validation failed: [potentially dangerous pattern: command:export"));
    let one = |rule: &str, level| Policy { default: Level::Off, rules: [(rule.to_owned(), level)].into() };
    assert_eq!(with(one("command:chmod", Level::Warn)).unwrap().findings.len(), 1);
    match with(one("command", Level::Block)) {
        Err(CodeError::Blocked(findings)) => assert_eq!(findings.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_beside_the_code_are_looked_at_too() {
    let mut request = CodeRequest::new("bash", ". lib/part.sh");
    request.files = [super::file("lib/part.sh", "printenv >/dev/null"), super::file("notes.txt", "curl x")].into();
    let result = execute(generous(), request).unwrap();
    let told: Vec<_> = result.findings.iter().map(|finding| (finding.file.as_str(), finding.rule.as_str())).collect();
    assert_eq!(told, [("lib/part.sh", "command:printenv")]);
}

#[test]
fn a_language_may_have_rules_of_its_own() {
    let text = "name = 'mine'\nfile = 'main.py'\ninstall = 'x'\ngrammar = 'python'\n\
        rules = '((call function: (identifier) @name) @finding (#eq? @name \"launch\") (#set! rule \"house\"))'\n\
        [[toolchain]]\nname = 'x'\nprograms = { x = ['x'] }\nversion = ['x']\nrun = { command = ['x'] }\n";
    let files = [("main.py".to_owned(), Content::from("launch(1)\neval(2)"))].into();
    let language = Language::from_toml(text).unwrap();
    let rules: Vec<_> =
        Validator::default().findings(&language, &files).unwrap().into_iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["house:launch", "call:eval"]);
    let refused = |text: &str| Language::from_toml(text).unwrap_err();
    assert!(refused(&text.replace("@finding (#eq", "@finding ((#eq")).starts_with("rules: "));
    assert!(refused(&text.replace("(#set! rule \"house\")", "")).contains("has no `(#set! rule"));
    assert!(refused(&text.replace("grammar = 'python'\n", "")).contains("no grammar"));
}
