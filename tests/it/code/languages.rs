//! Each language with its real toolchain: what goes in comes out, and what is wrong is told by the line.

use super::{file, generous, run};
use pinfold::code::{CodeRequest, CodeResult, Phase};
use pinfold_runner::Content;

/// A program that prints `hello`, its argument, its stdin and a file `lib/data.txt`, all in brackets.
struct Sample {
    language: &'static str,
    code: &'static str,
    /// A file in a folder that the program uses as its language does, which says `nested`.
    library: Option<(&'static str, &'static str)>,
    /// A program with a mistake in its third line, and what is said of it, by one toolchain `|` by another.
    wrong: (&'static str, &'static str),
}

const SAMPLES: [Sample; 15] = [
    Sample {
        language: "python",
        code: "import sys\nfrom lib.part import word\nprint(f'[hello][{sys.argv[1]}][{sys.stdin.read()}][{open(\"lib/data.txt\").read()}][{word()}]')",
        library: Some(("lib/part.py", "def word():\n    return 'nested'\n")),
        wrong: ("import os\n\nos.no_such_thing()", "main.py\", line 3"),
    },
    Sample {
        language: "javascript",
        code: "const fs = require('fs');\nconst { word } = require('./lib/part');\nconsole.log(`[hello][${process.argv[2]}][${fs.readFileSync(0, 'utf8')}][${fs.readFileSync('lib/data.txt', 'utf8')}][${word()}]`);",
        library: Some(("lib/part.js", "exports.word = () => 'nested';")),
        wrong: ("const a = 1;\n\nnull.b;", "main.js:3"),
    },
    Sample {
        language: "typescript",
        code: "import * as fs from 'fs';\nimport { word } from './lib/part.ts';\ninterface In { text: string }\nconst given: In = { text: fs.readFileSync(0, 'utf8') as string };\nconsole.log(`[hello][${process.argv[2]}][${given.text}][${fs.readFileSync('lib/data.txt', 'utf8')}][${word()}]`);",
        library: Some(("lib/part.ts", "export const word = (): string => 'nested';")),
        wrong: ("interface A { a: number }\n\nconst b: A = = 1;", "main.ts(3,14)|main.ts:3\n|main.ts:3:14"),
    },
    Sample {
        language: "go",
        code: "package main\nimport (\n\"fmt\"\n\"io/ioutil\"\n\"os\"\n\"example/lib\"\n)\nfunc main() {\nin, _ := ioutil.ReadAll(os.Stdin)\ndata, _ := os.ReadFile(\"lib/data.txt\")\nfmt.Printf(\"[hello][%s][%s][%s][%s]\\n\", os.Args[1], in, data, lib.Word())\n}",
        library: Some(("lib/part.go", "package lib\n\nfunc Word() string { return \"nested\" }\n")),
        wrong: ("package main\n\nfunc main() { x := 1 }", "main.go:3"),
    },
    Sample {
        language: "rust",
        code: "#[path = \"lib/part.rs\"]\nmod part;\nuse std::io::Read;\nfn main() {\nlet mut text = String::new();\nstd::io::stdin().read_to_string(&mut text).unwrap();\nlet data = std::fs::read_to_string(\"lib/data.txt\").unwrap();\nprintln!(\"[hello][{}][{text}][{data}][{}]\", std::env::args().nth(1).unwrap(), part::word());\n}",
        library: Some(("lib/part.rs", "pub fn word() -> &'static str { \"nested\" }")),
        wrong: ("fn main() {\n\nlet x: i32 = \"a\";\n}", "main.rs:3"),
    },
    Sample {
        language: "bash",
        code: ". lib/part.sh\nprintf '[hello][%s][%s][%s][%s]\\n' \"$1\" \"$(cat)\" \"$(cat lib/data.txt)\" \"$(word)\"",
        library: Some(("lib/part.sh", "word() { echo nested; }")),
        wrong: ("true\n\nno_such_command\nexit 1", "script.sh: line 3"),
    },
    Sample {
        language: "c",
        code: "#include <stdio.h>\n#include \"lib/part.h\"\nint main(int argc, char **argv) {\nchar in[99] = \"\", data[99] = \"\";\nfgets(in, 99, stdin);\nfgets(data, 99, fopen(\"lib/data.txt\", \"r\"));\nprintf(\"[hello][%s][%s][%s][%s]\\n\", argv[1], in, data, WORD);\n}",
        library: Some(("lib/part.h", "#define WORD \"nested\"")),
        wrong: ("int main(void)\n{\nreturn x; }", "main.c:3"),
    },
    Sample {
        language: "c++",
        code: "#include <fstream>\n#include <iostream>\n#include <string>\n#include \"lib/part.hpp\"\nint main(int, char **argv) {\nstd::string in, data;\nstd::getline(std::cin, in);\nstd::ifstream file(\"lib/data.txt\");\nstd::getline(file, data);\nstd::cout << \"[hello][\" << argv[1] << \"][\" << in << \"][\" << data << \"][\" << word() << \"]\\n\";\n}",
        library: Some(("lib/part.hpp", "#include <string>\ninline std::string word() { return \"nested\"; }")),
        wrong: ("int main()\n{\nreturn x; }", "main.cpp:3"),
    },
    Sample {
        language: "java",
        code: "import java.nio.file.*;\nimport lib.Part;\npublic class Greeter {\npublic static void main(String[] args) throws Exception {\nSystem.out.printf(\"[hello][%s][%s][%s][%s]%n\", args[0], new String(System.in.readAllBytes()), Files.readString(Path.of(\"lib/data.txt\")), Part.word());\n}\n}",
        library: Some((
            "lib/Part.java",
            "package lib;\npublic class Part { public static String word() { return \"nested\"; } }",
        )),
        wrong: ("class Main {\npublic static void main(String[] a) {\nint x = \"a\"; } }", "Main.java:3"),
    },
    Sample {
        language: "ruby",
        code: "require './lib/part'\nputs \"[hello][#{ARGV[0]}][#{STDIN.read}][#{File.read('lib/data.txt')}][#{word}]\"",
        library: Some(("lib/part.rb", "def word = 'nested'")),
        wrong: ("a = 1\n\nno_such_thing(a)", "main.rb:3"),
    },
    Sample {
        language: "perl",
        code: "use lib '.';\nuse lib::Part;\nlocal $/;\nopen my $file, '<', 'lib/data.txt';\nprint \"[hello][$ARGV[0]][\" . <STDIN> . \"][\" . <$file> . \"][\" . lib::Part::word() . \"]\\n\";",
        library: Some(("lib/Part.pm", "package lib::Part;\nsub word { 'nested' }\n1;")),
        wrong: ("use strict;\n\nno_such_thing();", "called at main.pl line 3.\n"),
    },
    Sample {
        language: "php",
        code: "<?php\nrequire 'lib/part.php';\necho '[hello][' . $argv[1] . '][' . stream_get_contents(STDIN) . '][' . file_get_contents('lib/data.txt') . '][' . word() . \"]\\n\";",
        library: Some(("lib/part.php", "<?php function word() { return 'nested'; }")),
        wrong: ("<?php\n\nno_such_thing();", "main.php:3"),
    },
    Sample {
        language: "lua",
        code: "local part = require('lib.part')\nprint('[hello][' .. arg[1] .. '][' .. io.read('a') .. '][' .. io.open('lib/data.txt'):read('a') .. '][' .. part.word() .. ']')",
        library: Some(("lib/part.lua", "return { word = function() return 'nested' end }")),
        wrong: ("local a = 1\n\nno_such_thing()", "main.lua:3"),
    },
    Sample {
        language: "r",
        code: "source('lib/part.R')\ncat('[hello][', commandArgs(TRUE)[1], '][', readLines(file('stdin'), warn = FALSE), '][', readLines('lib/data.txt', warn = FALSE), '][', word(), ']\\n', sep = '')",
        library: Some(("lib/part.R", "word <- function() 'nested'")),
        wrong: ("a <- 1\n\nno_such_thing()", "at main.R:3\nError in no_such_thing() : "),
    },
    Sample {
        language: "sqlite",
        code: "create table given(text);\n.import /proc/self/fd/0 given\n.read lib/part.sql\nselect '[hello][' || 'an argument' || '][' || given.text || '][' || 'data' || '][' || word || ']' from given, words;",
        library: Some(("lib/part.sql", "create table words as select 'nested' as word;")),
        wrong: ("select 1;\n\nselec 2;", "near line 3:"),
    },
];

