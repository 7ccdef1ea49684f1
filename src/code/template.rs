//! Commands with placeholders: `{file}`, `{output}` and their like.

use std::collections::BTreeMap;

/// What the placeholders stand for. What is not one stays as it is: scripts have braces of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(BTreeMap<String, String>);

impl Values {
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The command with everything in its place. What was put in is not looked at again.
    pub(super) fn fill(&self, command: &[String]) -> Vec<String> {
        command.iter().map(|part| self.fill_one(part)).collect()
    }

    fn fill_one(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from_brace) = rest.split_at(start);
            filled.push_str(before);
            let value = from_brace.find('}').and_then(|end| Some((end, self.0.get(&from_brace[1..end])?)));
            rest = match value {
                Some((end, value)) => {
                    filled.push_str(value);
                    &from_brace[end + 1..]
                }
                None => {
                    filled.push('{');
                    &from_brace[1..]
                }
            };
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let values = Values::default().with("file", "{output}.c").with("output", "/out");
        let command = ["cc", "-o{output}/x", "{file}", "{ f({}); }", "{", "{{file}}"].map(str::to_owned);
        assert_eq!(values.fill(&command), ["cc", "-o/out/x", "{output}.c", "{ f({}); }", "{", "{{output}.c}"]);
    }
}
