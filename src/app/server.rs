//! Start, reload and stop of the daemon.

use super::doors::Doors;
use super::registry::{Previews, Registry, Shared};
use super::rooms::{Handle, Media, Views};
use crate::config::Config;
use crate::control::{Addresses, AdminTokenError, Api, Notices, Setup, admin_token as admin_token_of, metrics_router};
use crate::deliver::hls::{self, Cors, Origin, OriginOptions};
use crate::deliver::webrtc::Whep;
use crate::ingest::{self, whip::Whip};
use crate::media::{Dur, SharedClock, SystemClock};
use crate::net::http::{Direct, Site};
use crate::net::{
    BindError, Gate, Guard, HttpOptions, Inherited, Limits, Listener, Source, Tls, TlsError, http, listen,
};
use crate::rtc::{self, Rtc};
use crate::srt::Srt;
use crate::store::{Store, StoreError};
use crate::task::Group;
use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long tasks may take to end after they were told to.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often Prometheus histograms are tidied and gauges refreshed.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why the daemon did not start, or what ended it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory or its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The admin token.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener wants TLS and there is no certificate.
    #[error("{0} is set, but there is no certificate: set [tls] certificate and key, or self_signed = true")]
    NoCertificate(&'static str),
    /// `[http] cors`.
    #[error("[http] cors: {0}")]
    Cors(String),
    /// The metrics recorder.
    #[error("metrics cannot be set up: {0}")]
    Metrics(String),
    /// Signals.
    #[error("signals cannot be caught: {0}")]
    Signals(std::io::Error),
}

