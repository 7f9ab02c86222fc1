//! Who may do what: roles, tokens, and links into rooms.

use super::Secret;
use super::model::EventId;
use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;

/// What one may do (PRODUCT §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look at events and their health.
    ReadOnly,
    /// Run events: status, inputs, preview.
    Operator,
    /// Make and change events, keys and links.
    Manager,
    /// Everything, tokens and users included.
    Admin,
}

impl Role {
    /// All, least first.
    pub const ALL: [Role; 4] = [Role::ReadOnly, Role::Operator, Role::Manager, Role::Admin];

    /// As in the API, the command line and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::ReadOnly => "read-only",
            Role::Operator => "operator",
            Role::Manager => "manager",
            Role::Admin => "admin",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who made a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The first start, without any token.
    FirstStart,
    /// `BOOTHCAST_ADMIN_TOKEN`.
    Environment,
    /// `boothcast token create`.
    Command,
}

impl TokenOrigin {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenOrigin::FirstStart => "first-start",
            TokenOrigin::Environment => "environment",
            TokenOrigin::Command => "command",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<TokenOrigin> {
        [TokenOrigin::FirstStart, TokenOrigin::Environment, TokenOrigin::Command]
            .into_iter()
            .find(|o| o.as_str() == text)
    }
}

/// What is known of an API token, which itself is stored as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names it in the audit and to revoke it; no secret.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub origin: TokenOrigin,
    /// When.
    pub created_at: OffsetDateTime,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

/// What a link opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkRole {
    /// A booth.
    Interpreter,
    /// Following a language without delay.
    Participant,
    /// Typing captions.
    Transcriber,
    /// Correcting captions.
    Corrector,
    /// The management room.
    Manager,
    /// The connection test.
    Test,
}

impl LinkRole {
    /// All.
    pub const ALL: [LinkRole; 6] = [
        LinkRole::Interpreter,
        LinkRole::Participant,
        LinkRole::Transcriber,
        LinkRole::Corrector,
        LinkRole::Manager,
        LinkRole::Test,
    ];

    /// As in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            LinkRole::Interpreter => "interpreter",
            LinkRole::Participant => "participant",
            LinkRole::Transcriber => "transcriber",
            LinkRole::Corrector => "corrector",
            LinkRole::Manager => "manager",
            LinkRole::Test => "test",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<LinkRole> {
        LinkRole::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

/// A link that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// What it opens.
    pub role: LinkRole,
    /// The language of its booth, or that it follows.
    pub language: Option<String>,
    /// The other language of a bilingual booth.
    pub second_language: Option<String>,
    /// Whether a participant gets the picture, too.
    pub video: bool,
    /// When it runs out; none: never.
    pub expires_at: Option<OffsetDateTime>,
}

/// A secret link.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Names it; no secret.
    pub id: String,
    /// Whose room it opens; none for the connection test's standing link.
    pub event: Option<EventId>,
    /// What it opens.
    pub role: LinkRole,
    /// The language of its booth, or that it follows.
    pub language: Option<String>,
    /// The other language of a bilingual booth, as it was made.
    pub second_language: Option<String>,
    /// Whether a participant gets the picture, too.
    pub video: bool,
    /// What opens it.
    pub secret: Secret,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it runs out; none: never.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).ok(), Some(role.as_str().into()));
        }
        assert!(Role::Admin > Role::Manager && Role::Manager > Role::Operator && Role::Operator > Role::ReadOnly);
    }
}
