//! TypeScript by each of the programs that run it: the host's, and those that `tests/run` brings from npm.

use super::languages::{everything_came_out, request};
use super::{file, generous, wait};
use crate::support;
use pinfold::code::{CodeError, CodeRequest, CodeResult, Executor, Language, Languages};
use std::path::{Path, PathBuf};

/// TypeScript by this toolchain alone, whose program lies where npm has put it.
fn only(toolchain: &str, program: &str, folder: &Path) -> Languages {
    let language = Languages::embedded().get("typescript").unwrap().clone();
    let mut language = Language::clone(&language);
    language.toolchains.retain(|known| known.name == toolchain);
    let [toolchain] = &mut language.toolchains[..] else { panic!("{toolchain}") };
    // A name that leads there whatever `PATH` says.
    let path = folder.join("node_modules/.bin").join(program);
    toolchain.programs.insert(program.to_owned(), vec![path.to_str().unwrap().to_owned()]);
    let mut languages = Languages::default();
    languages.add(language).unwrap();
    languages
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/typescript")
}

fn run(languages: &Languages, request: CodeRequest) -> Result<CodeResult, CodeError> {
    let pinfold = pinfold::Pinfold::builder().runner(support::runner()).build().unwrap();
    // V8 and its kin reserve much where nothing but reserving is counted.
    let config = pinfold::code::CodeConfig { max_memory_mb: generous().max_memory_mb.max(1024), ..generous() };
    wait(Executor::new(config, languages.clone(), pinfold).unwrap().execute(request))
}

/// What each of them must do, whichever it is.
fn runs_typescript(languages: &Languages) {
    everything_came_out(&run(languages, request("typescript")).unwrap());
    let wrong = "interface A { a: number }\n\nconst b: A = = 1;";
    let result = run(languages, CodeRequest::new("typescript", wrong)).unwrap();
    assert!(!result.success && result.stderr.contains("main.ts"), "{result:?}");
    assert!(result.stderr.contains("main.ts:3") || result.stderr.contains("main.ts(3"), "{}", result.stderr);
    let thrown = "interface A { a: number }\n\nfunction f(): void {\n  throw new Error('on purpose');\n}\nf();";
    let result = run(languages, CodeRequest::new("typescript", thrown)).unwrap();
    assert!(!result.success && result.stderr.contains("main.ts:4"), "{}", result.stderr);
    let types = "import type { A } from './lib/types.ts';\nimport { one } from './lib/one.ts';\nconst a: A = { n: one };\nconsole.log(a.n);";
    let mut request = CodeRequest::new("typescript", types);
    request.files = [
        file("lib/types.ts", "export interface A { n: number }"),
        file("lib/one.ts", "import { two } from '../two.ts';\nexport const one: number = two - 1;"),
        file("two.ts", "export const two = 2 as number;"),
    ]
    .into();
    let result = run(languages, request).unwrap();
    assert_eq!(result.stdout, "1\n", "{}", result.stderr);
}

#[test]
fn whichever_this_host_has() {
    match run(&Languages::embedded(), request("typescript")) {
        Err(error @ CodeError::ToolchainMissing { .. }) => support::skip(&error.to_string()),
        _ => runs_typescript(&Languages::embedded()),
    }
}

macro_rules! by {
    ($($test:ident: $toolchain:literal, $program:literal;)*) => { $(
        #[test]
        fn $test() {
            if !folder().join("node_modules/.bin").join($program).exists() {
                let words = format!("needs npm's `{}` in target/typescript, where tests/run installs it", $program);
                return support::skip(&words);
            }
            runs_typescript(&only($toolchain, $program, &folder()));
        }
    )* };
}

by! {
    by_nodes_own_type_stripping: "Node.js", "node";
    by_the_compiler_of_today: "TypeScript", "tsc";
    by_tsx: "tsx", "tsx";
    by_deno: "Deno", "deno";
    by_bun: "Bun", "bun";
}