/// How the daemon is told to read its configuration again; gives the new one or says why not.
pub type Reload = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Signals, RunError> {
        let catch = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Signals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// All sockets, bound before anything runs.
struct Listeners {
    http: Listener,
    https: Option<Listener>,
    rtmp: Listener,
    rtmps: Option<Listener>,
    metrics: Listener,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Listeners, BindError> {
        let mut inherited = Inherited::from_env();
        let gate = |total: u32, per_address: u32| {
            Gate::new(Limits { total: total as usize, per_address: per_address as usize })
        };
        let http = gate(config.http.max_connections, config.http.max_connections_per_address);
        let rtmp = gate(config.rtmp.max_connections, config.rtmp.max_connections_per_address);
        Ok(Listeners {
            http: Listener::bind("[http] listen", config.http.listen, &http, &mut inherited)?,
            https: config
                .http
                .tls_listen
                .map(|at| Listener::bind("[http] tls_listen", at, &http, &mut inherited))
                .transpose()?,
            rtmp: Listener::bind("[rtmp] listen", config.rtmp.listen, &rtmp, &mut inherited)?,
            rtmps: config
                .rtmp
                .tls_listen
                .map(|at| Listener::bind("[rtmp] tls_listen", at, &rtmp, &mut inherited))
                .transpose()?,
            metrics: Listener::bind("[metrics] listen", config.metrics.listen, &gate(64, 0), &mut inherited)?,
        })
    }

    fn named(&self) -> Vec<(&'static str, std::net::SocketAddr)> {
        let optional = |name, listener: &Option<Listener>| listener.as_ref().map(|l| (name, l.local_addr()));
        [
            Some(("http", self.http.local_addr())),
            optional("https", &self.https),
            Some(("rtmp", self.rtmp.local_addr())),
            optional("rtmps", &self.rtmps),
            Some(("metrics", self.metrics.local_addr())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn certificate(config: &Config, clock: SharedClock) -> Result<Option<Arc<Tls>>, RunError> {
    let source = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
        _ if config.tls.self_signed => Source::SelfSigned { dir: config.store.dir.join("tls"), names: Vec::new() },
        _ => {
            return match (config.http.tls_listen, config.rtmp.tls_listen) {
                (Some(_), _) => Err(RunError::NoCertificate("[http] tls_listen")),
                (_, Some(_)) => Err(RunError::NoCertificate("[rtmp] tls_listen")),
                _ => Ok(None),
            };
        }
    };
    Ok(Some(Tls::load(source, clock)?))
}

fn http_options(config: &Config) -> HttpOptions {
    HttpOptions {
        head_timeout: Duration::from_secs_f64(config.http.head_timeout_seconds),
        stall_timeout: Duration::from_secs_f64(config.http.stall_timeout_seconds),
        drain: Duration::from_secs_f64(config.drain.timeout_seconds),
        ..HttpOptions::default()
    }
}

/// Runs the daemon until it is told to stop by a signal. `reload` is asked for the configuration on SIGHUP;
/// `admin_token` is the one that the environment sets.
///
/// # Errors
/// [`RunError`], before anything was served.
pub async fn run(config: Config, admin_token: Option<String>, reload: Reload) -> Result<(), RunError> {
    let mut signals = Signals::new()?;
    let files = listen::raise_file_limit();
    let system = SystemClock::new();
    let clock: SharedClock = Arc::new(system);
    let store = Store::open(&config.store.dir).await?;
    let recorder = PrometheusBuilder::new().install_recorder().map_err(|e| RunError::Metrics(e.to_string()))?;
    let tls = certificate(&config, clock.clone())?;
    let cors = Cors::new(&config.http.cors).map_err(RunError::Cors)?;
    let listeners = Listeners::bind(&config)?;

    if let Some(token) = admin_token_of(&store, admin_token, super::event::to_wall(clock.now())).await? {
        eprintln!("admin token (shown once): {}", token.expose());
    }

    let tasks = Group::new();
    // Ended one after the other, in this order.
    let (contribution, serving, events) = (tasks.child(), tasks.child(), tasks.child());
    let webrtc = rtc::Config {
        listen: config.webrtc.listen,
        public_ips: config.webrtc.public_ips.clone(),
        max_sessions: config.webrtc.max_sessions,
    };
    let webrtc = Rtc::start(&webrtc, &tasks, clock.clone())
        .await
        .map_err(|e| BindError::new("[webrtc] listen", config.webrtc.listen, e))?;

    let notices = Notices::new();
    let previews = Arc::new(Previews::default());
    let options = OriginOptions {
        dir: Some(config.store.dir.join("dvr")),
        cors,
        live_segments: config.hls.memory_segments as usize,
        ..OriginOptions::default()
    };
    let rooms = Media::new(webrtc.clone(), &events);
    let srt_error = |e| BindError::new("[srt] listen", config.srt.listen, e);
    let srt = Srt::start(clock.clone()).map_err(srt_error)?;
    let shared = Arc::new(Shared {
        store: store.clone(),
        origin: Origin::new(options, previews.clone(), clock.clone(), &tasks),
        previews,
        notices: notices.clone(),
        clock: clock.clone(),
        system,
        config: ArcSwap::from_pointee(config.clone()),
        pathway: config.origin.pathway.clone(),
        guard: Guard::new(config.outgoing.allow_private),
        srt: srt.clone(),
        group: events.clone(),
        rooms: rooms.clone(),
        doors: Doors::open(store.clone()).await?,
    });
    let registry = Registry::new(shared.clone());
    // Callers are refused by their own handshake until their events run.
    let door = ingest::srt::Door::new(registry.clone(), clock.clone());
    let srt_listener =
        srt.listen(config.srt.listen, Dur::from_secs_f64(config.srt.latency_seconds), door).map_err(srt_error)?;

    let mut named = listeners.named();
    let last = named.len() - 1;
    named.splice(last..last, [("srt", srt_listener.local_addr()), ("webrtc", webrtc.local_addr())]);
    let address = |name| named.iter().find(|(n, _)| *n == name).map(|(_, at)| *at);
    let api = Api::new(Setup {
        store: store.clone(),
        live: registry.clone(),
        media: Arc::new(Handle(rooms.clone())),
        notices,
        clock: clock.clone(),
        tasks: serving.clone(),
        addresses: Addresses {
            http: address("http"),
            https: address("https"),
            rtmp: address("rtmp"),
            rtmps: address("rtmps"),
            srt: address("srt"),
        },
        guard: shared.guard.clone(),
        config: &config,
    });
    rooms.set_rooms(api.rooms().clone());
    let resumed = registry.resume().await?;
    api.rooms().resume().await?;
    api.resume_webhooks().await?;

    let origin = shared.clone();
    let media: Direct = Arc::new(move |request, peer| {
        let answer = origin.origin.answer(request, Some(peer));
        Box::pin(async move { Ok(answer.await) })
    });
    let whip = Whip::new(webrtc.clone(), registry.clone(), clock.clone(), contribution.clone());
    let whep = Whep::new(webrtc, Arc::new(Views { media: rooms, registry: registry.clone() }));
    let site = Site::from(api.router(whip.router().merge(whep.router()))).direct(hls::PREFIX, media);
    let options = http_options(&config);
    http::serve(&serving, listeners.http, None, site.clone(), options);
    if let (Some(listener), Some(tls)) = (listeners.https, &tls) {
        http::serve(&serving, listener, Some(tls.http()), site, options);
    }
    http::serve(&tasks, listeners.metrics, None, metrics_router(recorder.clone()), options);
    contribution.spawn(
        "rtmp listener",
        ingest::rtmp::serve(listeners.rtmp, None, registry.clone(), clock.clone(), contribution.clone()),
    );
    if let (Some(listener), Some(tls)) = (listeners.rtmps, &tls) {
        let serve =
            ingest::rtmp::serve(listener, Some(tls.clone()), registry.clone(), clock.clone(), contribution.clone());
        contribution.spawn("rtmps listener", serve);
    }
    contribution
        .spawn("srt listener", ingest::srt::serve(srt_listener, registry.clone(), clock.clone(), contribution.clone()));
    if let Some(tls) = &tls {
        tls.watch(&tasks);
    }
    tasks.spawn_until_cancelled("metrics upkeep", async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            recorder.run_upkeep();
        }
    });
    registry.set_listeners(&named.iter().map(|(name, _)| *name).collect::<Vec<_>>());

    let line: Vec<String> = named.iter().map(|(name, at)| format!("{name}={at}")).collect();
    eprintln!("listening {}", line.join(" "));
    tracing::info!(events = resumed, files, "ready");
    notify_ready(&tasks);

    loop {
        tokio::select! {
            () = stop_signal(&mut signals.terminate, &mut signals.interrupt) => break,
            _ = signals.hangup.recv() => reload_all(&reload, &shared, &api, tls.as_deref()),
        }
    }

    tracing::info!("stopping");
    registry.drain();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let stop = async {
        contribution.close(CLOSE_LIMIT).await;
        registry.end_pulls().await;
        srt.close(CLOSE_LIMIT).await;
        serving.close(options.drain + Duration::from_secs(1)).await;
        registry.close().await;
        events.close(CLOSE_LIMIT).await;
        tasks.close(CLOSE_LIMIT).await;
        store.close().await;
    };
    tokio::select! {
        () = stop => tracing::info!("stopped"),
        () = signals.stop() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

async fn stop_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Tells systemd that the daemon is ready, and from then on that it lives. Outside systemd this does nothing.
fn notify_ready(tasks: &Group) {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager was not told of readiness");
    }
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    tasks.spawn_until_cancelled("watchdog", async move {
        loop {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            tokio::time::sleep(limit / 3).await;
        }
    });
}

/// SIGHUP: what can be changed while running is; a file that does not parse changes nothing.
fn reload_all(reload: &Reload, shared: &Shared, api: &Api, tls: Option<&Tls>) {
    if let Some(tls) = tls {
        // A failure is logged and the certificate in use stays.
        let _ = tls.reload();
    }
    match reload() {
        Ok(new) => {
            let old = shared.config.load_full();
            let kept: Vec<String> = old.needs_restart(&new).iter().map(ToString::to_string).collect();
            if !kept.is_empty() {
                tracing::warn!(keys = kept.join(", "), "these keys changed and need a restart");
            }
            api.reload(&new);
            shared.guard.set_allow_private(new.outgoing.allow_private);
            shared.config.store(Arc::new(new));
            tracing::info!("configuration read again");
        }
        Err(error) => tracing::error!(error, "configuration not read again, the one before stays"),
    }
}
