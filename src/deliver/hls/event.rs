//! One event at the origin: its renditions, what the public sees of it, and the task that writes to disk.

use super::access::{Gate, Viewing};
use super::address::{STEERING, is_name};
use super::answer::Text;
use super::disk::{Folder, Medium};
use super::render::{self, Others};
use super::rendition::{Declared, Disk, Rendition, Sink, with_windows};
use super::{EventOptions, OriginError, Shared};
use crate::media::{Dur, Ts};
use crate::package::{Cut, RenditionSpec, Resume, Window, WindowLimits, manifest, playlist};
use crate::task::Group;
use crate::wire::m3u8::{Pathway, Report, Steering};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The disk does not take what it should: older segments become gaps, live goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageAlarm {
    /// What the system said, with the folder.
    pub error: String,
    /// Since when, on the daemon's clock.
    pub since: Ts,
}

/// An event's figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventStats {
    /// How many watch, estimated from the rate of playlist requests; nobody is tracked, and viewers behind a cache are
    /// not seen.
    pub viewers: f64,
    /// The same per rendition.
    pub renditions: Vec<(String, f64)>,
    /// Bytes of media in memory.
    pub memory_bytes: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
}

/// What is rendered once for all who ask, until something changes.
#[derive(Default)]
struct Texts {
    /// Generation of what was declared, and the text with and without marks.
    index: [Option<(u64, Arc<Text>)>; 2],
    /// At most one per view.
    manifests: Vec<ManifestText>,
}

struct ManifestText {
    /// Sum of the renditions' generations.
    generation: u64,
    view: View,
    /// The manifest carries the time, so it is rendered again when it is old.
    at: Ts,
    text: Arc<Text>,
}

/// Seconds after which players ask again which origin to take. The playlists of one that stands still say so sooner; this
/// is for one that shows its slate.
const STEERING_TTL: u32 = 5;
/// How old the time in a manifest may be.
const MANIFEST_AGE: Dur = Dur::from_secs(1);

/// An event. See the module.
pub struct Event {
    /// Its id.
    pub id: Box<str>,
    options: EventOptions,
    gate: Mutex<Gate>,
    renditions: ArcSwap<Vec<Listed>>,
    /// The other origins of this event; none: it is here alone.
    steering: ArcSwapOption<Steering>,
    /// Whether viewers get the programme here, and not the slate.
    well: AtomicBool,
    /// Told when the index reads otherwise.
    pub declared: Arc<Declared>,
    texts: Mutex<Texts>,
    work: Arc<Notify>,
    storage: watch::Sender<Option<StorageAlarm>>,
    disk_bytes: AtomicI64,
    /// Bits of an f64: viewers as last estimated.
    viewers: AtomicU64,
    by_rendition: Mutex<Vec<(String, f64)>>,
}

/// A rendition and whether the multivariant playlist names it.
#[derive(Clone)]
pub struct Listed {
    /// The rendition.
    pub rendition: Arc<Rendition>,
    /// To be named in the multivariant playlist.
    pub listed: bool,
}

impl Listed {
    /// Whether the multivariant playlist names it now.
    fn is_named(&self) -> bool {
        self.listed && self.rendition.joined()
    }
}

/// A view of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What begins before is not shown; none for everything.
    pub since: Option<Ts>,
    /// Made for tokens, see `render`.
    pub marked: bool,
}