fn sample(language: &str) -> &'static Sample {
    SAMPLES.iter().find(|sample| sample.language == language).unwrap()
}

fn everything_goes_in(language: &str) {
    let Some(result) = run(request(language)) else { return };
    everything_came_out(&result);
}

/// A program of this language with all that a request may have.
pub(super) fn request(language: &str) -> CodeRequest {
    let sample = sample(language);
    let mut request = CodeRequest::new(language, sample.code);
    if language != "sqlite" {
        request.args = vec!["an argument".to_owned()];
    }
    request.stdin = Content::from("the input");
    request.files = [file("lib/data.txt", "data")].into();
    request.files.extend(sample.library.map(|(name, content)| file(name, content)));
    if language == "go" {
        request.files.extend([file("go.mod", "module example\n")]);
    }
    request
}

pub(super) fn everything_came_out(result: &CodeResult) {
    assert!(result.success && result.isolated && result.phase == Phase::Run, "{result:?}");
    assert_eq!(result.stdout, "[hello][an argument][the input][data][nested]\n", "{}", result.stderr);
    assert_eq!((result.exit_code, result.truncated, result.error.as_deref()), (0, false, None));
}

fn a_mistake_is_told_by_its_line(language: &str) {
    let (code, words) = sample(language).wrong;
    let Some(result) = run(CodeRequest::new(language, code)) else { return };
    let is_said = words.split('|').any(|words| result.stderr.contains(words));
    assert!(!result.success && result.exit_code > 0 && is_said, "{result:?}");
    let told = result.error.as_deref();
    match result.phase {
        Phase::Compile => assert!(told == Some("compilation failed") && result.outcome.is_none(), "{result:?}"),
        Phase::Run => assert_eq!(told, None),
    }
}

