//! The rules of Content Steering and redundant streams: several origins of one presentation.

use super::{Attributes, Found, Multivariant, PATHWAYS, STEERING, Variant, demand};

impl Multivariant {
    /// PATHWAY-IDs in their order; empty where no variant has one.
    pub fn pathways(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for id in self.variants.iter().filter_map(|v| v.attributes.get("PATHWAY-ID")) {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    /// What one pathway has: a presentation by itself.
    pub fn of_pathway(&self, id: &str) -> Multivariant {
        let variants: Vec<Variant> =
            self.variants.iter().filter(|v| v.attributes.get("PATHWAY-ID").is_some_and(|p| p == id)).cloned().collect();
        let named = |r: &&Attributes| {
            let group = r.get("GROUP-ID");
            variants.iter().any(|v| ["AUDIO", "SUBTITLES"].iter().any(|key| v.attributes.get(*key) == group))
        };
        let renditions = self.renditions.iter().filter(named).cloned().collect();
        Multivariant { variants, renditions, independent: self.independent, steering: Vec::new() }
    }
}

/// What a playlist says of its pathways.
pub fn check(playlist: &Multivariant, out: &mut Found) {
    let pathways = playlist.pathways();
    if let Some(steering) = playlist.steering.first() {
        let named = steering.get("PATHWAY-ID").is_none_or(|id| pathways.contains(id));
        let server = steering.get("SERVER-URI").is_some_and(|uri| !uri.is_empty());
        demand(out, &STEERING, playlist.steering.len() == 1 && named && server, format!("{:?}", playlist.steering));
    }
    // By what is there apart from where it is.
    let content = |id: &String| {
        let part = playlist.of_pathway(id);
        let stripped = |list: &Attributes| {
            let place = ["URI", "PATHWAY-ID", "GROUP-ID", "AUDIO", "SUBTITLES"];
            let kept = list.iter().filter(|(key, _)| !place.contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Attributes>()
        };
        let variants: Vec<_> = part.variants.iter().map(|v| (v.iframes, stripped(&v.attributes))).collect();
        (variants, part.renditions.iter().map(stripped).collect::<Vec<_>>())
    };
    let groups = |id: &String| -> Vec<String> {
        playlist.of_pathway(id).renditions.iter().filter_map(|r| r.get("GROUP-ID").cloned()).collect()
    };
    for (i, id) in pathways.iter().enumerate().skip(1) {
        let same = content(id) == content(&pathways[0]);
        let shared = pathways[..i].iter().any(|other| groups(other).iter().any(|g| groups(id).contains(g)));
        demand(out, &PATHWAYS, same && !shared, format!("{id} against {}", pathways[0]));
    }
}
