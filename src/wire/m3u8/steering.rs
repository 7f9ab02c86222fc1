//! Content Steering: several origins of one presentation, and which of them a player should take (RFC 8216bis §7).

use super::{Suffix, quoted, text};
use serde_json::json;

/// A set of origins that carry the same presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Where the steering manifest is, relative to the multivariant playlist.
    pub server: String,
    /// PATHWAY-ID of the origin that writes the playlist.
    pub own: String,
    /// The others, in their order of preference.
    pub others: Vec<Pathway>,
}

/// Another origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    /// PATHWAY-ID.
    pub id: String,
    /// The absolute address that its playlists' names follow; ends in `/`.
    pub base: String,
}

impl Pathway {
    /// The origin whose multivariant playlist is at `url`.
    pub fn of(id: &str, url: &str) -> Pathway {
        let end = url.rfind('/').map_or(0, |slash| slash + 1);
        Pathway { id: id.to_owned(), base: url[..end].to_owned() }
    }
}

impl Steering {
    /// EXT-X-CONTENT-STEERING (§4.4.6.6).
    pub(super) fn tag(&self, suffix: &Suffix, out: &mut String) {
        out.push_str("#EXT-X-CONTENT-STEERING:SERVER-URI=");
        quoted(&format!("{}{}", self.server, suffix.as_str()), out);
        text(out, "PATHWAY-ID", &self.own);
        out.push('\n');
    }

    /// The steering manifest (§7.2): the own pathway first while it is `well`, else last. To be loaded again after `ttl`
    /// seconds.
    pub fn manifest(&self, well: bool, ttl: u32) -> String {
        let others = self.others.iter().map(|p| p.id.as_str());
        let priority: Vec<&str> = match well {
            true => std::iter::once(self.own.as_str()).chain(others).collect(),
            false => others.chain([self.own.as_str()]).collect(),
        };
        json!({ "VERSION": 1, "TTL": ttl, "PATHWAY-PRIORITY": priority }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_puts_itself_first_while_it_is_well() {
        let other = Pathway::of("b", "https://b.example/x/live/ID/index.m3u8");
        assert_eq!(other.base, "https://b.example/x/live/ID/");
        let steering = Steering { server: "steering.json".into(), own: "a".into(), others: vec![other] };
        assert_eq!(steering.manifest(true, 5), r#"{"PATHWAY-PRIORITY":["a","b"],"TTL":5,"VERSION":1}"#);
        assert_eq!(steering.manifest(false, 5), r#"{"PATHWAY-PRIORITY":["b","a"],"TTL":5,"VERSION":1}"#);
        let mut out = String::new();
        steering.tag(&Suffix::none(), &mut out);
        assert_eq!(out, "#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\"a\"\n");
    }
}
