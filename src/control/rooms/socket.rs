//! The rooms' WebSockets.
//!
//! **Data flow.** Text → [`ToDaemon`] → [`Hall`] → the socket's queue → text. Reading and writing take turns in one
//! task, so a socket that is not read is not listened to either.
//! **Bound.** [`MAX_MESSAGE`]; `hello` within [`HELLO_WITHIN`]; a write within [`WRITE_WITHIN`]; a page that says
//! nothing, not even to a ping, for [`SILENT_FOR`] is gone.

use super::hall::{Entered, Grant, Hall};
use super::link::{BoothLink, Ended, Managing, grant, seat};
use super::protocol::{self, FromDaemon, ToDaemon};
use super::view::role;
use crate::booth::{
    Bucket, Chat, ChatTo, Command, Effect, HandoverAction, Person, PersonId, Rate, Refusal, Seat, Source,
};
use crate::control::Problem;
use crate::control::api::{Api, wall};
use crate::control::notices::rfc3339;
use crate::control::openapi;
use crate::media::{Dur, Ts};
use crate::store::{Event, EventId, Role, Secret, new_resume_token};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a message: the longest chat with every character escaped, and room.
pub(super) const MAX_MESSAGE: usize = 16 << 10;
/// How long a page may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long a write may take: longer than a network that stands still for a moment.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// How often a ping is sent.
const PING_EVERY: Dur = Dur::from_secs(5);
/// A page that sends nothing for this long, not even the answer to a ping, is gone.
const SILENT_FOR: Dur = Dur::from_secs(15);
/// Messages of one page: what it measures each second, and hands that are quick.
const MESSAGES: Rate = Rate { burst: 100, every: Dur::from_millis(20) };
/// How often an API token that opened the room is looked at again.
const RECHECK: Dur = Dur::from_secs(60);

/// Who opens a socket.
struct Visitor {
    event: Arc<Event>,
    seat: Seat,
    grant: Grant,
    ended: Option<Ended>,
    token: Option<Secret>,
}

/// The interpreters' WebSocket: JSON text messages with a `type`.
///
/// From the page: `hello {name, resume?}` first, then `on_air {value}`, `cough {value}`, `listen {source:
/// "floor"|LANGUAGE}`, `outgoing {language}`, `handover {action: "offer"|"ask"|"take"|"decline"}`, `chat {to:
/// "booth"|"managers"|"all", text, booth?}`, `slow_down`, `call_manager {value?}`, `quality {rtt_ms?, jitter_ms?,
/// loss?, playout_ms?}`, `ping {at}`. To it: `welcome {you, resume, event, booth}`, `state {…}` (the whole picture
/// after every change), `chat`, `levels`, `stats`, `slow_down`, `pong {at}`, `closed {reason, detail}`, `error
/// {detail}`.
#[utoipa::path(get, path = "/booth/{secret}/ws", tag = "rooms", params(openapi::SecretOf), security(()),
    responses((status = 101, description = "A WebSocket (RFC 6455)"), openapi::LinkRefused))]
pub(in crate::control) async fn booth(
    State(api): State<Api>,
    BoothLink(opened): BoothLink,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let event = super::link::event_of(&api, &opened.link).await?;
    let visitor =
        Visitor { event, seat: seat(&opened.link), grant: grant(&opened.link), ended: opened.ended, token: None };
    open(api, visitor, upgrade)
}

/// The managers' WebSocket. As the interpreters', without what is said on air, and with `manage {booth, muted?,
/// floor_level_db?}` and `answer_call {person}`.
#[utoipa::path(get, path = "/manage/{id}/ws", tag = "rooms", params(openapi::Id, openapi::ManageBy), security(()),
    responses((status = 101, description = "A WebSocket (RFC 6455)"), openapi::LinkRefused))]
pub(in crate::control) async fn manage(
    State(api): State<Api>,
    managing: Managing,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Managing { event, grant, ended, token } = managing;
    open(api, Visitor { event, seat: Seat::Manager, grant, ended, token }, upgrade)
}

fn open(
    api: Api,
    visitor: Visitor,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let response = rejection.into_response();
        let detail = "This address is a WebSocket (RFC 6455): connect with ws: or wss:.";
        Problem::new(response.status(), "not-a-websocket", "WebSocket expected", detail)
    })?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).write_buffer_size(0);
    let tasks = api.tasks().clone();
    Ok(upgrade.on_upgrade(move |socket| {
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        // In the group of everything that serves, so that the daemon's end ends it.
        tasks.spawn("room socket", async move {
            serve(&api, socket, visitor).await;
            drop(done);
        });
        async move {
            // Nothing is ever sent: it ends when the task does.
            let _ = finished.await;
        }
    }))
}

