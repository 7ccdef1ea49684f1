//! What is done about findings: nothing, a warning, or no run.

use super::Finding;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is done about a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing: it isn't even told.
    Off,
    /// It is in the result.
    #[default]
    Warn,
    /// The code doesn't run.
    Block,
}

/// What is done about findings: one level for all in JSON, or `{"default": "warn", "rules": {"import:os": "block"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Policy {
    /// What is done about all others.
    pub default: Level,
    /// What is done by rule, `import:os`, or by family, `import`; the former goes first.
    pub rules: BTreeMap<String, Level>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Level(Level),
    Policy(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    default: Level,
    #[serde(default)]
    rules: BTreeMap<String, Level>,
}

impl From<Written> for Policy {
    fn from(written: Written) -> Self {
        match written {
            Written::Level(level) => level.into(),
            Written::Policy(Whole { default, rules }) => Self { default, rules },
        }
    }
}

impl From<Level> for Policy {
    fn from(default: Level) -> Self {
        Self { default, rules: BTreeMap::new() }
    }
}

impl Policy {
    /// What is done about a finding of this rule.
    pub fn level(&self, rule: &str) -> Level {
        let family = rule.split_once(':').map_or(rule, |(family, _)| family);
        self.rules.get(rule).or_else(|| self.rules.get(family)).copied().unwrap_or(self.default)
    }

    /// Whether no finding matters.
    pub(in crate::code) fn is_off(&self) -> bool {
        self.default == Level::Off && self.rules.values().all(|level| *level == Level::Off)
    }

    /// Whether a finding may keep code from running.
    pub(in crate::code) fn may_block(&self) -> bool {
        self.default == Level::Block || self.rules.values().any(|level| *level == Level::Block)
    }

    /// Those that are told, and those among them that keep the code from running.
    pub(in crate::code) fn judge(&self, findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
        let told: Vec<_> = findings.into_iter().filter(|finding| self.level(&finding.rule) != Level::Off).collect();
        let blocking = told.iter().filter(|finding| self.level(&finding.rule) == Level::Block).cloned().collect();
        (told, blocking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_goes_before_its_family_and_that_before_the_default() {
        let policy: Policy =
            serde_json::from_str(r#"{"default": "off", "rules": {"import": "warn", "import:os": "block"}}"#).unwrap();
        let levels = ["import:os", "import:sys", "call:eval"].map(|rule| policy.level(rule));
        assert_eq!(levels, [Level::Block, Level::Warn, Level::Off]);
        assert!(!policy.is_off() && serde_json::from_str::<Policy>("\"off\"").unwrap().is_off());
        assert!(serde_json::from_str::<Policy>("\"allow\"").is_err());
    }
}