impl Event {
    /// What the public may fetch now.
    pub fn gate(&self) -> Gate {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rendition by name.
    pub fn rendition(&self, name: &str) -> Option<Arc<Rendition>> {
        self.renditions.load().iter().find(|l| &*l.rendition.name == name).map(|l| l.rendition.clone())
    }

    /// How far the others are, for rendition reports.
    pub fn others(&self, except: &Rendition) -> Others {
        let renditions = self.renditions.load();
        let listed = renditions.iter().filter(|l| l.is_named()).map(|l| &l.rendition);
        let part_target = listed.clone().map(|r| r.part_target()).max().unwrap_or(Dur::ZERO);
        let others = listed.filter(|r| r.name != except.name);
        let reports = others.filter_map(|r| {
            let (segment, part) = r.progress().last?;
            Some(Report { rendition: r.name.to_string(), segment, part })
        });
        Others { reports: reports.collect(), part_target }
    }

    /// Whether every rendition that is named has what the index must say of it.
    pub fn declares_all(&self) -> bool {
        let renditions = self.renditions.load();
        let mut named = renditions.iter().filter(|l| l.is_named()).peekable();
        named.peek().is_some() && named.all(|l| l.rendition.declares())
    }

    /// The multivariant playlist of what is declared; none while that is nothing.
    pub fn index(&self, marked: bool) -> Option<Arc<Text>> {
        let generation = self.declared.generation();
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut texts.index[usize::from(marked)];
        if let Some((rendered, text)) = slot
            && *rendered == generation
        {
            return Some(text.clone());
        }
        let renditions = self.renditions.load();
        let listed = renditions.iter().filter(|l| l.is_named()).map(|l| &l.rendition);
        // Who comes with a token comes for this origin: it opens nothing elsewhere, and must not go there.
        let steering = if marked { None } else { self.steering.load_full() };
        let suffix = render::suffix(marked);
        let text =
            with_windows(listed, |windows| playlist::multivariant_steered(windows, steering.as_deref(), &suffix))?;
        let text = Arc::new(Text::new(text));
        *slot = Some((generation, text.clone()));
        Some(text)
    }

    /// The steering manifest; none where there is no other origin.
    pub fn steering(&self) -> Option<String> {
        let steering = self.steering.load();
        Some(steering.as_ref()?.manifest(self.well.load(Ordering::Relaxed), STEERING_TTL))
    }

    /// The DASH manifest; none while there is nothing to name in it.
    pub fn manifest(&self, view: View, now: Ts) -> Option<Arc<Text>> {
        let renditions = self.renditions.load();
        let generation =
            renditions.iter().map(|l| l.rendition.progress().generation).sum::<u64>() + self.declared.generation();
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.manifests.retain(|m| m.generation == generation && now - m.at < MANIFEST_AGE);
        if let Some(known) = texts.manifests.iter().find(|m| m.view == view) {
            return Some(known.text.clone());
        }
        let listed = renditions.iter().filter(|l| l.is_named()).map(|l| &l.rendition);
        let suffix = render::suffix(view.marked);
        let delay = self.options.delay;
        let text = with_windows(listed, |windows| manifest::manifest_since(windows, view.since, now, delay, &suffix))?;
        let text = Arc::new(Text::new(text));
        texts.manifests.push(ManifestText { generation, view, at: now, text: text.clone() });
        Some(text)
    }

    /// Whether the disk holds all that it should.
    #[cfg(test)]
    pub fn is_written(&self) -> bool {
        self.renditions.load().iter().all(|l| l.rendition.is_written())
    }

    fn wake_all(&self) {
        self.declared.touch();
        for listed in self.renditions.load().iter() {
            listed.rendition.wake();
        }
    }

    /// Takes over what was asked for since the last call, `elapsed` ago.
    pub(super) fn estimate(&self, elapsed: Dur) {
        let ms = elapsed.as_millis().max(1) as f64;
        let (mut pictures, mut sounds) = (0.0, 0.0);
        let mut each = Vec::new();
        for listed in self.renditions.load().iter() {
            let viewers = listed.rendition.take_watched() as f64 / ms;
            let (event, name) = (self.id.to_string(), listed.rendition.name.to_string());
            metrics::gauge!("boothcast_viewers", "event" => event, "rendition" => name.clone()).set(viewers);
            *(if listed.rendition.video { &mut pictures } else { &mut sounds }) += viewers;
            each.push((name, viewers));
        }
        // Those who watch also listen; those who only listen are beside them.
        let viewers = f64::max(pictures, sounds);
        self.viewers.store(viewers.to_bits(), Ordering::Relaxed);
        *self.by_rendition.lock().unwrap_or_else(PoisonError::into_inner) = each;
        let event = self.id.to_string();
        metrics::gauge!("boothcast_dvr_memory_bytes", "event" => event.clone()).set(self.memory() as f64);
        metrics::gauge!("boothcast_dvr_disk_bytes", "event" => event).set(self.disk_bytes() as f64);
        // The averages that the index states have moved.
        self.declared.touch();
    }

    fn memory(&self) -> u64 {
        self.renditions.load().iter().map(|l| l.rendition.memory()).sum()
    }

    fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed).max(0) as u64
    }

    fn alarm(&self, error: Option<String>, now: Ts) {
        self.storage.send_if_modified(|alarm| match (&error, &*alarm) {
            (Some(error), None) => {
                tracing::error!(event = %self.id, %error, "DVR cannot be stored; live goes on, older segments become gaps");
                *alarm = Some(StorageAlarm { error: error.clone(), since: now });
                true
            }
            (None, Some(_)) => {
                tracing::info!(event = %self.id, "DVR is stored again");
                *alarm = None;
                true
            }
            _ => false,
        });
    }
}

/// An event on air at the origin: the app holds this and gives [`Sink`]s to packagers. Dropping it takes the event off
/// the origin; what is on disk stays for a restart, until [`super::Origin::purge`].
pub struct EventStream {
    event: Arc<Event>,
    shared: Arc<Shared>,
    group: Group,
}

