//! Interpreting with the real child process: voices are Opus made here, what comes out is decoded and measured.

use super::*;
use boothcast::engine::RoomSpec;
use boothcast::media::{LanguageMix, MixPlan, VoiceId, VoicePacket};
use std::sync::Mutex;

/// Track ids: renditions, their realtime mixes, the rooms'.
const FLOOR: u16 = 10;
const DE: u16 = 11;
const FR: u16 = 12;
const IT: u16 = 13;
const ROOM_FLOOR: u16 = 30;
const ROOM_PICTURE: u16 = 40;
/// The realtime mix of a rendition.
const REALTIME: u16 = 20;

/// Somebody who speaks: one Opus packet every 20 ms of the engine's clock.
pub struct Speaker {
    id: VoiceId,
    encoder: opus::Encoder,
    begin: Ts,
    sent: i64,
    lead: Dur,
    sound: Box<dyn Fn(i64) -> f32 + Send>,
    /// Replaces packets.
    garbage: bool,
}

impl Speaker {
    fn new(id: u32, begin: Ts, lead: i64, sound: impl Fn(i64) -> f32 + Send + 'static) -> Speaker {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(64_000)).unwrap();
        let lead = Dur::from_millis(lead);
        Speaker { id: VoiceId(id), encoder, begin, sent: 0, lead, sound: Box::new(sound), garbage: false }
    }

    /// When the next packet is complete.
    pub fn due(&self) -> Ts {
        self.begin + Dur::from_millis(20) * (self.sent + 1)
    }

    pub fn speak(&mut self, engine: &Engine, now: Ts) {
        let pcm: Vec<f32> = (0..960).map(|i| (self.sound)(self.sent * 960 + i)).collect();
        let mut data = self.encoder.encode_vec_float(&pcm, 1275).unwrap();
        if self.garbage {
            let n = self.sent as usize;
            data.iter_mut().enumerate().skip(1).for_each(|(i, b)| *b = (i * 37 + n * 11) as u8);
            data.truncate(1 + n % 60);
        }
        let (voice, rtp, lead) = (self.id, 90_000 + self.sent * 960, self.lead);
        engine.voice(VoicePacket { voice, sequence: 7 + self.sent, rtp, arrival: now, lead, data: data.into() });
        self.sent += 1;
    }
}

fn tone(hz: f64, level: f32) -> impl Fn(i64) -> f32 + Send + 'static {
    move |i| level * (2.0 * std::f64::consts::PI * hz * i as f64 / 48_000.0).sin() as f32
}

/// Level of a tone in dB relative to full scale, by a Hann-windowed single bin.
fn level(pcm: &[f32], hz: f64) -> f64 {
    let (mut a, mut b) = (0.0, 0.0);
    let w = 2.0 * std::f64::consts::PI * hz / 48_000.0;
    for (i, s) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (2.0 * std::f64::consts::PI * i as f64 / pcm.len() as f64).cos();
        a += f64::from(*s) * window * (w * i as f64).sin();
        b += f64::from(*s) * window * (w * i as f64).cos();
    }
    20.0 * (4.0 * a.hypot(b) / pcm.len() as f64).max(1e-9).log10()
}

/// As [`level`], the median of tenths of a second: the rooms' floor is read a little faster while its delay shrinks,
/// and what was left out is silence.
fn level_of_parts(pcm: &[f32], hz: f64) -> f64 {
    let mut parts: Vec<f64> = pcm.chunks_exact(4800).map(|part| level(part, hz)).collect();
    parts.sort_by(f64::total_cmp);
    parts[parts.len() / 2]
}

/// The part of a decoded track between two instants.
fn part((start, pcm): &(Ts, Vec<f32>), from: Ts, to: Ts) -> &[f32] {
    let place = |t: Ts| ((t - *start).as_secs_f64() * 48_000.0).max(0.0) as usize;
    &pcm[place(from)..place(to)]
}

fn language(id: u16, name: &str) -> AudioSpec {
    let realtime = Some(TrackId(id + REALTIME));
    AudioSpec { interpreted: true, realtime, ..AudioSpec::new(TrackId(id), name, 0, 128_000) }
}

