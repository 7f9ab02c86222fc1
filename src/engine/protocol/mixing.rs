//! The fields of voices, mix plans, and what is reported of them.

use super::fields::{Reader, Writer};
use super::{MAX_VOICE, ProtocolError, TimedPlan};
use crate::engine::{MixCpu, OutputCpu, OutputLevel};
use crate::media::{Dur, LanguageMix, MixPlan, Ramps, TrackId, Ts, VoiceId, VoicePacket, VoiceReport};

pub(super) fn write_voice(w: &mut Writer, p: &VoicePacket) {
    w.u32(p.voice.0).i64(p.sequence).i64(p.rtp).i64(p.arrival.flicks()).i64(p.lead.flicks());
}

pub(super) fn read_voice(r: &mut Reader) -> Result<VoicePacket, ProtocolError> {
    let (voice, sequence, rtp) = (VoiceId(r.u32()?), r.i64()?, r.i64()?);
    let (arrival, lead) = (Ts::from_flicks(r.i64()?), Dur::from_flicks(r.i64()?));
    let data = r.rest();
    if data.len() > MAX_VOICE {
        return Err(ProtocolError::Size { what: "voice packet", size: data.len(), most: MAX_VOICE });
    }
    Ok(VoicePacket { voice, sequence, rtp, arrival, lead, data })
}

fn write_voices(w: &mut Writer, voices: &[VoiceId]) {
    w.list(voices, |w, v| {
        w.u32(v.0);
    });
}

fn read_voices(r: &mut Reader) -> Result<Vec<VoiceId>, ProtocolError> {
    r.list("voices", |r| Ok(VoiceId(r.u32()?)))
}

pub(super) fn write_plan(w: &mut Writer, timed: &TimedPlan) {
    let plan = &timed.plan;
    w.i64(timed.at.flicks());
    w.list(&plan.languages, |w, l| {
        w.u16(l.output.0).f32(l.floor_level_db);
        write_voices(w, &l.on_air);
    });
    write_voices(w, &plan.voices);
    w.i64(plan.ramps.attack.flicks()).i64(plan.ramps.hold.flicks()).i64(plan.ramps.release.flicks());
}

pub(super) fn read_plan(r: &mut Reader) -> Result<TimedPlan, ProtocolError> {
    let at = Ts::from_flicks(r.i64()?);
    let languages = r.list("languages", |r| {
        let (output, floor_level_db) = (TrackId(r.u16()?), r.f32()?);
        Ok(LanguageMix { output, on_air: read_voices(r)?, floor_level_db })
    })?;
    let voices = read_voices(r)?;
    let (attack, hold, release) = (r.i64()?, r.i64()?, r.i64()?);
    let ramps =
        Ramps { attack: Dur::from_flicks(attack), hold: Dur::from_flicks(hold), release: Dur::from_flicks(release) };
    Ok(TimedPlan { at, plan: MixPlan { languages, voices, ramps } })
}

pub(super) fn write_reports(w: &mut Writer, voices: &[(VoiceId, VoiceReport)]) {
    w.list(voices, |w, (id, v)| {
        w.u32(id.0).f32(v.level_db).f32(v.peak_db).f32(v.jitter_ms).f32(v.loss).f32(v.concealed).f32(v.recovered);
        w.f32(v.delay_ms);
    });
}

pub(super) fn read_reports(r: &mut Reader) -> Result<Vec<(VoiceId, VoiceReport)>, ProtocolError> {
    r.list("voices", |r| {
        let id = VoiceId(r.u32()?);
        let (level_db, peak_db, jitter_ms) = (r.f32()?, r.f32()?, r.f32()?);
        let (loss, concealed, recovered, delay_ms) = (r.f32()?, r.f32()?, r.f32()?, r.f32()?);
        Ok((id, VoiceReport { level_db, peak_db, jitter_ms, loss, concealed, recovered, delay_ms }))
    })
}

pub(super) fn write_outputs(w: &mut Writer, outputs: &[OutputLevel]) {
    w.list(outputs, |w, o| {
        w.u16(o.track).f32(o.peak_db).f32(o.rms_db).f32(o.floor_db).f32(o.limited_db);
    });
}

pub(super) fn read_outputs(r: &mut Reader) -> Result<Vec<OutputLevel>, ProtocolError> {
    r.list("outputs", |r| {
        let (track, peak_db, rms_db) = (r.u16()?, r.f32()?, r.f32()?);
        Ok(OutputLevel { track, peak_db, rms_db, floor_db: r.f32()?, limited_db: r.f32()? })
    })
}

pub(super) fn write_cpu(w: &mut Writer, cpu: &MixCpu) {
    w.f64(cpu.floor).f64(cpu.voices);
    w.list(&cpu.outputs, |w, o| {
        w.u16(o.track).f64(o.mix).f64(o.encode);
    });
}

pub(super) fn read_cpu(r: &mut Reader) -> Result<MixCpu, ProtocolError> {
    let (floor, voices) = (r.f64()?, r.f64()?);
    let outputs = r.list("outputs", |r| Ok(OutputCpu { track: r.u16()?, mix: r.f64()?, encode: r.f64()? }))?;
    Ok(MixCpu { floor, voices, outputs })
}
