//! The control API and everything else over HTTP, as an outside program calls it.

use super::eventually;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Once;
use std::time::Duration;

/// A client of one daemon.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
    asked: String,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// This answer, if it has the status that is wanted.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.asked, self.text());
        self
    }

    /// A header as text, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

/// A client that takes any certificate, as tests make their own.
pub fn client() -> reqwest::Client {
    builder().build().expect("the client's settings are right")
}

/// The same, to be refined.
pub fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("no other TLS provider is installed");
    });
    reqwest::Client::builder().danger_accept_invalid_certs(true).timeout(Duration::from_secs(20))
}

impl Api {
    /// A client of the daemon at `base`.
    pub fn new(base: &str, token: Option<&str>) -> Api {
        Api { client: client(), base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same daemon, without a token: what a viewer may do.
    pub fn anonymous(&self) -> Api {
        Api { token: None, ..self.clone() }
    }

    /// Calls `path`, which may also be a whole address.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.try_call(method, path, body).await.unwrap_or_else(|e| panic!("{path}: {e:?}"))
    }

    /// The same, where the daemon may be down.
    pub async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Reply, reqwest::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let asked = format!("{method} {url}");
        let mut request = self.client.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Reply { status, headers, body: answer.bytes().await?.to_vec(), asked })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    /// POST with JSON.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT with JSON.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Starts a request whose body is read as it comes.
    pub async fn stream(&self, path: &str, accept: &str) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.base)).header("accept", accept);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.timeout(Duration::from_secs(120)).send().await.unwrap()
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Creates an event with a ladder.
    pub async fn event(&self, ladder: Value) -> Event {
        self.event_with(json!({"ladder": ladder})).await
    }

    /// Creates an event with these settings beside a name and the floor's language.
    pub async fn event_with(&self, settings: Value) -> Event {
        let mut body = json!({"name": "End to end", "floor_language": "en"});
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let reply = self.post("/api/v1/events", body).await.expect(201).json();
        let text = |v: &Value| v.as_str().unwrap_or_else(|| panic!("missing in {reply:#}")).to_owned();
        let main = &reply["inputs"]["main"];
        Event {
            id: text(&reply["id"]),
            rtmp_url: text(&main["rtmp_url"]),
            rtmp_key: text(&main["rtmp_key"]),
            preview_url: text(&reply["preview_url"]),
            made: reply.clone(),
            api: self.clone(),
        }
    }
}

/// An event of a test.
#[derive(Clone)]
pub struct Event {
    pub id: String,
    pub rtmp_url: String,
    pub rtmp_key: String,
    /// The multivariant playlist for managers.
    pub preview_url: String,
    /// The whole answer that made it, with its links.
    pub made: Value,
    api: Api,
}

impl Event {
    /// What an encoder takes as address.
    pub fn publish_url(&self) -> String {
        format!("{}/{}", self.rtmp_url, self.rtmp_key)
    }

    /// The multivariant playlist for viewers.
    pub fn playlist(&self) -> String {
        format!("{}/live/{}/index.m3u8", self.api.base, self.id)
    }

    /// The viewer page.
    pub fn watch(&self) -> String {
        format!("{}/watch/{}", self.api.base, self.id)
    }

    /// Asks for a status.
    pub async fn try_status(&self, status: &str) -> Reply {
        self.api.put(&format!("/api/v1/events/{}/status", self.id), json!({"status": status})).await
    }

    /// Sets a status that must be allowed.
    pub async fn status(&self, status: &str) {
        let event = self.try_status(status).await.expect(200).json();
        assert_eq!(event["status"], status);
    }

    /// The event as the API has it now.
    pub async fn get(&self) -> Value {
        self.api.get(&format!("/api/v1/events/{}", self.id)).await.expect(200).json()
    }

    /// Changes its settings.
    pub async fn change(&self, settings: Value) {
        self.api.patch(&format!("/api/v1/events/{}", self.id), settings).await.expect(200);
    }

    /// Waits until this input feeds the programme.
    pub async fn on_air(&self, input: &str, limit: Duration) {
        eventually(limit, &format!("{input} on air"), || async {
            (self.inputs().await["active"] == input).then_some(())
        })
        .await;
    }

    /// The health of its inputs.
    pub async fn inputs(&self) -> Value {
        self.api.get(&format!("/api/v1/events/{}/inputs", self.id)).await.expect(200).json()
    }
}