impl EventStream {
    pub(super) fn new(shared: Arc<Shared>, id: &str, options: EventOptions, group: &Group) -> EventStream {
        let event = Arc::new(Event {
            id: id.into(),
            options,
            gate: Mutex::default(),
            renditions: ArcSwap::default(),
            steering: ArcSwapOption::empty(),
            well: AtomicBool::new(true),
            declared: Arc::new(Declared::new()),
            texts: Mutex::default(),
            work: Arc::new(Notify::new()),
            storage: watch::Sender::new(None),
            disk_bytes: AtomicI64::new(0),
            viewers: AtomicU64::new(0),
            by_rendition: Mutex::default(),
        });
        let group = group.child();
        let writer = Writer { event: event.clone(), clock: shared.clock.clone() };
        let token = group.token();
        group.spawn("dvr writer", async move {
            while token.run_until_cancelled(writer.event.work.notified()).await.is_some() {
                writer.round().await;
            }
            // What is complete when the daemon stops is there when it starts.
            writer.round().await;
        });
        EventStream { event, shared, group }
    }

    pub(super) fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        &self.event.id
    }

    /// Adds a rendition with what the disk holds of it. A disk that cannot be used raises the
    /// storage alarm, and the rendition lives in memory alone.
    ///
    /// # Errors
    /// [`OriginError::Name`], [`OriginError::Exists`].
    pub async fn add(&self, spec: RenditionSpec, cut: Cut) -> Result<(Sink, Resume), OriginError> {
        self.insert(spec, cut, false).await
    }

    /// The same while viewers watch the others: it is named as soon as it reaches back as far as they are behind, so that
    /// who turns to it finds something where they are.
    ///
    /// # Errors
    /// As [`EventStream::add`].
    pub async fn join(&self, spec: RenditionSpec, cut: Cut) -> Result<(Sink, Resume), OriginError> {
        self.insert(spec, cut, true).await
    }

    async fn insert(&self, spec: RenditionSpec, cut: Cut, joining: bool) -> Result<(Sink, Resume), OriginError> {
        if !is_name(&spec.name) {
            return Err(OriginError::Name(spec.name));
        }
        if self.event.rendition(&spec.name).is_some() {
            return Err(OriginError::Exists(spec.name));
        }
        let dvr = self.event.options.dvr;
        let path = self.folder(&spec.name);
        let opened = match &path {
            None => None,
            Some(path) => self.open(path.clone()).await,
        };
        let limits = WindowLimits { live_segments: self.shared.options.live_segments, dvr, disk: opened.is_some() };
        let (window, folder) = match opened {
            None => (Window::new(spec.clone(), cut, limits), None),
            Some((folder, loaded)) => {
                self.event.disk_bytes.fetch_add(i64::try_from(loaded.bytes).unwrap_or(0), Ordering::Relaxed);
                (Window::restore(spec.clone(), cut, limits, loaded.inits, loaded.entries), Some(folder))
            }
        };
        let disk = folder.map(|folder| Disk { work: self.event.work.clone(), folder });
        let declared = self.event.declared.clone();
        let joining = joining && window.last().is_none();
        let rendition =
            Arc::new(Rendition::new(&self.event.id, window, joining, dvr, path.unwrap_or_default(), disk, declared));
        let mut taken = false;
        self.event.renditions.rcu(|all| {
            let mut all = Vec::clone(all);
            taken = all.iter().any(|l| l.rendition.name == rendition.name);
            if !taken {
                all.push(Listed { rendition: rendition.clone(), listed: true });
            }
            all
        });
        if taken {
            return Err(OriginError::Exists(spec.name));
        }
        self.event.declared.touch();
        let resume = rendition.resume();
        Ok((Sink::new(rendition), resume))
    }

    fn folder(&self, rendition: &str) -> Option<PathBuf> {
        let dir = self.shared.options.dir.as_ref().filter(|_| self.event.options.dvr > Dur::ZERO)?;
        Some(dir.join(&*self.event.id).join(rendition))
    }

    async fn open(&self, path: PathBuf) -> Option<(Folder, super::disk::Loaded)> {
        let medium: Arc<dyn Medium> = self.shared.medium.clone();
        let shown = path.display().to_string();
        let result = tokio::task::spawn_blocking(move || Folder::open(path, medium)).await;
        match result.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.event.alarm(Some(format!("{shown}: {error}")), self.shared.clock.now());
                None
            }
        }
    }

    /// Names these sound renditions in the multivariant playlist, in this order, and no others. What is not named any more
    /// stays where it is: players that have it keep it.
    pub fn list_sounds(&self, names: &[&str]) {
        let place = |l: &Listed| names.iter().position(|n| *n == &*l.rendition.name);
        self.event.renditions.rcu(|all| {
            let mut all = Vec::clone(all);
            for l in all.iter_mut().filter(|l| !l.rendition.video) {
                l.listed = place(l).is_some();
            }
            // Stable: pictures stay before the sound, in their order.
            all.sort_by_key(|l| if l.rendition.video { 0 } else { place(l).map_or(usize::MAX, |n| n + 1) });
            all
        });
        self.event.declared.touch_named();
    }

    /// Lists the other origins that carry this event, by pathway id and the address of their multivariant playlist, beside
    /// this one, whose pathway is `own`. Players that come with a token are not told of them.
    pub fn set_other_origins(&self, own: &str, others: &[(&str, &str)]) {
        let others: Vec<Pathway> = others.iter().map(|(id, url)| Pathway::of(id, url)).collect();
        let steering = Steering { server: STEERING.to_owned(), own: own.to_owned(), others };
        self.event.steering.store((!steering.others.is_empty()).then(|| Arc::new(steering)));
        self.event.declared.touch();
    }

    /// Says whether viewers get the programme here, or the slate: then players are sent to another origin, if there is one.
    pub fn set_well(&self, well: bool) {
        self.event.well.store(well, Ordering::Relaxed);
    }

    /// Changes when the multivariant playlist names other renditions than before.
    pub fn named(&self) -> watch::Receiver<u64> {
        self.event.declared.subscribe_named()
    }

    /// Takes a rendition away: its URLs are 404 from now on and its files are deleted.
    pub async fn remove(&self, name: &str) {
        let Some(rendition) = self.event.rendition(name) else { return };
        self.event
            .renditions
            .rcu(|all| all.iter().filter(|l| l.rendition.name != rendition.name).cloned().collect::<Vec<_>>());
        rendition.end();
        self.event.declared.touch();
        if let Some(path) = self.folder(name) {
            super::delete(path).await;
        }
    }

    /// What the public sees from now on. Held requests that it shuts out are answered at once.
    pub fn set_viewing(&self, viewing: Viewing) {
        {
            let mut gate = self.event.gate.lock().unwrap_or_else(PoisonError::into_inner);
            match viewing {
                Viewing::Closed => gate.close(),
                Viewing::Open { since } => gate.open(since),
                Viewing::HoldBack => gate.hold_back(self.shared.clock.now(), self.hold_back()),
            }
        }
        self.event.wake_all();
    }

    /// Takes the event off the origin and waits until what is complete is on disk, for a limited time.
    pub async fn close(self) {
        let group = self.group.clone();
        drop(self);
        if !group.close(super::CLOSE_LIMIT).await {
            tracing::warn!("the DVR's writer did not end in time");
        }
    }

    /// How far behind live a player is that follows HOLD-BACK: three target durations (RFC 8216bis §4.4.3.8).
    pub fn hold_back(&self) -> Dur {
        let renditions = self.event.renditions.load();
        renditions.iter().map(|l| l.rendition.patience()).max().unwrap_or(Dur::from_secs(6))
    }

    /// Names of the renditions, in the order in which they were added.
    pub fn renditions(&self) -> Vec<String> {
        self.event.renditions.load().iter().map(|l| l.rendition.name.to_string()).collect()
    }

    /// Says when the disk does not take the DVR, and when it does again.
    pub fn storage(&self) -> watch::Receiver<Option<StorageAlarm>> {
        self.event.storage.subscribe()
    }

    /// Figures, the viewers as of the last ten seconds.
    pub fn stats(&self) -> EventStats {
        EventStats {
            viewers: f64::from_bits(self.event.viewers.load(Ordering::Relaxed)),
            renditions: self.event.by_rendition.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            memory_bytes: self.event.memory(),
            disk_bytes: self.event.disk_bytes(),
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.shared.remove(&self.event);
        self.event.gate.lock().unwrap_or_else(PoisonError::into_inner).close();
        for listed in self.event.renditions.load().iter() {
            listed.rendition.end();
        }
        self.event.declared.touch();
        self.group.cancel();
    }
}

struct Writer {
    event: Arc<Event>,
    clock: crate::media::SharedClock,
}

impl Writer {
    /// Writes what every rendition has for the disk. A failure is told and tried again with the next segment.
    async fn round(&self) {
        let event = self.event.clone();
        let wrote = tokio::task::spawn_blocking(move || {
            let mut failure = None;
            for listed in event.renditions.load().iter() {
                match listed.rendition.write() {
                    Ok(grown) => {
                        event.disk_bytes.fetch_add(grown, Ordering::Relaxed);
                    }
                    Err(error) => {
                        metrics::counter!("boothcast_dvr_write_errors_total").increment(1);
                        failure.get_or_insert(format!("{}/{}: {error}", event.id, listed.rendition.name));
                    }
                }
            }
            failure
        });
        match wrote.await {
            Ok(failure) => self.event.alarm(failure, self.clock.now()),
            Err(error) => tracing::error!(%error, "the DVR's writer failed"),
        }
    }
}
