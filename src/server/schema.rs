//! The shapes of what goes in and out, for the description of the routes. Most are derived from the types; those of the
//! contract are written here, with the limits from their own table.

use pinfold::Limits;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What an id looks like.
const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$";

/// All shapes that are named so far.
#[derive(Debug)]
pub(super) struct Schemas(SchemaGenerator);

impl Default for Schemas {
    fn default() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        Self(settings.into_generator())
    }
}

impl Schemas {
    /// The shape of a type, by its name.
    pub(super) fn of<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }

    /// What a path has in braces.
    pub(super) fn path_parameters(&self, path: &str) -> Vec<Value> {
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let plain = json!({"type": "string", "pattern": ID});
        let text = json!({"type": "string", "minLength": 1, "maxLength": 200});
        let is_text = |name: &str| ["workspace", "holder", "thread"].contains(&name);
        let schema = |name: &str| if is_text(name) { text.clone() } else { plain.clone() };
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": schema(name)})).collect()
    }

    /// The fields of a query.
    pub(super) fn query_parameters<Q: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = Q::json_schema(&mut self.0).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let Some(fields) = schema["properties"].as_object() else { return Vec::new() };
        let parameter = |(name, schema): (&String, &Value)| {
            let words = schema["description"].as_str().unwrap_or_default();
            let is_required = required.contains(&json!(name));
            let mut schema = schema.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("description");
                // One that is left out is left out, and not null.
                if let Some(Value::Array(types)) = schema.get_mut("type") {
                    types.retain(|kind| kind != "null");
                }
            }
            json!({"name": name, "in": "query", "required": is_required, "description": words, "schema": schema})
        };
        fields.iter().map(parameter).collect()
    }

    /// A job, as far as a client may say something of it.
    pub(super) fn job(&mut self) -> Value {
        let content = content(&mut self.0).to_value();
        let files = files(&mut self.0).to_value();
        json!({
            "type": "object",
            "description": "A job of the contract, without what is the operator's to say.",
            "additionalProperties": false,
            "properties": {
                "version": {"const": 1},
                "command": {"type": "array", "items": {"type": "string", "pattern": "^[^\\x00]*$"}, "minItems": 1},
                "env": environment(),
                "user": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,4}):(0|[1-9][0-9]{0,4})$"},
                "cwd": {"type": "string", "pattern": "^/workspace(/[A-Za-z0-9_]+)*$"},
                "stdin": content,
                "files": files,
                "workspace": {"enum": ["temp", "tmpfs"]},
                "network": {"description": "`none`, or what the operator allows.",
                    "anyOf": [{"const": "none"}, {"const": "host"},
                        {"type": "object", "required": ["allow"], "additionalProperties": false,
                         "properties": {"allow": {"type": "array", "items": {"type": "string"}}}}]},
                "limits": limits(&mut self.0).to_value(),
                "seccomp": {"enum": ["default", "strict"]},
                "require": {"type": "array", "items": {"enum": ["cgroup", "landlock", "memory", "pids", "cpu", "workspace", "groups"]}},
            },
        })
    }

    /// All that were named.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        self.0.take_definitions(true)
    }
}

fn environment() -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"type": "string", "pattern": "^[^\\x00]*$"},
    })
}

/// Text, or bytes.
pub(super) fn content(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["base64"], "additionalProperties": false,
         "properties": {"base64": {"type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*$"}}},
    ]}))
}

/// Files to put somewhere.
pub(super) fn files(generator: &mut SchemaGenerator) -> Schema {
    let content = content(generator).to_value();
    let path = json!({"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", "maxLength": 200});
    schema(json!({"type": "array", "items": {
        "type": "object", "required": ["path", "content"], "additionalProperties": false,
        "properties": {"path": path, "content": content, "executable": {"type": "boolean"}},
    }}))
}

/// The limits of a job, from their own table.
pub(super) fn limits(_: &mut SchemaGenerator) -> Schema {
    let mut fields = Map::new();
    for name in Limits::NAMES {
        let number = match (*name, Limits::range(name)) {
            ("cpuset", _) => {
                json!({"type": "string", "pattern": "^[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,3}(-[0-9]{1,3})?)*$"})
            }
            ("cpus", Some(range)) => json!({"anyOf": [bounded("number", &range), {"const": "max"}]}),
            (_, Some(range)) => json!({"anyOf": [bounded("integer", &range), {"const": "max"}]}),
            (_, None) => json!({}),
        };
        fields.insert((*name).to_owned(), number);
    }
    schema(json!({"type": "object", "additionalProperties": false, "properties": fields,
        "description": "A number within the range, or `max`. The operator's own limits are the most."}))
}

fn bounded(kind: &str, range: &str) -> Value {
    let number = |text: &str| text.parse::<Value>().unwrap_or_default();
    match range.split_once(" to ") {
        Some((low, high)) => json!({"type": kind, "minimum": number(low), "maximum": number(high)}),
        None => json!({"type": kind}),
    }
}

/// The result of a job.
pub(super) fn outcome(generator: &mut SchemaGenerator) -> Schema {
    let content = content(generator).to_value();
    let statuses = [
        "exited",
        "signaled",
        "timed_out",
        "cpu_exceeded",
        "out_of_memory",
        "workspace_exceeded",
        "cancelled",
        "failed",
    ];
    schema(json!({
        "type": "object",
        "description": "The result of the contract.",
        "required": ["version", "id", "status", "exit_code", "stdout", "stderr", "usage", "isolation", "error"],
        "properties": {
            "version": {"const": 1},
            "id": {"type": "string"},
            "status": {"enum": statuses},
            "exit_code": {"type": ["integer", "null"]},
            "signal": {"type": ["string", "null"]},
            "stdout": content,
            "stderr": content,
            "stdout_bytes": {"type": "integer"},
            "stderr_bytes": {"type": "integer"},
            "stdout_truncated": {"type": "boolean"},
            "stderr_truncated": {"type": "boolean"},
            "usage": {"type": "object"},
            "isolation": {"type": "object"},
            "error": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["code", "message"],
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "hint": {"type": ["string", "null"]}}}]},
        },
    }))
}

/// An id, if there is one.
pub(super) fn id(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"anyOf": [{"type": "string", "pattern": ID}, {"type": "null"}]}))
}

/// One word of several that the documentation has.
pub(super) fn word(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "string"}))
}

/// An object whose fields the documentation has.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "object"}))
}

/// The same, in a list.
pub(super) fn objects(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "array", "items": {"type": "object"}}))
}

fn schema(value: Value) -> Schema {
    Schema::try_from(value).unwrap_or_default()
}