fn interpreted(config: &mut EngineConfig) {
    config.video.truncate(1);
    config.video[0] = RungSpec::new(TrackId(0), "180p", 320, 180, 300_000);
    config.audio = vec![AudioSpec::new(TrackId(FLOOR), "floor", 0, 128_000), language(DE, "de"), language(FR, "fr")];
    config.room = Some(RoomSpec::new(TrackId(ROOM_PICTURE), TrackId(ROOM_FLOOR)));
    config.preview = false;
}

fn plan(connected: &[u32], on_air: &[(u16, u32)], floor_level_db: f32) -> MixPlan {
    let mix = |output| LanguageMix {
        output: TrackId(output),
        on_air: on_air.iter().filter(|a| a.0 == output).map(|a| VoiceId(a.1)).collect(),
        floor_level_db,
    };
    let voices = connected.iter().map(|&v| VoiceId(v)).collect();
    MixPlan { languages: [DE, FR, IT].map(mix).to_vec(), voices, ..MixPlan::default() }
}

const SMALL: &str = "testsrc2=size=320x180:rate=25";
/// 1 kHz at 0.177: −15 dB.
const TONE: &str = "sine=frequency=1000:sample_rate=48000,volume=2,aformat=channel_layouts=stereo";

type Heard = Arc<Mutex<Vec<Packet>>>;

impl Run {
    /// Waits for the first output: a busy machine starts a process slowly.
    async fn running(&mut self) {
        for _ in 0..100 {
            self.wait(Dur::from_millis(100)).await;
            if self.engine.status().borrow().state == State::Running {
                return;
            }
        }
        panic!("{:?}", self.engine.status().borrow());
    }

    /// Collects what comes of a room's stream.
    fn listen(&self, sound: u16) -> Heard {
        let heard: Heard = Arc::default();
        let mut reader = self.engine.room(TrackId(sound)).expect("stream").subscribe(hub::Start::Live);
        let to = heard.clone();
        self.group.spawn("listen", async move {
            loop {
                match reader.recv().await {
                    Ok(packet) => to.lock().unwrap().push(packet),
                    Err(hub::RecvError::Lagged(_)) => {}
                    Err(hub::RecvError::Ended) => return,
                }
            }
        });
        heard
    }
}

fn of(heard: &Heard, id: u16) -> Vec<Packet> {
    heard.lock().unwrap().iter().filter(|p| p.track.id.0 == id).cloned().collect()
}

/// How long a block of the rooms' sound is.
const BLOCK: Dur = Dur::from_millis(20);

/// Left channel of Opus packets with the time of its first sample, and how many blocks are missing, silence in their
/// place: the engine leaves blocks out when it is far behind, and counts them ([`Status::mixes_late`]).
fn opus_sound(packets: &[Packet]) -> ((Ts, Vec<f32>), u64) {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Stereo).unwrap();
    let mut pcm: Vec<f32> = Vec::new();
    let (start, mut missing) = (packets[0].pts, 0);
    let mut next = start;
    for (i, p) in packets.iter().enumerate() {
        let hole = p.pts - next;
        let blocks = hole.flicks() / BLOCK.flicks();
        assert!(blocks >= 0 && BLOCK * blocks == hole, "{hole} between {i} and the one before");
        missing += blocks as u64;
        pcm.resize(pcm.len() + 960 * blocks as usize, 0.0);
        let mut out = [0f32; 1920];
        assert_eq!(decoder.decode_float(&p.data, &mut out, false).unwrap(), 960);
        pcm.extend(out.iter().step_by(2));
        next = p.pts + BLOCK;
    }
    ((start, pcm), missing)
}

/// The steepest step between two samples.
fn steepest(pcm: &[f32]) -> f32 {
    pcm.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}

