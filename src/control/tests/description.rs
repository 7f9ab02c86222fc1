use super::*;
use crate::control::api::{Access, table};
use crate::control::openapi::document;
use std::collections::BTreeSet;

/// Routes that are pages and their parts, not the API.
const PAGES: [&str; 11] = [
    "/",
    "/watch/{id}",
    "/embed/{id}",
    "/assets/{*path}",
    "/player.js",
    "/api/docs",
    "/api/docs/{file}",
    "/booth/{secret}",
    "/manage/{id}",
    "/participant/{secret}",
    "/test/{secret}",
];

fn described() -> Value {
    serde_json::to_value(document()).expect("JSON")
}

#[test]
fn every_route_is_described_and_every_described_route_exists() {
    let routes: BTreeSet<(String, String)> =
        table().iter().filter(|r| !PAGES.contains(&r.path)).map(|r| (r.path.to_owned(), r.method.to_owned())).collect();
    let paths = described()["paths"].as_object().cloned().expect("paths");
    let operations: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("item").keys().map(|m| (path.clone(), m.clone())))
        .collect();
    assert_eq!(routes, operations);
}

#[test]
fn operations_say_who_may_and_what_is_answered() {
    let document = described();
    for route in table().iter().filter(|r| !PAGES.contains(&r.path)) {
        let operation = &document["paths"][route.path][route.method];
        let name = format!("{} {}", route.method, route.path);
        assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 5), "{name} has no summary");
        let answers = operation["responses"].as_object().expect("responses");
        // 101 is how a WebSocket begins.
        assert!(answers.keys().any(|status| status.starts_with('2') || status == "101"), "{name}");
        match route.access {
            Access::Role(role) => {
                assert_eq!(operation["x-role"], role.as_str(), "{name}");
                assert!(answers.contains_key("401") && answers.contains_key("403"), "{name}");
                assert!(operation["security"].is_null(), "{name}: the document's own counts");
            }
            Access::Public => assert_eq!(operation["security"], json!([{}]), "{name}"),
        }
        if route.path.contains("{id}") {
            assert!(answers.contains_key("404"), "{name}");
            let named = operation["parameters"].as_array().expect("parameters");
            assert!(named.iter().any(|p| p["name"] == "id" && p["in"] == "path"), "{name}");
        }
        if !operation["requestBody"].is_null() {
            for status in ["400", "413", "415", "422"] {
                assert!(answers.contains_key(status), "{name} {status}");
            }
        }
    }
}

#[test]
fn references_lead_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.insert(reference.clone());
                }
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = described();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("local");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // What refers to another schema is described there.
            let said = !property["description"].is_null() || property.to_string().contains("$ref");
            assert!(said || matches!(name.as_str(), "StatusEdit" | "ActiveEdit"), "{name}.{field} says nothing");
        }
    }
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let w = world().await;
    let event = w
        .event(json!({"name": "x", "languages": [{"language": "de", "kind": "interpreted"}], "appearance": {"service_message": {"text": "x"}}}))
        .await;
    let path = format!("/api/v1/events/{}", id_of(&event));
    let document = described();
    let fields = |schema: &str| -> (BTreeSet<String>, BTreeSet<String>) {
        let schema = &document["components"]["schemas"][schema];
        let names = schema["properties"].as_object().expect("a schema has properties").keys().cloned().collect();
        let needed =
            schema["required"].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        (names, needed)
    };
    let holds = |schema: &str, value: &Value| {
        let (names, needed) = fields(schema);
        let shown: BTreeSet<String> = value.as_object().expect("object").keys().cloned().collect();
        assert!(
            shown.is_subset(&names),
            "{schema}: {:?} are not described",
            shown.difference(&names).collect::<Vec<_>>()
        );
        assert!(needed.is_subset(&shown), "{schema}: {:?} are missing", needed.difference(&shown).collect::<Vec<_>>());
    };
    holds("EventView", &event);
    holds("BoothLinkView", &event["booths"][0]);
    let booths = w.get(&format!("{path}/booths")).await.json();
    holds("BoothList", &booths);
    holds("BoothView", &booths["items"][0]);
    let links = w.get(&format!("{path}/links")).await.json();
    holds("LinkList", &links);
    holds("LinkView", &links["items"][0]);
    holds("TestList", &w.get("/api/v1/connection-tests").await.json());
    holds("EventView", &w.ask(w.request(Some(Role::ReadOnly), "GET", &path, None)).await.json());
    holds("InputView", &event["inputs"]["main"]);
    holds("Appearance", &event["appearance"]);
    holds("Language", &event["languages"][0]);
    holds("ServiceMessage", &event["appearance"]["service_message"]);
    holds("StateView", &w.get(&format!("{path}/state")).await.json());
    holds("Inputs", &w.get(&format!("{path}/inputs")).await.json());
    holds("EventList", &w.get("/api/v1/events").await.json());
    holds("Health", &w.get("/readyz").await.json());
    let (names, needed) = fields("NewEvent");
    assert_eq!(needed, BTreeSet::from(["name".to_owned()]));
    // Every described field of a request is taken, and each that is taken is described.
    let unknown = w.call("POST", "/api/v1/events", Some(json!({"?": 1}))).await.json();
    let message = unknown["errors"][0]["message"].as_str().expect("message").to_owned();
    let taken: BTreeSet<String> = message.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert_eq!(taken, names, "{message}");
    let (problem, _) = fields("Problem");
    for member in ["type", "title", "status", "detail", "errors"] {
        assert!(problem.contains(member));
    }
}

#[tokio::test]
async fn the_description_is_served_with_a_page_that_needs_nothing_else() {
    let w = world().await;
    let answer = w.ask(w.request(None, "GET", "/api/v1/openapi.json", None)).await;
    assert_eq!(answer.json(), described());
    assert!(answer.json()["openapi"].as_str().expect("version").starts_with("3."));
    let page = w.ask(w.request(None, "GET", "/api/docs", None)).await;
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    for link in ["docs/docs.css", "docs/docs.js"] {
        assert!(text.contains(&format!("\"{link}\"")));
        let file = w.ask(w.request(None, "GET", &format!("/api/{link}"), None)).await;
        assert_eq!(file.status, 200);
        assert!(!String::from_utf8_lossy(&file.body).contains("http"), "nothing from elsewhere");
    }
    assert!(!text.contains("http") && !text.contains("<style") && !text.contains("onload"), "{text}");
}
