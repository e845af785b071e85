//! A real Chromium without a window, spoken to over two pipes in the protocol of its developer tools.
//!
//! It answers commands in the order in which they are sent; what it reports meanwhile is kept. Nothing
//! waits for a time: if the browser hangs, `timeout` ends it, and the next read fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// It reads commands from descriptor 3 and answers on descriptor 4.
const START: &str = "exec timeout -k 5 300 chromium --headless=new --no-sandbox --disable-gpu \
    --disable-dev-shm-usage --no-first-run --disable-background-networking \
    --disable-component-update --remote-debugging-pipe --user-data-dir=\"$0\" \
    3<&0 4>&1 </dev/null >\"$0/chromium.log\" 2>&1";

pub(crate) struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    sent: u64,
    session: Option<String>,
    /// What it reported and nobody has waited for.
    events: Vec<Value>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) width: u32,
    pub(crate) scheme: &'static str,
    pub(crate) has_scripts: bool,
}

impl Browser {
    /// With a page that is empty. `folder` is its own, and gets what it downloads.
    pub(crate) fn start(folder: &Path) -> Self {
        let profile = folder.join("chromium");
        fs::create_dir_all(&profile).expect("a folder for the browser");
        let mut child = Command::new("sh")
            .args(["-c", START])
            .arg(&profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut browser =
            Self { child, commands, answers, sent: 0, session: None, events: Vec::new() };
        let downloads =
            json!({ "behavior": "allow", "downloadPath": folder, "eventsEnabled": true });
        browser.command("Browser.setDownloadBehavior", &downloads);
        let page = browser.command("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", &attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            browser.command(domain, &json!({}));
        }
        browser
    }

    /// Waits until it has loaded.
    pub(crate) fn open(&mut self, file: &Path, view: View) {
        let View { width, scheme, has_scripts } = view;
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
        self.command("Emulation.setEmulatedMedia", &media);
        self.command("Emulation.setScriptExecutionDisabled", &json!({ "value": !has_scripts }));
        self.events.clear();
        let url = format!("file://{}", file.display());
        let answer = self.command("Page.navigate", &json!({ "url": url }));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        self.wait(|it| it["method"] == "Page.loadEventFired");
    }

    /// Lays the page out as a printer would, on paper of this width.
    pub(crate) fn lay_out_for_print(&mut self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 1_000, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
        self.command("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    }

    /// The page on paper.
    pub(crate) fn print(&mut self, file: &Path) {
        let answer = self.command("Page.printToPDF", &json!({ "preferCSSPageSize": true }));
        let bytes = BASE64_STANDARD.decode(answer["data"].as_str().expect("a document"));
        fs::write(file, bytes.expect("base64")).expect("the document is written");
    }

    /// The value of an expression, which may be a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression,
            "returnByValue": true,
            "awaitPromise": true,
            "userGesture": true,
        });
        let answer = self.command("Runtime.evaluate", &parameters);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn point_at(&mut self, x: f64, y: f64) {
        let at = json!({ "type": "mouseMoved", "x": x, "y": y });
        self.command("Input.dispatchMouseEvent", &at);
    }

    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.command("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key }));
        }
    }

    /// Clicks on what the selector finds first; the name of the file that comes of it.
    pub(crate) fn download(&mut self, selector: &str) -> String {
        self.value(&format!("document.querySelector({}).click()", json!(selector)));
        let begun = self.wait(|it| it["method"] == "Browser.downloadWillBegin");
        let id = begun["params"]["guid"].clone();
        self.wait(|it| {
            it["method"] == "Browser.downloadProgress"
                && it["params"]["guid"] == id
                && it["params"]["state"] == "completed"
        });
        begun["params"]["suggestedFilename"].as_str().expect("a name").to_owned()
    }

    /// The whole page, as a picture.
    pub(crate) fn picture(&mut self, file: &Path) {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.command("Page.captureScreenshot", &whole);
        let bytes = BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture"));
        fs::write(file, bytes.expect("base64")).expect("the picture is written");
    }

    /// Errors of scripts, of the console and of the browser itself since the page was opened.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |it: &&Value| match it["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning", "assert"].iter().any(|kind| it["params"]["type"] == *kind)
            }
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// Of all that was asked for since the page was opened, itself included.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|it| it["method"] == "Network.requestWillBeSent");
        requests.filter_map(|it| it["params"]["request"]["url"].as_str()).collect()
    }

    fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session
            && !method.starts_with("Browser.")
        {
            message["sessionId"] = json!(session);
        }
        let commands = self.commands.as_mut().expect("it is open until this is dropped");
        commands.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        loop {
            let message = self.read();
            if message["id"] == id {
                assert_eq!(message["error"], Value::Null, "{method} {parameters}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// The first event of this kind, which is then forgotten.
    fn wait(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.events.iter().position(&is_wanted) {
            return self.events.remove(index);
        }
        loop {
            let message = self.read();
            if is_wanted(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).expect("a pipe");
        assert_eq!(
            message.pop(),
            Some(0),
            "chromium ended: is the package installed? see chromium.log"
        );
        serde_json::from_slice(&message).expect("JSON")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when nobody can command it.
        self.commands = None;
        self.child.wait().expect("it was started by this");
    }
}