fn milliseconds(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2] * 1000.0, all[all.len() - 1] * 1000.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voice_stands_over_the_floor_in_its_language_and_nowhere_else() {
    let source = make(&[SMALL, TONE], &[X264, AAC], 15);
    let mut run = Run::start(interpreted);
    run.running().await;
    let (live, floor) = (run.listen(DE + REALTIME), run.listen(ROOM_FLOOR));
    run.engine.set_plan(plan(&[1], &[], -14.0));
    let at = run.soon();
    let s = |seconds: f64| at + Dur::from_secs_f64(seconds);
    run.voices.push(Speaker::new(1, at, 50, tone(440.0, 0.08)));
    let mut packets = source.at(at).into_iter().peekable();
    let mut off = at;
    for (until, on) in [(5.0, Some(true)), (10.0, Some(false)), (99.0, None)] {
        let mut some = Vec::new();
        while let Some(p) = packets.next_if(|p| p.dts < s(until)) {
            some.push(p);
        }
        run.play(some).await;
        if let Some(on) = on {
            let on_air: &[(u16, u32)] = if on { &[(DE, 1)] } else { &[] };
            off = run.clock.now();
            run.engine.set_plan(plan(&[1], on_air, -14.0));
        }
    }
    run.wait(Dur::from_millis(200)).await;
    let status = run.engine.status().borrow().clone();
    println!(
        "late {}, voices {:?}\noutputs {:?}\ncpu {:?}",
        status.mixes_late, status.voices, status.outputs, status.mix_cpu
    );
    assert_eq!((status.restarts, status.room_dropped), (0, 0), "{status:?}");
    let (_, report) = status.voices[0];
    assert!((report.level_db + 24.9).abs() < 0.5 && report.loss == 0.0, "{report:?}");
    assert!(status.outputs.len() == 6 && status.mix_cpu.outputs.len() == 6);
    // Before the wait, so that a status after it knows of every block that was left out of them.
    let (live, floor) = (of(&live, DE + REALTIME), of(&floor, ROOM_FLOOR));
    run.wait(Dur::from_millis(900)).await;
    let late = run.engine.status().borrow().mixes_late;
    let got = run.end().await;
    assert_eq!(check_slots(&got), 0);

    let decoded: BTreeMap<u16, (Ts, Vec<f32>)> = [FLOOR, DE, FR].map(|id| (id, sound(&got[&id]))).into();
    let full = level(part(&decoded[&FLOOR], s(6.0), s(9.0)), 1000.0);
    assert!((full + 15.05).abs() < 0.3, "{full}");
    let on = part(&decoded[&DE], s(6.5), s(9.5));
    let (voice, floor_under) = (level(on, 440.0), level(on, 1000.0));
    println!("on air: voice {voice:.2} dB, floor {floor_under:.2} dB of {full:.2} dB");
    assert!((floor_under - full + 14.0).abs() < 0.3, "{floor_under}");
    assert!((voice - floor_under - 14.0).abs() < 1.0, "{voice} over {floor_under}");
    for id in [FLOOR, FR] {
        let other = part(&decoded[&id], s(1.0), s(14.0));
        assert!(level(other, 440.0) < -60.0, "track {id}: {}", level(other, 440.0));
        assert!((level(other, 1000.0) - full).abs() < 0.1);
    }
    // Before and after: the floor at full level, nothing of the voice, and no click on the way.
    for (from, to) in [(2.0, 4.5), (12.0, 14.0)] {
        let quiet = part(&decoded[&DE], s(from), s(to));
        assert!((level(quiet, 1000.0) - full).abs() < 0.1 && level(quiet, 440.0) < -60.0);
    }
    let slope = 2.0 * std::f32::consts::PI / 48_000.0 * (0.177 * 1000.0 + 0.2 * 440.0);
    let step = steepest(part(&decoded[&DE], s(1.0), s(14.0)));
    assert!(step < slope * 1.1, "a step of {step}, slope {slope}");
    // Back along the ramp: 0.2 s after it went off air still down, after 0.65 s on its way, after 1.1 s at full level.
    let place = |ms: i64| {
        let from = off + Dur::from_millis(ms);
        level(part(&decoded[&DE], from, from + Dur::from_millis(60)), 1000.0) - full
    };
    let (held, way, back) = (place(200), place(650), place(1100));
    println!("released: {held:.1}, {way:.1}, {back:.1} dB");
    assert!((held + 14.0).abs() < 0.5 && way > -13.0 && way < -0.5 && back.abs() < 0.3);

    // The rooms hear the same without the delay.
    let (median, most) = milliseconds(live.iter().map(|p| (p.arrival - (p.pts + p.duration)).as_secs_f64()).collect());
    println!("realtime block sent {median:.1} ms after its end, at most {most:.1} ms");
    let ((live, missing), (floor, of_floor)) = (opus_sound(&live), opus_sound(&floor));
    assert!(missing.max(of_floor) <= late, "{missing} and {of_floor} blocks are missing, {late} were late");
    let on = part(&live, s(6.5), s(9.5));
    let (voice, under) = (level_of_parts(on, 440.0), level_of_parts(on, 1000.0));
    println!("realtime: voice {voice:.2} dB, floor {under:.2} dB");
    assert!((voice - under - 14.0).abs() < 1.0 && (under - full + 14.0).abs() < 0.5);
    let other = part(&floor, s(6.5), s(9.5));
    assert!(level_of_parts(other, 440.0) < -60.0 && (level_of_parts(other, 1000.0) - full).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voice_is_placed_where_its_speaker_heard_the_programme_and_at_once_in_the_room() {
    let mut run = Run::start(|config| {
        interpreted(config);
        config.video.clear();
        config.audio.push(language(IT, "it"));
        config.stems = true;
    });
    let languages = [(DE, 1u32, 0i64), (FR, 2, 100), (IT, 3, 250)];
    let listening: Vec<Heard> = languages.iter().map(|l| run.listen(l.0 + REALTIME)).collect();
    let on_air: Vec<(u16, u32)> = languages.iter().map(|l| (l.0, l.1)).collect();
    run.engine.set_plan(plan(&[1, 2, 3], &on_air, f32::NEG_INFINITY));
    run.running().await;
    run.wait(Dur::from_millis(500)).await;
    let begin = run.clock.now();
    // A knock of 30 ms, which begins in the middle of every 25th packet, in each voice a little later.
    for &(_, voice, lead) in &languages {
        let shift = i64::from(voice) * 1700 + 480;
        let knock = tone(1500.0, 0.4);
        let sound = move |i: i64| if (i - shift).rem_euclid(24_000) < 1440 { knock(i) } else { 0.0 };
        run.voices.push(Speaker::new(voice, begin, lead, sound));
    }
    run.wait(Dur::from_secs(9)).await;
    let status = run.engine.status().borrow().clone();
    println!("late {}, restarts {}, voices {:?}", status.mixes_late, status.restarts, status.voices);
    assert_eq!(status.restarts, 0, "{status:?}");
    // Before the wait, so that a status after it knows of every block that was left out of them.
    let rooms: Vec<Vec<Packet>> =
        languages.iter().zip(&listening).map(|(l, heard)| of(heard, l.0 + REALTIME)).collect();
    run.voices.clear();
    run.wait(Dur::from_millis(1200)).await;
    let late = run.engine.status().borrow().mixes_late;
    let stems = std::mem::take(&mut run.stems);
    let got = run.end().await;
    assert!(stems.len() > 1200, "{} packets of clean stems", stems.len());
    // What Opus looks ahead.
    let ahead = 312.0 / 48_000.0;
    for (&(id, voice, lead), packets) in languages.iter().zip(&rooms) {
        let (start, pcm) = sound(&got[&id]);
        let offset = (start - begin).as_secs_f64();
        let heard = onsets(pcm.iter().enumerate().map(|(i, s)| (offset + i as f64 / 48_000.0, s.abs() > 0.05)));
        // A sample that is spoken at t is in a packet that begins 10 ms before and arrives 10 ms later.
        let spoken = |k: i64| (k * 24_000 + i64::from(voice) * 1700 + 480) as f64 / 48_000.0;
        let expected = |k: i64| spoken(k) + 0.020 - lead as f64 / 1000.0 + ahead;
        let off: Vec<f64> = (3..17)
            .map(|k| heard.iter().map(|h| h - expected(k)).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap())
            .collect();
        println!("lead {lead} ms: off by {:.1?} ms", off.iter().map(|o| o * 1000.0).collect::<Vec<_>>());
        assert!(off.iter().all(|o| o.abs() <= 0.010), "lead {lead} ms: {off:?}");
        // In the room: from the arrival of the packet that holds the knock's beginning to when the listener has it.
        let ((start, pcm), missing) = opus_sound(packets);
        assert!(missing <= late, "{missing} blocks are missing, {late} were late");
        let offset = (start - begin).as_secs_f64();
        let knocks = onsets(pcm.iter().enumerate().map(|(i, s)| (offset + i as f64 / 48_000.0, s.abs() > 0.05)));
        let delays: Vec<f64> = (4..17)
            .filter_map(|k| {
                let came = (spoken(k) / 0.020).floor() * 0.020 + 0.020;
                let heard = knocks.iter().copied().find(|&h| h > spoken(k) && h < spoken(k) + 0.4)?;
                let block = packets.iter().rfind(|p| p.pts <= begin + Dur::from_secs_f64(heard))?;
                Some((block.arrival - begin).as_secs_f64() - came)
            })
            .collect();
        assert!(delays.len() >= 10, "{delays:?}");
        let (median, most) = milliseconds(delays);
        println!("packet in to packet out {median:.1} ms, at most {most:.1} ms");
        assert!(median <= 150.0, "{median} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_child_mixes_by_the_same_plan() {
    let source = make(&[SMALL, TONE], &[X264, AAC], 9);
    let mut run = Run::start(interpreted);
    run.running().await;
    let live = run.listen(DE + REALTIME);
    run.engine.set_plan(plan(&[1], &[(DE, 1)], -14.0));
    let at = run.soon();
    let s = |seconds: f64| at + Dur::from_secs_f64(seconds);
    run.voices.push(Speaker::new(1, at, 50, tone(440.0, 0.08)));
    let (before, after): (Vec<Packet>, Vec<Packet>) = source.at(at).into_iter().partition(|p| p.dts < s(4.0));
    run.play(before).await;
    let pid = run.engine.status().borrow().pid.unwrap();
    let kill = rustix::process::Signal::KILL;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), kill).unwrap();
    run.play(after).await;
    run.wait(Dur::from_millis(800)).await;
    assert_eq!(run.engine.status().borrow().restarts, 1);
    let got = run.end().await;
    check_slots(&got);
    let german = sound(&got[&DE]);
    for (from, to) in [(2.5, 3.0), (6.5, 8.5)] {
        let on = part(&german, s(from), s(to));
        let (voice, under) = (level(on, 440.0), level(on, 1000.0));
        println!("{from} s: voice {voice:.1} dB over {under:.1} dB");
        assert!((under + 29.05).abs() < 0.7 && voice > -26.0, "{from}: {voice} over {under}");
    }
    let live: Vec<Packet> = of(&live, DE + REALTIME);
    let gap = live.windows(2).map(|w| w[1].arrival - w[0].arrival).max().unwrap();
    println!("the room heard nothing for {} ms", gap.as_millis());
    assert!(gap < Dur::from_secs(2));
    assert!(Arc::ptr_eq(&live[0].track, &live[live.len() - 1].track), "the format did not change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn languages_come_and_go_and_garbage_is_spoken_without_disturbing_the_others() {
    let source = make(&[SMALL, TONE], &[X264, AAC], 10);
    let mut run = Run::start(interpreted);
    run.engine.set_realtime(vec![TrackId(IT + REALTIME)]);
    run.running().await;
    let floor = run.listen(ROOM_FLOOR);
    assert!(run.engine.room(TrackId(IT + REALTIME)).is_none());
    run.engine.set_plan(plan(&[1, 2], &[(DE, 1), (IT, 2)], -14.0));
    let at = run.soon();
    let s = |seconds: f64| at + Dur::from_secs_f64(seconds);
    let noise = |i: i64| ((i.wrapping_mul(1_103_515_245) >> 8) as u16 as f32 / 32_768.0 - 1.0) * 0.99;
    run.voices.push(Speaker { garbage: true, ..Speaker::new(1, at, 50, noise) });
    run.voices.push(Speaker::new(2, at, 50, noise));
    let (before, after): (Vec<Packet>, Vec<Packet>) = source.at(at).into_iter().partition(|p| p.dts < s(3.0));
    run.play(before).await;
    let floor_spec = AudioSpec::new(TrackId(FLOOR), "floor", 0, 128_000);
    run.engine.set_audio(vec![floor_spec, language(DE, "de"), language(IT, "it")]);
    let italian = run.listen(IT + REALTIME);
    run.play(after).await;
    run.wait(Dur::from_millis(900)).await;
    let status = run.engine.status().borrow().clone();
    assert_eq!(status.restarts, 0, "{status:?}");
    let got = run.end().await;
    assert_eq!(check_slots(&got), 0);
    let first = &got[&IT][0];
    let segment = grid().segment_start(grid().segment_number(first.pts));
    println!("added after 3 s, begins at {:.2} s", (first.pts - at).as_secs_f64());
    assert_eq!(first.pts, grid().aac_start(grid().aac_number(segment)), "at a segment's start");
    assert!(first.pts < s(3.0) + grid().segment() * 2);
    let last = got[&FR].last().unwrap().pts;
    assert!(last < s(4.0), "removed: {}", last - at);
    let pcm = sound(&got[&FLOOR]);
    for k in 10..90 {
        let part = part(&pcm, s(f64::from(k) / 10.0), s(f64::from(k + 1) / 10.0));
        assert!((level(part, 1000.0) + 15.05).abs() < 0.3, "{k}");
    }
    // Full-scale noise over the floor, matched and limited.
    let (_, it) = sound(&got[&IT]);
    assert!(it.iter().all(|s| s.abs() <= 1.1), "AAC may add a little to what was limited");
    assert!(of(&floor, ROOM_FLOOR).is_empty(), "not wanted");
    assert!(of(&italian, IT + REALTIME).len() > 250);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rooms_see_the_picture_at_once_and_the_slate_when_there_is_none() {
    // B-frames.
    let source = make(&[FLASH, BEEP], &[X264, AAC], 6);
    let mut run = Run::start(|config| {
        interpreted(config);
        config.slate.after = Dur::from_secs(2);
    });
    run.running().await;
    let seen = run.listen(ROOM_FLOOR);
    let starved = Starved::watch();
    let at = run.soon();
    let s = |seconds: f64| at + Dur::from_secs_f64(seconds);
    let (before, after): (Vec<Packet>, Vec<Packet>) = source.at(at).into_iter().partition(|p| p.dts < s(1.5));
    run.play(before).await;
    assert!(of(&seen, ROOM_PICTURE).is_empty(), "nobody looks");
    run.engine.set_room_video(true);
    let (some, rest): (Vec<Packet>, Vec<Packet>) = after.into_iter().partition(|p| p.dts < s(3.1));
    run.play(some).await;
    let asked = run.clock.now();
    run.engine.key_frame();
    run.play(rest).await;
    run.wait(Dur::from_secs(4)).await;
    run.engine.set_room_video(false);
    // What was on its way may still come. A picture that stands would come twice a second.
    let (off, mut n) = (run.clock.now(), usize::MAX);
    let mut since = off;
    while run.clock.now() - since < Dur::from_secs(1) {
        assert!(run.clock.now() - off < Dur::from_secs(10), "nobody looks");
        run.wait(Dur::from_millis(50)).await;
        let count = of(&seen, ROOM_PICTURE).len();
        if count != n {
            (n, since) = (count, run.clock.now());
        }
    }
    assert_eq!(run.engine.status().borrow().restarts, 0);
    run.end().await;
    let starved = Dur::from_std(starved.end());
    println!("the machine gave no time for {} ms", starved.as_millis());

    let pictures_of = of(&seen, ROOM_PICTURE);
    assert!(pictures_of[0].key && pictures_of[0].pts < s(2.2) + starved, "{}", pictures_of[0].pts - at);
    assert!(pictures_of.windows(2).all(|w| w[1].pts > w[0].pts), "in the order of showing");
    let format = pictures_of[0].track.video().unwrap();
    assert_eq!((format.width, format.height, format.config[1]), (640, 360, 0x42), "Baseline");
    let live: Vec<&Packet> = pictures_of.iter().filter(|p| p.pts > s(2.2) && p.pts < s(5.8)).collect();
    assert!(live.len() > 75, "{} pictures in 3.6 s", live.len());
    let (median, most) = milliseconds(live.iter().map(|p| (p.arrival - p.pts).as_secs_f64()).collect());
    println!("room picture {median:.0} ms after its instant, at most {most:.0} ms");
    assert!(median < 250.0, "{median}");
    let keys: Vec<Ts> = pictures_of.iter().filter(|p| p.key).map(|p| p.arrival).collect();
    assert!(keys.windows(2).all(|w| w[1] - w[0] < Dur::from_millis(2700)), "{keys:?}");
    let answer = keys.iter().map(|&k| k - asked).find(|d| *d >= Dur::ZERO).unwrap();
    println!("key frame {} ms after it was asked for", answer.as_millis());
    assert!(answer < Dur::from_millis(600) + starved);
    // Flashes are where they were; after the end the last picture stands, then the slate.
    let shown = pictures(&pictures_of);
    let flashes = onsets(shown.iter().map(|p| ((p.0 - at).as_secs_f64(), p.1 > 200.0)));
    println!("flashes {flashes:.3?}");
    assert!([3.0, 4.0, 5.0].iter().all(|f| flashes.iter().any(|g| (f - g).abs() <= 0.040)), "{flashes:?}");
    assert!(shown.iter().any(|p| p.0 > s(6.3) && p.0 < s(7.5) && p.1 > 60.0), "it stands");
    assert!(shown.iter().filter(|p| p.0 > s(8.8)).all(|p| p.1 < 60.0), "the slate");
    assert!(shown.iter().any(|p| p.0 > s(8.8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voice_lost_on_air_lets_the_floor_back_within_a_second() {
    let source = make(&[SMALL, TONE], &[X264, AAC], 8);
    let mut run = Run::start(interpreted);
    run.running().await;
    let live = run.listen(DE + REALTIME);
    run.engine.set_plan(plan(&[1], &[(DE, 1)], -20.0));
    let at = run.soon();
    let s = |seconds: f64| at + Dur::from_secs_f64(seconds);
    run.voices.push(Speaker::new(1, at, 50, tone(440.0, 0.08)));
    let (before, after): (Vec<Packet>, Vec<Packet>) = source.at(at).into_iter().partition(|p| p.dts < s(4.0));
    run.play(before).await;
    // The tab dies; nobody says so.
    run.voices.clear();
    let lost = run.clock.now();
    run.play(after).await;
    let status = run.engine.status().borrow().clone();
    assert_eq!((status.restarts, status.voices[0].1.loss), (0, 1.0), "{status:?}");
    // Before the wait, so that a status after it knows of every block that was left out of them.
    let live = of(&live, DE + REALTIME);
    run.wait(Dur::from_millis(900)).await;
    let late = run.engine.status().borrow().mixes_late;
    let got = run.end().await;
    let (live, missing) = opus_sound(&live);
    assert!(missing <= late, "{missing} blocks are missing, {late} were late");
    // In the room the second counts from the last that is heard of the voice: it waits for late packets as long as the
    // worst of them took, half a second at most, and then fades within a tenth.
    let latest = lost + Dur::from_millis(700);
    let blocks = live.1.chunks_exact(960).enumerate();
    let ended = blocks
        .map(|(i, block)| (live.0 + BLOCK * (i as i64 + 1), block))
        .rfind(|(end, block)| *end <= latest && level(block, 440.0) > -40.0)
        .map(|(end, _)| end)
        .expect("the voice was heard");
    println!("realtime: the voice ends {} ms after its last packet", (ended - lost).as_millis());
    for (name, mix, since) in [("programme", sound(&got[&DE]), lost), ("realtime", live, ended)] {
        let full = level_of_parts(part(&mix, lost + Dur::from_secs(2), lost + Dur::from_secs(3)), 1000.0);
        let under = level_of_parts(part(&mix, s(2.5), s(3.5)), 1000.0);
        let at = |ms: i64| {
            let from = since + Dur::from_millis(ms);
            level(part(&mix, from, from + Dur::from_millis(60)), 1000.0) - full
        };
        println!(
            "{name}: {under:.1} of {full:.1} dB, after 0.3 s {:.1}, 0.7 s {:.1}, 1 s {:.1}",
            at(300),
            at(700),
            at(1000)
        );
        assert!((full + 15.05).abs() < 0.5 && (under + 35.05).abs() < 0.7);
        assert!(at(1000) > -0.5, "{name}: {}", at(1000));
    }
}
