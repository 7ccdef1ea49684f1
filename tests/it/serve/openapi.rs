//! The description of all routes: that it is one, and a program that reads it and tries what it says, and what it doesn't.

use super::client::Request;
use super::{ANN, Server};
use crate::support::{self, finish};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_name_in_it_leads_somewhere_and_no_operation_lacks_anything() {
    let server = Server::start(&[]);
    let document = server.send(&Request::get("/openapi.json")).expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (id, method, path) in server.operations() {
        assert!(ids.insert(id.clone()), "{id} twice");
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{id}");
        assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object(), "{id}");
        let named = path.matches('{').count();
        let parameters = operation["parameters"].as_array().unwrap();
        assert_eq!(parameters.iter().filter(|parameter| parameter["in"] == "path").count(), named, "{id}");
        // It is a route, and a token is asked for before anything else.
        server.send(&Request::new(&method, &path.replace(['{', '}'], ""))).problem(401, "unauthorized");
    }
    server.stop();
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                references.insert(reference.to_owned());
            }
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn schemathesis_finds_nothing_that_is_not_as_described() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/schemathesis/bin/schemathesis");
    let is_there = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        return support::skip(
            "needs the package `schemathesis` for Python in target/schemathesis, where tests/run installs it",
        );
    }
    let server = Server::start(&["--time", "2s", "--memory", "128M"]);
    let host = server.address.host();
    // Something for it to find: what is not there is soon told.
    server.sandbox("box");
    let mut command = Command::new(program);
    command.arg("run").arg(format!("http://{host}/openapi.json")).current_dir(server.home.scratch.path(""));
    command.args(["--header", &format!("Authorization: Bearer {ANN}")]);
    command.args(["--checks", CHECKS, "--max-examples", "4", "--phases", "examples,coverage,fuzzing", "--seed", "7"]);
    command.args([
        "--request-timeout",
        "60",
        "--max-failures",
        "5",
        "--suppress-health-check",
        "all",
        "--workers",
        "2",
    ]);
    // It speaks neither these protocols nor tar.
    let others = [
        "attach",
        "followLogs",
        "followBuildLogs",
        "uploadArchiveOfSandbox",
        "uploadArchiveOfWorkspace",
        "buildArchive",
        "importWorkspace",
    ];
    for id in others {
        command.args(["--exclude-operation-id", id]);
    }
    command.env("HOME", server.home.scratch.path("")).env("NO_COLOR", "1");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (code, stdout, stderr) = finish(child);
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    // It asked everybody for something.
    assert!(stdout.contains(" passed") || stdout.contains("No issues found"), "{stdout}");
    server.stop();
}

/// All that hold without knowing what names there are.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      unsupported_method,ignored_auth";
