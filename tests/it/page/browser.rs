//! A real browser, spoken to by the Chrome DevTools Protocol through a pipe: messages are JSON, each with a NUL behind it.

use super::PATIENCE;
use crate::sandbox::Scratch;
use crate::support;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

const OPTIONS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-dev-shm-usage --disable-breakpad --window-size=1200,800 \
    --remote-debugging-pipe";

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What went wrong in the page: exceptions, and what its policy forbade.
    pub(super) wrong: Vec<String>,
    /// What was answered to whom, and what was not: `Network.responseReceived` and `Network.loadingFailed`, if that is enabled.
    pub(super) network: Vec<Value>,
    _home: Scratch,
}

impl Browser {
    /// `None`, after a loud skip, where there is none.
    pub(super) fn start() -> Option<Self> {
        if !support::has_program("chromium") {
            return None;
        }
        let home = Scratch::new();
        // It reads 3 and writes to 4.
        let script = format!(
            "exec chromium {OPTIONS} --user-data-dir=\"$HOME/profile\" about:blank 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("HOME", home.path("")).env_remove("DISPLAY").process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let _test_is_over = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let (wrong, network) = (Vec::new(), Vec::new());
        let mut browser = Self { child, input, messages, number: 0, session: None, wrong, network, _home: home };
        let targets = browser.call("Target.getTargets", json!({}));
        let page =
            targets["targetInfos"].as_array().unwrap().iter().find(|info| info["type"] == "page").unwrap().clone();
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Accessibility.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.number {
                return if message["error"].is_null() {
                    Ok(message["result"].take())
                } else {
                    Err(message["error"].take())
                };
            }
            let entry = &message["params"]["entry"];
            let is_wrong = message["method"] == "Runtime.exceptionThrown"
                || (entry["level"] == "error" && entry["source"] != "network");
            if is_wrong {
                self.wrong.push(message["params"].to_string());
            }
            if message["method"] == "Network.responseReceived" || message["method"] == "Network.loadingFailed" {
                self.network.push(message["params"].take());
            }
        }
    }

    pub(super) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// What an expression is in the page; a promise is waited for.
    pub(super) fn js(&mut self, expression: &str) -> Value {
        self.try_js(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_js(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.try_call("Runtime.evaluate", parameters)?;
        if result["exceptionDetails"].is_null() { Ok(result["result"]["value"].take()) } else { Err(result) }
    }

    /// Waits until a condition holds in the page. It is looked at in there, and again where the page has changed meanwhile.
    pub(super) fn wait(&mut self, condition: &str) {
        let look = format!(
            "new Promise((done) => {{ let left = 100; const look = () => {{ const is = Boolean({condition}); \
             if (is || !left--) done(is); else setTimeout(look, 20); }}; look(); }})"
        );
        let start = Instant::now();
        while self.try_js(&look).ok() != Some(json!(true)) {
            if start.elapsed() > PATIENCE {
                let text = self.js("document.body.innerText");
                panic!("never came: {condition}\nthe page: {text}\nwrong: {:?}", self.wrong);
            }
        }
    }

    /// Types as a keyboard would, wherever the focus is.
    pub(super) fn type_in(&mut self, text: &str) {
        for key in text.chars() {
            self.press(&key.to_string(), 0, &key.to_string(), 0);
        }
    }

    pub(super) fn press(&mut self, key: &str, code: u32, text: &str, modifiers: u32) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let parameters = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text, "modifiers": modifiers});
            self.call("Input.dispatchKeyEvent", parameters);
        }
    }

    pub(super) fn enter(&mut self) {
        self.press("Enter", 13, "\r", 0);
    }

    /// Presses the button of this name, where names are those that a screen reader tells.
    pub(super) fn push(&mut self, name: &str) {
        let name = json!(name);
        let find = format!(
            "[...document.querySelectorAll('button')].filter((one) => (one.ariaLabel ?? one.textContent) === {name} && !one.disabled).at(-1)"
        );
        self.wait(&find);
        self.js(&format!("{find}.click()"));
    }

    /// Chooses a file or a folder for an input of the page.
    pub(super) fn choose(&mut self, selector: &str, path: &Path) {
        let document = self.call("DOM.getDocument", json!({}));
        let found = json!({"nodeId": document["root"]["nodeId"], "selector": selector});
        let input = self.call("DOM.querySelector", found);
        self.call("DOM.setFileInputFiles", json!({"nodeId": input["nodeId"], "files": [path]}));
    }

    /// Everything that can be used has a name that can be told.
    pub(super) fn is_accessible(&mut self) {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap();
        let role = |node: &Value| node["role"]["value"].as_str().unwrap_or_default().to_owned();
        let used =
            ["button", "link", "textbox", "combobox", "checkbox", "searchbox", "img", "navigation", "dialog", "region"];
        for node in nodes.iter().filter(|node| node["ignored"] != true && used.contains(&role(node).as_str())) {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "a {} without a name: {node}", role(node));
        }
        // A dialog is all that there is while it is open.
        let landmarks: &[&str] =
            if nodes.iter().any(|node| role(node) == "dialog") { &["heading"] } else { &["main", "banner", "heading"] };
        for landmark in landmarks {
            assert!(nodes.iter().any(|node| role(node) == *landmark), "no {landmark}");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes are in its group, and write to its profile.
        let _gone = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ended = self.child.wait();
    }
}
