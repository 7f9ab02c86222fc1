//! An event that other servers carry too.

use super::*;

const OTHER: &str = "https://b.example/live/ID/index.m3u8";

fn priority(answer: &Answer) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!((&manifest["VERSION"], &manifest["TTL"]), (&1.into(), &5.into()));
    serde_json::from_value(manifest["PATHWAY-PRIORITY"].clone()).expect("a list")
}

#[tokio::test]
async fn viewers_are_told_of_other_origins_and_sent_there_while_the_slate_shows() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.open();
    bed.segments(6);
    assert!(!bed.get("index.m3u8").await.text().contains("PATHWAY"));
    assert_eq!(bed.get("steering.json").await.status, StatusCode::NOT_FOUND);

    bed.event().set_other_origins("a", &[("b", OTHER)]);
    let index = bed.get("index.m3u8").await;
    assert!(index.text().contains("#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\"a\"\n"));
    assert!(index.uris().contains(&"https://b.example/live/ID/720p/media.m3u8".to_owned()), "{}", index.text());
    let asked = "steering.json?_HLS_pathway=a&_HLS_throughput=5000000";
    let steering = bed.get(asked).await;
    assert_eq!(priority(&steering), ["a", "b"]);
    assert_eq!(steering.header("content-type"), "application/json");
    assert_eq!(steering.header("cache-control"), "public, max-age=1");
    assert_eq!(steering.header("access-control-allow-origin"), "*");

    bed.event().set_well(false);
    assert_eq!(priority(&bed.get(asked).await), ["b", "a"]);
    bed.event().set_well(true);
    assert_eq!(priority(&bed.get(asked).await), ["a", "b"]);

    bed.event().set_viewing(Viewing::HoldBack);
    assert_eq!(bed.get("steering.json").await.status, StatusCode::NOT_FOUND, "paused");
    bed.open();
    bed.segments(1);
    bed.event().set_other_origins("a", &[]);
    assert!(!bed.get("index.m3u8").await.text().contains("b.example"));
}

#[tokio::test]
async fn a_token_stays_at_its_own_origin() {
    let mut bed = Bed::new(Dur::ZERO).await;
    bed.event().set_other_origins("a", &[("b", OTHER)]);
    bed.open();
    bed.segments(6);
    for token in [format!("preview={TOKEN}"), format!("token={TICKET}")] {
        let index = bed.get(&format!("index.m3u8?{token}")).await;
        assert!(index.text().contains(&token) && !index.text().contains("b.example"), "{}", index.text());
        assert_eq!(bed.get(&format!("steering.json?{token}")).await.status, StatusCode::NOT_FOUND);
    }
}
