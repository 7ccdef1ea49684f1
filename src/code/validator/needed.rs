//! Which of our rules can match in a text at all. To compile them takes tree-sitter longer than to look at a small file, up to a
//! tenth of a second for TypeScript, and most of them want a word, `eval` or `process`, that most texts don't have.

use memchr::memmem;

/// The rules but for those that want a word which is in none of the texts.
pub(super) fn needed(rules: &str, texts: &[&[u8]]) -> String {
    let patterns = Reader { rules, at: 0 }.nodes();
    let mut kept = String::new();
    for pattern in patterns {
        let wanted = pattern.wanted();
        let has = |text: &&[u8]| wanted.iter().all(|words| words.iter().any(|word| memmem::find(text, word).is_some()));
        if texts.iter().any(has) {
            kept.push_str(&rules[pattern.start..pattern.end]);
            kept.push('\n');
        }
    }
    kept
}

/// A part of a query, with what is written behind it.
struct Node<'a> {
    kind: Kind<'a>,
    captures: Vec<&'a str>,
    /// It need not be there.
    is_optional: bool,
    start: usize,
    end: usize,
}

enum Kind<'a> {
    /// `(…)`: all of them.
    All(Vec<Node<'a>>),
    /// `[…]`: one of them.
    OneOf(Vec<Node<'a>>),
    Text(&'a str),
    Word(&'a str),
}

impl<'a> Node<'a> {
    /// Sets of words. Whatever this matches has one of each in it.
    fn wanted(&self) -> Vec<Vec<&'a [u8]>> {
        let mut predicates = Vec::new();
        self.predicates(&mut predicates);
        // One about something that may not be there holds where it is not.
        predicates.into_iter().filter(|(capture, _)| self.always_has(capture)).map(|(_, words)| words).collect()
    }

    /// The captures of which a predicate says that they are one of these words.
    fn predicates(&self, found: &mut Vec<(&'a str, Vec<&'a [u8]>)>) {
        let Kind::All(parts) = &self.kind else { return };
        match parts.split_first() {
            Some((Node { kind: Kind::Word("#eq?" | "#any-of?"), captures, .. }, words)) if captures.len() == 1 => {
                let words: Option<Vec<_>> = words.iter().map(Node::plain_text).collect();
                found.extend(words.map(|words| (captures[0], words)));
            }
            _ => parts.iter().for_each(|part| part.predicates(found)),
        }
    }

    fn plain_text(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Text(text) if self.captures.is_empty() && !text.contains('\\') => Some(text.as_bytes()),
            _ => None,
        }
    }

    fn always_has(&self, capture: &str) -> bool {
        let is_below = || match &self.kind {
            Kind::All(parts) => parts.iter().any(|part| part.always_has(capture)),
            Kind::OneOf(parts) => !parts.is_empty() && parts.iter().all(|part| part.always_has(capture)),
            Kind::Text(_) | Kind::Word(_) => false,
        };
        let is_predicate = matches!(&self.kind, Kind::All(parts)
            if matches!(parts.first(), Some(Node { kind: Kind::Word(word), .. }) if word.starts_with('#')));
        !self.is_optional && !is_predicate && (self.captures.contains(&capture) || is_below())
    }
}

/// Reads queries that are known to be right.
struct Reader<'a> {
    rules: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Everything up to the end, or to what closes.
    fn nodes(&mut self) -> Vec<Node<'a>> {
        let mut nodes: Vec<Node<'a>> = Vec::new();
        while let Some(&byte) = self.rules.as_bytes().get(self.at) {
            let start = self.at;
            self.at += 1;
            let kind = match byte {
                b')' | b']' => break,
                b'(' => Kind::All(self.nodes()),
                b'[' => Kind::OneOf(self.nodes()),
                b'"' => Kind::Text(self.text()),
                b';' => {
                    self.skip(|byte| byte != b'\n');
                    continue;
                }
                byte if byte.is_ascii_whitespace() => continue,
                b'@' | b'?' | b'*' | b'+' => {
                    let name = self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    if let Some(last) = nodes.last_mut() {
                        last.captures.extend((byte == b'@').then_some(name));
                        last.is_optional |= matches!(byte, b'?' | b'*');
                        last.end = self.at;
                    }
                    continue;
                }
                _ => {
                    let is_predicate = byte == b'#';
                    let ends = |byte: u8| byte.is_ascii_whitespace() || b"()[]\"@;".contains(&byte);
                    self.skip(|byte| !ends(byte) && (is_predicate || !b"?*+".contains(&byte)));
                    Kind::Word(&self.rules[start..self.at])
                }
            };
            nodes.push(Node { kind, captures: Vec::new(), is_optional: false, start, end: self.at });
        }
        nodes
    }

    /// The text of a string, whose first quote is read.
    fn text(&mut self) -> &'a str {
        let start = self.at;
        while let Some(&byte) = self.rules.as_bytes().get(self.at) {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        &self.rules[start..self.at - 1]
    }

    fn skip(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.rules.as_bytes().get(self.at).is_some_and(|&byte| is_part(byte)) {
            self.at += 1;
        }
        &self.rules[start..self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rules: &str, text: &str) -> usize {
        needed(rules, &[text.as_bytes()]).lines().count()
    }

    #[test]
    fn a_rule_whose_words_are_not_there_is_left_out() {
        let rule = r##"((call f: (identifier) @_f a: [(x) @name (y (z) @name)]) @finding (#eq? @_f "run") (#any-of? @name "a" "b(") (#set! rule "r"))"##;
        for (text, is_kept) in [("run b(", true), ("a run", true), ("run", false), ("a b(", false), ("", false)] {
            assert_eq!(kept(rule, text) == 1, is_kept, "{text}");
        }
        // Each text for itself.
        assert_eq!(needed(rule, &[b"run", b"a"]), "");
    }

    #[test]
    fn a_rule_that_may_match_without_its_words_is_kept() {
        for rule in [
            r##"((x [(y) @n (z)]) @f (#eq? @n "word"))"##,
            r##"((x (y)? @n) @f (#eq? @n "word"))"##,
            r##"((x ((y) @n)*) @f (#eq? @n "word"))"##,
            r##"((x [name: (y) @n]) @f (#eq? @n "word"))"##,
            r##"((x) @n (#not-eq? @n "word"))"##,
            r##"((x) @n (#not-any-of? @n "word"))"##,
            r##"((x) @n (#match? @n "word"))"##,
            r##"((x) @n (y) @o (#eq? @n @o))"##,
            r##"((x) @n (#eq? @n "wo\trd"))"##,
            r##"(x) @n"##,
        ] {
            assert_eq!(kept(rule, "something"), 1, "{rule}");
        }
    }

    #[test]
    fn comments_and_strings_end_nothing() {
        let rules = "; a ( [ \" comment\n((x) @n (#eq? @n \"; ) ]\"))\n\n(y\n) @m ; another\n[(a) (b)] @n";
        assert_eq!(needed(rules, &[b""]), "(y\n) @m\n[(a) (b)] @n\n");
        assert_eq!(needed(rules, &[b"; ) ]"]).matches("((x) @n (#eq? @n \"; ) ]\"))\n").count(), 1);
    }
}