async fn send(socket: &mut WebSocket, text: impl Into<Utf8Bytes>) -> bool {
    let sent = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::Text(text.into()))).await;
    matches!(sent, Ok(Ok(())))
}

async fn close(socket: &mut WebSocket, reason: &'static str, detail: &str) {
    if send(socket, FromDaemon::Closed { reason, detail }.json()).await {
        let frame = CloseFrame { code: close_code::NORMAL, reason: Utf8Bytes::from_static(reason) };
        let _ = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::Close(Some(frame)))).await;
    }
}

async fn serve(api: &Api, mut socket: WebSocket, visitor: Visitor) {
    if let Some(ended) = visitor.ended {
        let detail = match ended {
            Ended::Revoked => "This link was revoked.",
            Ended::Expired => "This link has run out.",
        };
        return close(&mut socket, ended.reason(), detail).await;
    }
    let Some(hall) = api.rooms().hall(&visitor.event.id) else {
        let detail = "The rooms are open while the event is in preview, started or paused; it is not now.";
        return close(&mut socket, "event", detail).await;
    };
    let Some((name, resume)) = hello(api, &mut socket).await else { return };
    let fresh = new_resume_token().expose().to_owned();
    let entered = hall.enter(visitor.seat.clone(), &name, visitor.grant.clone(), resume.as_deref(), fresh);
    let mut entered = match entered {
        Ok(entered) => entered,
        Err(refusal) => {
            send(&mut socket, FromDaemon::Error { detail: &refusal.to_string() }.json()).await;
            match refusal {
                // The booth is gone, or the rooms have just closed.
                Refusal::NoBooth(_) | Refusal::Unknown => close(&mut socket, "event", &refusal.to_string()).await,
                _ => drop(tokio::time::timeout(WRITE_WITHIN, socket.send(Message::Close(None))).await),
            }
            return;
        }
    };
    let (person, connection) = (entered.person, entered.connection);
    let event = entered.event.id.as_str().to_owned();
    tracing::info!(event, %person, link = visitor.grant.link, "someone came into the rooms");
    metrics::gauge!("boothcast_room_sockets").increment(1.0);
    talk(api, &mut socket, &hall, &mut entered, visitor.token.as_ref()).await;
    metrics::gauge!("boothcast_room_sockets").decrement(1.0);
    hall.leave(person, connection);
    tracing::info!(event, %person, "someone left the rooms");
}

/// Waits for `hello`.
async fn hello(api: &Api, socket: &mut WebSocket) -> Option<(String, Option<String>)> {
    let closing = api.tasks().token();
    let first = async {
        loop {
            match socket.recv().await?.ok()? {
                Message::Text(text) => return Some(text),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    };
    let first = tokio::select! {
        first = tokio::time::timeout(HELLO_WITHIN, first) => first,
        () = closing.cancelled() => {
            close(socket, "event", "The server is stopping; it may be back in a moment.").await;
            return None;
        }
    };
    let detail = match first {
        Ok(None) => return None,
        Ok(Some(text)) => match serde_json::from_str::<ToDaemon>(&text) {
            Ok(ToDaemon::Hello { name, resume }) => return Some((name, resume)),
            Ok(_) => "Say `hello` first.".to_owned(),
            Err(error) => unread(&error),
        },
        Err(_) => "There was no `hello` within 10 s.".to_owned(),
    };
    send(socket, FromDaemon::Error { detail: &detail }.json()).await;
    let _ = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::Close(None))).await;
    None
}

/// What is wrong with a message, in words.
fn unread(error: &serde_json::Error) -> String {
    format!("This message is not understood: {error}.")
}

