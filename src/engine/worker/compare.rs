//! Decodes what the inputs sound like and compares it: one thread, which sleeps while nothing is to be compared.

use super::av::SoundDecoder;
use super::stage::{Shared, Stage};
use super::threads;
use crate::engine::likeness::Likeness;
use crate::engine::protocol::InPacket;
use crate::media::{Clock, InputName, Media, SoundMatch, Track};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Packets that wait: two seconds of two inputs. What comes beyond them is dropped and counted.
const WAITING: usize = 192;

/// What is compared.
pub enum Compared {
    /// The format of what follows of this input.
    Track(InputName, Track),
    /// An access unit.
    Packet(InputName, InPacket),
}

/// The way in.
pub struct Compare {
    items: SyncSender<Compared>,
}

impl Compare {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(shared: &Arc<Shared>) -> Result<Compare, String> {
        let (items, waiting) = sync_channel(WAITING);
        let (shared, stage) = (shared.clone(), shared.stage("comparing the inputs"));
        threads::spawn("compare", move || run(&waiting, &shared, &stage))?;
        Ok(Compare { items })
    }

    /// False when it was dropped because too much waits.
    pub fn push(&self, item: Compared) -> bool {
        self.items.try_send(item).is_ok()
    }
}

/// An input's sound.
#[derive(Default)]
struct Side {
    decoder: Option<SoundDecoder>,
    /// The run of its clock.
    epoch: u32,
}

fn run(waiting: &Receiver<Compared>, shared: &Shared, stage: &Stage) {
    let mut likeness = Likeness::default();
    let mut sides = [Side::default(), Side::default()];
    while let Ok(item) = waiting.recv() {
        match item {
            Compared::Track(input, track) => {
                let side = &mut sides[input.index()];
                // What cannot be decoded is not compared; the programme's own decoder says so.
                side.decoder = match &track.media {
                    Media::Audio(format) => stage.work(|| SoundDecoder::new(format)).ok(),
                    Media::Video(_) => None,
                };
            }
            Compared::Packet(input, packet) => {
                let side = &mut sides[input.index()];
                if std::mem::replace(&mut side.epoch, packet.epoch) != packet.epoch {
                    likeness.reset(input);
                }
                let Some(decoder) = &mut side.decoder else { continue };
                // A broken unit is a hole.
                let Ok(sounds) = stage.work(|| decoder.push(&packet)) else { continue };
                let epochs = || InputName::ALL.map(|i| sides[i.index()].epoch);
                for sound in sounds {
                    if let Some(apart) = likeness.heard(input, sound.pts, sound.rate, &sound.stereo) {
                        let at = shared.clock().now();
                        shared.set_sound_match(SoundMatch { apart, at, epochs: epochs() });
                    }
                }
            }
        }
    }
}
