//! A page in headless Chromium: what it says on its console, what it loads, what it shows.
//!
//! Chromium is driven by its DevTools protocol over a pair of pipes (`--remote-debugging-pipe`): messages of JSON that end in a zero
//! byte. So there is no port to wait for, and nothing is needed but JSON.

#![allow(dead_code, reason = "each test uses its share")]

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a page may take to load, or a browser to start, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A page in a browser of its own, which ends with it.
pub struct Page {
    browser: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    loaded: bool,
    complaints: Vec<String>,
    requests: Vec<String>,
    /// The browser's profile.
    _profile: tempfile::TempDir,
}

/// The browser's path; `None`, with the reason on standard error, when there is none and none can be had. That fails the test where
/// `GLEANER_BROWSER=required`.
fn browser() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/install.sh");
    let output = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let reason = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().to_string()),
        Some(77) if std::env::var_os("GLEANER_BROWSER").is_none_or(|set| set != "required") => {
            eprintln!("skipped: {}", reason.trim().lines().last().unwrap_or_default());
            None
        }
        _ => panic!("{reason}"),
    }
}

impl Page {
    /// Opens a file in a window of `width` by `height`, and waits until it is loaded. `None` when there is no browser: the test is to end
    /// then, and has said so.
    pub fn open(file: &Path, (width, height): (u32, u32)) -> Option<Page> {
        let browser = browser()?;
        let profile = tempfile::tempdir().unwrap();
        // The protocol's pipes are file descriptors 3 and 4.
        let script = r#"exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec "$0" "$@""#;
        let mut child = Command::new("sh")
            .args(["-c", script, &browser, "--headless", "--remote-debugging-pipe", "--no-first-run"])
            // Pages are our own. A sandbox, or shared memory of more than 64 MiB, is not to be had in many a container.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"])
            .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},{height}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut page = Page {
            browser: child,
            to,
            from,
            session: None,
            last_id: 0,
            loaded: false,
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = page.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        page.session = Some(session["sessionId"].as_str().unwrap().to_string());
        for domain in ["Runtime", "Log", "Page", "Network"] {
            page.ask(&format!("{domain}.enable"), json!({}));
        }
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        page.ask("Emulation.setDeviceMetricsOverride", metrics);
        let url = format!("file://{}", file.canonicalize().unwrap().display());
        page.loaded = false;
        page.ask("Page.navigate", json!({"url": url}));
        while !page.loaded {
            page.receive();
        }
        Some(page)
    }

    /// The value of a JavaScript expression; that of the promise if it is one.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(&format!("!!({expression})")) != true {
            assert!(start.elapsed() < PATIENCE, "`{expression}` does not come true");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, by its name in JavaScript's `KeyboardEvent.key`: `ArrowRight`, `Home`.
    pub fn press(&mut self, key: &str) {
        for event in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({"type": event, "key": key, "code": key}));
        }
    }

    /// Moves the mouse to a place in the window.
    pub fn point_at(&mut self, x: f64, y: f64) {
        self.ask("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": x, "y": y}));
    }

    /// Shows the page as it is printed, or on a screen again.
    pub fn emulate_print(&mut self, print: bool) {
        self.ask("Emulation.setEmulatedMedia", json!({"media": if print { "print" } else { "" }}));
    }

    /// Writes what the window shows to a PNG file, or with `whole` all of the page.
    pub fn screenshot(&mut self, to: &Path, whole: bool) {
        let mut asked = json!({"format": "png"});
        if whole {
            let size = self.ask("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
            asked["captureBeyondViewport"] = json!(true);
            asked["clip"] = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        }
        let shot = self.ask("Page.captureScreenshot", asked);
        fs::write(to, base64(shot["data"].as_str().unwrap())).unwrap();
    }

    /// Errors and warnings on the console, and exceptions that nothing caught, until now.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// What the page has loaded beside itself: nothing, if it is self-contained.
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    /// Asks for something, and waits for the answer.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser listens");
        loop {
            let answer = self.receive();
            if answer["id"] == self.last_id {
                assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    /// The next message. Events are noted.
    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.consoleAPICalled") if ["error", "warning", "assert"].iter().any(|t| params["type"] == *t) => {
                self.complaints.push(params["args"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] != "verbose" => {
                self.complaints.push(params["entry"].to_string());
            }
            Some("Network.requestWillBeSent") if params["type"] != "Document" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                // What stands in the page itself is no file.
                if !url.starts_with("data:") && !url.starts_with("blob:") {
                    self.requests.push(url.to_string());
                }
            }
            _ => {}
        }
        message
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

/// Decodes base64.
fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().enumerate().fold(0u32, |bits, (i, digit)| bits | u32::from(*digit) << (18 - 6 * i));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}
