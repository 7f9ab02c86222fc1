//! Pull by SRT: we call, and a transport stream comes.
//!
//! **Bound.** What [`crate::srt`] and [`crate::wire::mpegts`] hold for a connection. A server that sends nothing is left after
//! [`MEDIA_TIMEOUT`].

use super::super::srt::{MEDIA_TIMEOUT, Meters, STATS_INTERVAL, deliver};
use super::{Attempt, End, Place, Source, SourceError, stopped};
use crate::media::Dur;
use crate::srt::{ConnectError, KeyLength, Link, Options, PASSPHRASE};
use crate::wire::mpegts::{Demux, Event};
use secrecy::ExposeSecret;
use std::convert::Infallible;
use std::net::SocketAddr;

/// The longest latency that an address may ask for, ms: libsrt's buffer holds that much at 10 Mbps.
const MAX_LATENCY_MS: i64 = 8000;

/// What comes ahead of the first picture and sound and is kept for it: tables and headers of a few tracks.
const MAX_EARLY: usize = 64;

/// What an address says of the call, as libsrt's own tools read it: `streamid`, `passphrase`, `pbkeylen` (16 or 32) and
/// `latency` in milliseconds; `mode` can only be `caller`.
pub(super) fn options(source: &Source) -> Result<Options, SourceError> {
    let mut options = Options::default();
    let wrong = |what: &'static str| Err(SourceError::Srt(what));
    for (key, value) in source.url.query_pairs() {
        match key.as_str() {
            "streamid" | "srt_streamid" if value.expose_secret().len() > 512 => {
                return wrong("has a streamid of more than 512 bytes");
            }
            "streamid" | "srt_streamid" => options.stream_id = Some(value),
            "passphrase" if !PASSPHRASE.contains(&value.expose_secret().len()) => {
                return wrong("has a passphrase that is not of 10 to 79 characters");
            }
            "passphrase" => options.passphrase = Some(value),
            "pbkeylen" => match value.expose_secret() {
                "16" => options.key_length = KeyLength::Aes128,
                "32" | "0" => options.key_length = KeyLength::Aes256,
                _ => return wrong("has a pbkeylen that is neither 16 nor 32"),
            },
            "latency" => match value.expose_secret().parse() {
                Ok(ms @ 0..=MAX_LATENCY_MS) => options.latency = Dur::from_millis(ms),
                _ => return wrong("has a latency that is not 0 to 8000 (milliseconds)"),
            },
            "mode" if value.expose_secret() != "caller" => {
                return wrong("has a mode other than caller: the server must listen");
            }
            _ => {}
        }
    }
    Ok(options)
}

/// Calls and feeds until something ends it.
pub(super) async fn session<P: Place>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    addresses: &[SocketAddr],
) -> Result<Infallible, End> {
    let options = options(source).map_err(|e| End::Failed("options", format!("the address {e}")))?;
    let mut last = ConnectError::Timeout;
    for &address in addresses {
        match attempt.pull.srt.connect(address, &options).await {
            Ok(mut link) => return receive(attempt, source, &mut link).await,
            Err(error) => last = error,
        }
    }
    let label = match &last {
        ConnectError::Refused(_) => "refused",
        ConnectError::Timeout => "timeout",
        ConnectError::Local(_) | ConnectError::Closed => "connect",
    };
    Err(End::Failed(label, format!("{} cannot be reached: {last}", source.authority())))
}

async fn receive<P: Place>(
    attempt: &mut Attempt<'_, P>,
    source: &Source,
    link: &mut dyn Link,
) -> Result<Infallible, End> {
    let clock = attempt.pull.clock.clone();
    let peer = link.peer();
    let mut meters = Meters::new(&attempt.pull.event, attempt.pull.input);
    let mut demux = Demux::new();
    let mut early: Vec<Event> = Vec::new();
    let mut last = clock.now();
    let mut timer = clock.sleep_until(last + STATS_INTERVAL);
    loop {
        tokio::select! {
            batch = link.receive() => {
                let now = clock.now();
                let mut events = Vec::new();
                match &batch {
                    Some(batch) => demux.push(batch, &mut |event| events.push(event)),
                    None => demux.finish(&mut |event| events.push(event)),
                }
                last = now;
                for event in events {
                    // What says nothing of its own takes no place.
                    let media = matches!(event, Event::Video { .. } | Event::Audio { .. });
                    if !media && attempt.session.is_none() {
                        if early.len() < MAX_EARLY {
                            early.push(event);
                        }
                        continue;
                    }
                    let feed = attempt.feed(source, peer)?;
                    for event in early.drain(..).chain([event]) {
                        deliver(feed, event, now);
                    }
                }
                if batch.is_none() {
                    let why = link.end().map_or_else(|| "closed".to_owned(), |end| end.to_string());
                    return Err(End::Failed("closed", format!("the connection ended: {why}")));
                }
            }
            () = &mut timer => {
                let now = clock.now();
                if let Some((feed, _)) = &attempt.session {
                    meters.update(feed, &link.stats(), now);
                }
                if now - last >= MEDIA_TIMEOUT {
                    return Err(End::Failed("timeout", format!("nothing came for {MEDIA_TIMEOUT}")));
                }
                timer = clock.sleep_until(now + STATS_INTERVAL);
            }
            refusal = stopped(attempt.stop()) => return Err(End::Refused(refusal)),
        }
    }
}
