//! Other daemons beside this one.

use serde::{Deserialize, Serialize};

/// Another daemon that carries the same event, fed by the same encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OtherOrigin {
    /// What players call it, that daemon's `[origin] pathway`: 1 to 32 of `a-z A-Z 0-9 . - _`.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9._-]+$")]
    pub pathway: String,
    /// The `hls_url` of the event there: `https://` or `http://`, ending in `/index.m3u8`, without a query.
    #[schema(max_length = 2000, pattern = "^https?://.+/index\\.m3u8$")]
    pub hls_url: String,
}
