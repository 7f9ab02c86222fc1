//! A client of server-sent events.

use serde_json::Value;
use std::time::{Duration, Instant};

/// An open stream of events.
pub struct Events {
    response: reqwest::Response,
    pending: String,
}

impl Events {
    /// Takes an answer whose body is an event stream.
    pub fn new(response: reqwest::Response) -> Events {
        assert_eq!(response.status(), 200);
        let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        assert!(kind.starts_with("text/event-stream"), "content type {kind}");
        Events { response, pending: String::new() }
    }

    /// The `data` of the next event that `want` takes, and when it came.
    pub async fn next(&mut self, limit: Duration, what: &str, want: impl Fn(&Value) -> bool) -> (Value, Instant) {
        let until = tokio::time::Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            while let Some((event, rest)) = self.pending.split_once("\n\n") {
                let data: Vec<&str> =
                    event.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect();
                let value: Value = serde_json::from_str(&data.join("\n")).unwrap_or(Value::Null);
                self.pending = rest.to_owned();
                if want(&value) {
                    return (value, Instant::now());
                }
                seen.push(value);
            }
            match tokio::time::timeout_at(until, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.pending += &String::from_utf8_lossy(&bytes).replace("\r\n", "\n"),
                other => panic!("no {what} within {limit:?} ({other:?}); seen: {seen:?}"),
            }
        }
    }

    /// The next change to `status`.
    pub async fn status(&mut self, limit: Duration, status: &str) -> Instant {
        self.next(limit, status, |e| e["type"] == "status" && e["status"] == status).await.1
    }
}
