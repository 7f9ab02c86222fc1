use super::*;
use crate::hub::Limits;
use crate::media::SimClock;
use crate::select::Cause;
use crate::select::testing::{Encoder, Random, ms, start};
use std::time::Duration;

const MAIN: InputName = InputName::Main;
const BACKUP: InputName = InputName::Backup;

/// A selector on simulated time.
struct Rig {
    clock: SimClock,
    group: Group,
    selector: Selector,
}

impl Rig {
    fn new() -> Rig {
        let clock = SimClock::new(start());
        let group = Group::new();
        let selector = Selector::start(&group, Arc::new(clock.clone()), Config::default());
        Rig { clock, group, selector }
    }

    fn now(&self) -> i64 {
        (self.clock.now() - start()).as_millis()
    }

    /// Publishes what the encoders send, as time passes.
    async fn run(&self, lines: &[(&Publisher, &Encoder, i64)], millis: i64) {
        for _ in 0..millis / 20 {
            let now = self.now();
            for (publisher, encoder, since) in lines {
                for packet in encoder.packets(*since, now, now + 20, 0, &mut Random(1)) {
                    publisher.publish(packet);
                }
            }
            self.clock.run(ms(20)).await;
        }
    }

    fn state(&self) -> State {
        self.selector.state().borrow().clone()
    }
}

fn drain(reader: &mut Subscriber) -> Vec<Packet> {
    let mut out = Vec::new();
    while let Ok(Some(packet)) = reader.try_recv() {
        out.push(packet);
    }
    out
}

#[tokio::test]
async fn two_inputs_make_one_programme_that_outlives_them() {
    let rig = Rig::new();
    let mut programme = rig.selector.programme().subscribe(Start::Live);
    let mut switches = rig.selector.switches();
    let (main, main_stream) = hub::stream(Limits::default());
    let (backup, backup_stream) = hub::stream(Limits::default());
    let encoder = Encoder::new();
    rig.selector.attach(MAIN, main_stream);
    rig.run(&[(&main, &encoder, 0)], 1000).await;
    rig.selector.attach(BACKUP, backup_stream);
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 1000)], 3500).await;
    assert_eq!(rig.state().active, Some(MAIN));

    // The publisher goes away: that alone detaches it.
    drop(main);
    rig.run(&[(&backup, &encoder, 1000)], 2000).await;
    assert_eq!(rig.state().active, Some(BACKUP));
    drop(backup);
    rig.run(&[], 1000).await;
    let state = rig.state();
    assert_eq!(state.active, None);
    let causes = [Cause::Start, Cause::Disconnected, Cause::Disconnected];
    assert_eq!(state.switches.iter().map(|s| s.cause).collect::<Vec<_>>(), causes);
    for expected in state.switches.iter() {
        assert_eq!(switches.try_recv().as_ref(), Ok(expected));
    }

    let packets = drain(&mut programme);
    let epochs: Vec<u32> = packets.iter().map(|p| p.epoch).collect();
    assert!(epochs.is_sorted() && epochs.last() == Some(&1));
    for p in &packets {
        assert!(p.arrival - p.dts >= -ms(500) && p.arrival - p.dts <= ms(300), "{p:?}");
    }
    assert_eq!(programme.try_recv().map(|p| p.is_none()), Ok(true), "the programme goes on without input");
    assert!(rig.group.close(Duration::from_secs(5)).await);
    assert!(matches!(programme.try_recv(), Err(RecvError::Ended)));
}

#[tokio::test]
async fn silence_is_seen_without_any_packet() {
    let rig = Rig::new();
    let (main, stream) = hub::stream(Limits::default());
    rig.selector.attach(MAIN, stream);
    rig.run(&[(&main, &Encoder::new(), 0)], 2000).await;
    let mut state = rig.selector.state();
    state.mark_unchanged();
    rig.run(&[], 460).await;
    assert!(!state.has_changed().expect("the selector runs"));
    rig.run(&[], 40).await;
    assert_eq!(rig.state().active, None);
    assert_eq!(rig.state().switches.last().map(|s| (s.cause, s.at)), Some((Cause::NoMedia, start() + ms(2480))));
}

#[tokio::test]
async fn a_hand_and_a_detach_reach_the_task_and_a_new_publisher_replaces_the_old() {
    let rig = Rig::new();
    let encoder = Encoder::new();
    let (main, main_stream) = hub::stream(Limits::default());
    let (backup, backup_stream) = hub::stream(Limits::default());
    rig.selector.attach(MAIN, main_stream);
    rig.selector.attach(BACKUP, backup_stream);
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 0)], 2000).await;
    rig.selector.set_mode(Some(BACKUP));
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 0)], 2000).await;
    assert_eq!((rig.state().active, rig.state().mode), (Some(BACKUP), super::super::Mode::Manual(BACKUP)));
    rig.selector.set_mode(None);
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 0)], 5000).await;
    assert_eq!(rig.state().active, Some(MAIN));

    let (second, second_stream) = hub::stream(Limits::default());
    rig.selector.detach(BACKUP);
    rig.selector.attach(MAIN, second_stream);
    let since = rig.now();
    rig.run(&[(&main, &encoder, 0), (&second, &encoder, since)], 3000).await;
    assert_eq!(rig.state().active, Some(MAIN));
    rig.selector.detach(MAIN);
    rig.run(&[(&second, &encoder, since)], 100).await;
    assert_eq!(rig.state().active, None);
    rig.group.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_selector_that_was_held_up_judges_by_arrival() {
    let rig = Rig::new();
    let encoder = Encoder::new();
    let (main, main_stream) = hub::stream(Limits::default());
    let (backup, backup_stream) = hub::stream(Limits::default());
    rig.selector.attach(MAIN, main_stream);
    rig.selector.attach(BACKUP, backup_stream);
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 0)], 3000).await;
    // Two seconds of packets come while the task does not get its turn.
    rig.clock.advance(ms(2000));
    for (publisher, from) in [(&backup, 3000), (&main, 3000)] {
        for packet in encoder.packets(0, from, from + 2000, 0, &mut Random(1)) {
            publisher.publish(packet);
        }
    }
    rig.run(&[(&main, &encoder, 0), (&backup, &encoder, 0)], 1000).await;
    assert_eq!(rig.state().switches.len(), 1, "{:?}", rig.state().switches);
}
