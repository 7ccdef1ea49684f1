//! What no text does to whoever looks at it: the parsers are C. Malformed, random and deeply nested code takes a bounded time
//! and a bounded part of memory, and nobody crashes but the process that parses.

use super::validator::findings;
use super::{execute, generous};
use pinfold::code::{CodeRequest, Languages, Validator};
use pinfold_runner::Content;
use std::time::{Duration, Instant};

const LANGUAGES: [&str; 6] = ["python", "javascript", "typescript", "bash", "go", "rust"];
/// The most that is looked at, and a part of it: there are many texts.
const MOST: usize = 256 << 10;
const PART: usize = 48 << 10;

/// A part that is made of it, which nests no deeper than what is looked at.
fn part(piece: &str) -> String {
    let closing = |text: &str| text.replace(['(', '['], ")").replace('{', "}");
    let some = piece.repeat(900 / piece.len());
    let ends: String = closing(&some).chars().filter(|letter| matches!(letter, ')' | '}')).collect();
    format!("{some}{ends}\n").repeat(PART / 2 / some.len())
}

fn noise(length: usize, letters: &str) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let mut state: u32 = 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        letters[(state >> 16) as usize % letters.len()]
    };
    (0..length).map(next).collect()
}

/// Texts that parsers have stumbled over: nothing closes, everything nests, and states that a scanner keeps grow.
fn hostile() -> Vec<String> {
    let heredocs = (0..1_000).map(|number| format!("cat <<E{number}\n")).collect::<String>();
    let indents = (0..300).map(|depth| format!("{}if x:\n", " ".repeat(depth))).collect::<String>();
    let pieces = [
        "(",
        "[",
        "{",
        "`$(",
        "${",
        "\"",
        "f\"{",
        "r#",
        "eval(",
        "eval(1);",
        "a.b<c>(d)?e:f;",
        "<a>",
        "if x:\n ",
        "cat <<E\n",
        "é€\u{1f600}",
        "'",
        "/*",
        "<<",
        "@",
        "\\\n",
    ];
    let mut texts: Vec<_> = pieces.iter().map(|piece| part(piece)).collect();
    // Neither bracket nests deeper than what is looked at, and none is ever closed.
    texts.extend(["(", "{[", "$(`"].map(|open| open.repeat(900 / open.len()) + &"x ".repeat(PART / 2)));
    texts.push("eval(1);\n".repeat(MOST / 9));
    texts.push(noise(PART, "(){}[]<>\"'`$#\\;:,.=+-*/%&|!?@ \n\tabeflimnorstuvx019"));
    texts.push(noise(PART / 4, "\u{1}\u{7f}\u{80}\u{7ff}\u{800}\u{fffd}\u{10ffff}\u{feff}\r\n\\"));
    texts.extend([heredocs, indents]);
    texts
}

#[test]
fn anything_is_looked_at_in_bounded_time() {
    for language in LANGUAGES {
        for text in hostile() {
            let start = Instant::now();
            let found = findings(language, &text);
            let (took, shown) = (start.elapsed(), text.chars().take(12).collect::<String>());
            println!("{language:12} {shown:14?} {:>6} ms {:>4} findings", took.as_millis(), found.len());
            assert!(found.len() <= 200, "{language} {shown:?}");
            // One second, and what a machine that does much else makes of it.
            assert!(took < Duration::from_secs(60), "{language} {shown:?}: {took:?}");
        }
    }
}

#[test]
fn a_text_for_which_a_parser_wants_all_memory_ends_nobody_else() {
    let told: Vec<_> = findings("python", &part("/*")).into_iter().map(|finding| finding.rule).collect();
    assert_eq!(told, ["too-much"]);
    assert!(findings("python", "import os").iter().any(|finding| finding.rule == "import:os"));
}

#[test]
fn what_the_parsers_don_t_get_through_is_told_and_not_looked_at() {
    let start = Instant::now();
    for language in LANGUAGES {
        for text in
            ["x".repeat(MOST + 1), "(".repeat(1001), "[{".repeat(MOST / 2), "eval(1)\0".to_owned(), "\0".repeat(MOST)]
        {
            let found = findings(language, &text);
            assert_eq!((found.len(), found[0].rule.as_str()), (1, "too-much"));
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn many_files_together_have_no_more_time_than_one() {
    let files =
        (0..60).map(|number| (format!("f{number}.py"), Content::from("a.b<c>(d)?e:f;\n".repeat(MOST / 16)))).collect();
    let languages = Languages::embedded();
    let start = Instant::now();
    let found = Validator::default().findings(languages.get("python").unwrap(), &files).unwrap();
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(found.len() <= 200);
}

#[test]
fn code_that_takes_too_long_to_be_looked_at_runs_and_is_told() {
    let code = format!("echo ran; exit; {}", "x".repeat(MOST));
    let result = execute(generous(), CodeRequest::new("bash", code)).unwrap();
    assert_eq!((result.stdout.as_str(), result.findings[0].rule.as_str()), ("ran\n", "too-much"));
}