async fn talk(api: &Api, socket: &mut WebSocket, hall: &Arc<Hall>, entered: &mut Entered, token: Option<&Secret>) {
    let clock = api.clock().clone();
    let end = entered.outbox.end.clone();
    let mut heard_at = clock.now();
    let mut messages = Bucket::new(heard_at);
    let mut next_ping = heard_at + PING_EVERY;
    let mut next_check = heard_at + RECHECK;
    loop {
        tokio::select! {
            biased;
            () = end.closed() => {
                let (reason, detail) = end.why().unwrap_or(("event", ""));
                return close(socket, reason, detail).await;
            }
            message = entered.outbox.messages.recv() => match message {
                Some(text) => if !send(socket, text.as_ref()).await { return },
                None => return,
            },
            message = socket.recv() => {
                heard_at = clock.now();
                match message {
                    Some(Ok(Message::Text(_))) if !messages.take(MESSAGES, heard_at) => {
                        let detail = "Too many messages; wait a moment.";
                        if !send(socket, FromDaemon::Error { detail }.json()).await {
                            return;
                        }
                    }
                    Some(Ok(Message::Text(text))) => {
                        let Some(answer) = hear(api, hall, (entered.person, entered.connection), &text).await else { continue };
                        if !send(socket, answer).await {
                            return;
                        }
                    }
                    Some(Ok(Message::Binary(_))) => {
                        let detail = "Messages are JSON text.";
                        if !send(socket, FromDaemon::Error { detail }.json()).await {
                            return;
                        }
                    }
                    // Answered by the library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                }
            }
            () = clock.sleep_until(next_ping) => {
                let now = clock.now();
                next_ping = now + PING_EVERY;
                if now - heard_at >= SILENT_FOR {
                    return;
                }
                if now >= next_check {
                    next_check = now + RECHECK;
                    if revoked(api, token).await {
                        return close(socket, "revoked", "The API token was revoked.").await;
                    }
                }
                let sent = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::Ping(Default::default()))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

/// Whether the API token that opened the room does so no more.
async fn revoked(api: &Api, token: Option<&Secret>) -> bool {
    let Some(secret) = token else { return false };
    // A store that fails closes no room.
    matches!(api.store().token(secret.expose()).await, Ok(found) if found.as_ref().is_none_or(|t| t.role < Role::Operator))
}

/// Does what a message says; an answer, where it needs one.
async fn hear(api: &Api, hall: &Arc<Hall>, entered: (PersonId, u64), text: &str) -> Option<String> {
    let message = match serde_json::from_str::<ToDaemon>(text) {
        Ok(message) => message,
        Err(error) => return Some(FromDaemon::Error { detail: &unread(&error) }.json()),
    };
    let refused = |refusal: Refusal| Some(FromDaemon::Error { detail: &format!("{refusal}.") }.json());
    let command = match message {
        ToDaemon::Hello { .. } => {
            return Some(FromDaemon::Error { detail: "You have said `hello` already." }.json());
        }
        ToDaemon::Ping { at } => return Some(FromDaemon::Pong { at }.json()),
        ToDaemon::Quality { rtt_ms, jitter_ms, loss, playout_ms } => {
            hall.page_figures(entered.0, rtt_ms, jitter_ms, loss, playout_ms);
            return None;
        }
        ToDaemon::Chat { to, text, booth } => {
            let meant = match to {
                protocol::ChatTo::Booth => ChatTo::Booth,
                protocol::ChatTo::Managers => ChatTo::Managers,
                protocol::ChatTo::All => ChatTo::All,
            };
            let made = |sender: &Person, chat: &Chat, at: Ts| {
                let message = FromDaemon::Chat {
                    from: sender.id.to_string(),
                    name: &sender.name,
                    role: role(sender),
                    booth: chat.booth.as_deref(),
                    to,
                    text: &chat.text,
                    at: rfc3339(wall(at)),
                };
                message.json()
            };
            return hall.chat(entered, meant, booth.as_deref(), &text, made).err().and_then(refused);
        }
        ToDaemon::OnAir { value } => Command::OnAir(value),
        ToDaemon::Cough { value } => Command::Cough(value),
        ToDaemon::Listen { source } => Command::Listen(Source::parse(&source)),
        ToDaemon::Outgoing { language } => Command::Outgoing(language),
        ToDaemon::Handover { action } => Command::Handover(match action {
            protocol::HandoverAction::Offer => HandoverAction::Offer,
            protocol::HandoverAction::Ask => HandoverAction::Ask,
            protocol::HandoverAction::Take => HandoverAction::Take,
            protocol::HandoverAction::Decline => HandoverAction::Decline,
        }),
        ToDaemon::SlowDown {} => Command::SlowDown,
        ToDaemon::CallManager { value } => Command::CallManager(value),
        ToDaemon::Manage { booth, muted, floor_level_db } => {
            let floor_level_db = floor_level_db.map(|level| level.unwrap_or(f32::NEG_INFINITY));
            Command::Manage { booth, muted, floor_level_db }
        }
        ToDaemon::AnswerCall { person } => match PersonId::parse(&person) {
            Some(id) => Command::AnswerCall(id),
            None => return Some(FromDaemon::Error { detail: "There is nobody with this id." }.json()),
        },
    };
    match hall.command(entered, command) {
        Ok(None) => None,
        Ok(Some(Effect::Set { booth, muted, floor_level_db })) => store(api, hall.id(), booth, muted, floor_level_db)
            .await
            .err()
            .map(|detail| FromDaemon::Error { detail: &detail }.json()),
        Ok(Some(_)) => None,
        Err(refusal) => refused(refusal),
    }
}

/// Stores what a manager set in the room, and takes it over.
async fn store(
    api: &Api,
    event: &EventId,
    booth: String,
    muted: Option<bool>,
    level: Option<f32>,
) -> Result<(), String> {
    let edit =
        super::booths::BoothChange { muted, floor_level_db: level.map(super::booths::decibels), second_language: None };
    super::booths::change(api, event, booth, edit).await.map(drop).map_err(|problem| problem.detail().to_owned())
}