macro_rules! languages {
    ($($module:ident: $language:literal;)*) => { $(
        mod $module {
            #[test]
            fn everything_that_goes_in_comes_out() {
                super::everything_goes_in($language);
            }

            #[test]
            fn a_mistake_is_told_by_its_line() {
                super::a_mistake_is_told_by_its_line($language);
            }
        }
    )* };
}

languages! {
    python: "python";
    javascript: "javascript";
    typescript: "typescript";
    go: "go";
    rust: "rust";
    bash: "bash";
    c: "c";
    cpp: "c++";
    java: "java";
    ruby: "ruby";
    perl: "perl";
    php: "php";
    lua: "lua";
    r: "r";
    sqlite: "sqlite";
}

#[test]
fn what_a_compiler_made_cannot_be_altered_by_the_program_that_it_is() {
    let code = "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) {\n\
        printf(\"%d \", open(\"/program/program\", O_WRONLY) < 0);\n\
        printf(\"%d \", unlink(\"/program/program\") < 0);\n\
        printf(\"%d\\n\", open(\"/program/new\", O_WRONLY | O_CREAT, 0600) < 0);\n}";
    let Some(result) = run(CodeRequest::new("c", code)) else { return };
    assert_eq!(result.stdout, "1 1 1\n", "{result:?}");
}

#[test]
fn the_environment_is_the_requests_before_the_configurations_and_nothing_of_ours() {
    let mut request = CodeRequest::new("bash", "echo $ONE $TWO ${CARGO_MANIFEST_DIR-none}");
    request.env_vars = [("ONE".to_owned(), "request".to_owned())].into();
    let both = [("ONE", "configuration"), ("TWO", "configuration")].map(|(name, value)| (name.into(), value.into()));
    let config = pinfold::code::CodeConfig { env_vars: both.into(), ..generous() };
    let result = super::execute(config, request).unwrap();
    assert_eq!(result.stdout, "request configuration none\n", "{}", result.stderr);
}
