//! Contribution: sockets → `wire` → `media::timeline` → a publisher in the hub.
