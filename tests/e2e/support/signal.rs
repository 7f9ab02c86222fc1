//! A programme whose every frame and second can be recognised after any encode, and the instruments that read it.
//!
//! Picture: a strip across the top sixth carries the frame number as 20 cells, each a pair of a bit and its complement
//! one below the other, so that a cell reads right at any brightness and a blend of two frames reads as nothing. The
//! bottom quarter is black, and white for one frame at the start of each second. Sound: a 1 kHz tone for 40 ms at the
//! same instants.

use super::ffmpeg;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Cells of the strip: the frame number modulo 2^20.
const CELLS: usize = 20;
/// What the pictures are scaled to before they are read: 8 pixels a cell.
const WIDTH: usize = CELLS * 8;
const HEIGHT: usize = 90;

/// A lavfi graph for `-f lavfi -i` that draws the picture.
pub fn picture(width: u32, height: u32, rate: u32) -> String {
    format!(
        "testsrc2=s={width}x{height}:r={rate}[bg];\
         color=c=black:s={CELLS}x2:r={rate},format=gray,geq=lum='16+219*abs(mod(floor(N/pow(2\\,X))\\,2)-Y)',\
         scale={width}:{strip}:flags=neighbor,format=yuv420p[strip];\
         [bg][strip]overlay=0:0:shortest=1,\
         drawbox=x=0:y=ih*3/4:w=iw:h=ih/4:c=black:t=fill,\
         drawbox=x=0:y=ih*3/4:w=iw:h=ih/4:c=white:t=fill:enable='eq(mod(n\\,{rate})\\,0)',format=yuv420p",
        strip = height / 6 / 2 * 2,
    )
}

/// A lavfi graph for `-f lavfi -i` that sounds the beeps, in stereo.
pub fn beeps(sample_rate: u32) -> String {
    format!("aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.04)|0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.04)':s={sample_rate}")
}

/// One decoded picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Presentation time in seconds on the file's own timeline.
    pub at: f64,
    /// The number burned in, `None` if it cannot be read.
    pub number: Option<u32>,
    /// Whether the bottom quarter is lit.
    pub flash: bool,
}

/// Decoded sound: runs of mono samples, each with the presentation time of its first. A run ends where the next packet's
/// time is a millisecond off.
#[derive(Clone, Debug)]
pub struct Sound {
    pub rate: u32,
    pub runs: Vec<(f64, Vec<f32>)>,
}

/// What ffmpeg printed, as lines, and what it wrote.
async fn decode(file: &Path, args: &[&str]) -> (String, Vec<u8>) {
    let mut command = Command::new(ffmpeg());
    command.args(["-hide_banner", "-nostdin", "-nostats", "-v", "info", "-copyts", "-i"]).arg(file).args(args).arg("-");
    let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("ffmpeg starts");
    let log = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "ffmpeg could not decode {}:\n{log}", file.display());
    (log, out.stdout)
}

/// The number after `key` in a line such as `n:   3 pts:  512 pts_time:0.04`.
fn field(line: &str, key: &str) -> Option<i64> {
    let at = line.find(key)? + key.len();
    line[at..].split_whitespace().next()?.parse().ok()
}

/// Decodes the first video track.
pub async fn frames(file: &Path) -> Vec<Frame> {
    let scale = format!("showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area,format=gray");
    let (log, raw) =
        decode(file, &["-map", "0:v:0", "-vf", &scale, "-fps_mode", "passthrough", "-f", "rawvideo"]).await;
    let base = log
        .lines()
        .find_map(|l| l.split_once("config in time_base: ")?.1.split(',').next())
        .and_then(|b| b.split_once('/'))
        .map(|(n, d)| n.parse::<f64>().unwrap() / d.parse::<f64>().unwrap())
        .unwrap_or_else(|| panic!("no time base in\n{log}"));
    let times: Vec<f64> = log
        .lines()
        .filter(|l| l.contains("showinfo"))
        .filter_map(|l| field(l, " pts:"))
        .map(|p| p as f64 * base)
        .collect();
    let pictures: Vec<&[u8]> = raw.chunks_exact(WIDTH * HEIGHT).collect();
    assert_eq!(times.len(), pictures.len(), "as many times as pictures in {}\n{log}", file.display());
    times.into_iter().zip(pictures).map(|(at, p)| Frame { at, number: number(p), flash: lit(p) }).collect()
}

fn mean(picture: &[u8], columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> f64 {
    let n = (columns.len() * rows.len()) as f64;
    rows.flat_map(|y| columns.clone().map(move |x| y * WIDTH + x)).map(|i| f64::from(picture[i])).sum::<f64>() / n
}

fn number(picture: &[u8]) -> Option<u32> {
    (0..CELLS).try_fold(0, |number, cell| {
        let columns = cell * 8 + 2..cell * 8 + 6;
        // The strip is 15 of 90 lines: the bit in lines 0 to 7, its complement in 7 to 15.
        let contrast = mean(picture, columns.clone(), 2..6) - mean(picture, columns, 9..13);
        (contrast.abs() > 60.0).then(|| if contrast > 0.0 { number | 1 << cell } else { number })
    })
}

fn lit(picture: &[u8]) -> bool {
    mean(picture, 8..WIDTH - 8, HEIGHT * 3 / 4 + 4..HEIGHT - 4) > 128.0
}

/// Decodes the first audio track to mono.
pub async fn sound(file: &Path) -> Sound {
    let filter = "ashowinfo,aformat=sample_fmts=s16:channel_layouts=mono";
    let (log, raw) = decode(file, &["-map", "0:a:0", "-af", filter, "-f", "s16le"]).await;
    let mut samples = raw.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
    let mut runs: Vec<(f64, Vec<f32>)> = Vec::new();
    let mut rate = 0;
    for line in log.lines().filter(|l| l.contains("ashowinfo")) {
        let (Some(pts), Some(r), Some(count)) =
            (field(line, " pts:"), field(line, " rate:"), field(line, " nb_samples:"))
        else {
            continue;
        };
        rate = r as u32;
        // ffmpeg gives sound filters the sample as time base.
        let at = pts as f64 / r as f64;
        let next: Vec<f32> = samples.by_ref().take(count as usize).collect();
        match runs.last_mut() {
            Some((start, run)) if (*start + run.len() as f64 / r as f64 - at).abs() < 0.001 => run.extend(next),
            _ => runs.push((at, next)),
        }
    }
    assert!(rate > 0, "no sound in {}:\n{log}", file.display());
    Sound { rate, runs }
}

/// The instants at which the flashes begin.
pub fn flashes(frames: &[Frame]) -> Vec<f64> {
    frames.windows(2).filter(|w| !w[0].flash && w[1].flash).map(|w| w[1].at).collect()
}

/// The instants at which the beeps begin: the first millisecond that is half as loud as the loudest one.
pub fn onsets(sound: &Sound) -> Vec<f64> {
    let window = sound.rate as usize / 1000;
    let loudness = |w: &[f32]| (w.iter().map(|s| s * s).sum::<f32>() / w.len() as f32).sqrt();
    let most = sound.runs.iter().flat_map(|(_, run)| run.chunks_exact(window)).map(loudness).fold(0.0, f32::max);
    assert!(most > 0.05, "the sound is silent: {most}");
    let mut found = Vec::new();
    for (start, run) in &sound.runs {
        // A run that begins inside a beep does not show where the beep began.
        let mut quiet_for = 0;
        let mut at = 0;
        while at + window <= run.len() {
            if loudness(&run[at..at + window]) > most / 2.0 {
                if quiet_for > sound.rate as usize / 10 {
                    found.push(start + at as f64 / f64::from(sound.rate));
                }
                quiet_for = 0;
                at += window;
            } else {
                quiet_for += 8;
                at += 8;
            }
        }
    }
    found
}

/// The instants at which a tone begins to sound, whatever else does: when 10 ms of it first reach half its loudest, after
/// 100 ms without it.
pub fn onsets_of(sound: &Sound, hertz: f64) -> Vec<f64> {
    let (window, step) = (sound.rate as usize / 100, sound.rate as usize / 1000);
    let mut found = Vec::new();
    for (start, run) in &sound.runs {
        let levels: Vec<f64> = (0..run.len().saturating_sub(window))
            .step_by(step)
            .map(|at| tone(&run[at..at + window], sound.rate, hertz))
            .collect();
        let most = levels.iter().copied().fold(0.0, f64::max);
        let mut quiet = 0;
        for (i, &level) in levels.iter().enumerate() {
            // Half its loudest is reached when half of the window is full.
            if level > most / 2.0 {
                if quiet >= 100 {
                    found.push(start + (i * step + window / 2) as f64 / f64::from(sound.rate));
                }
                quiet = 0;
            } else if level < most / 4.0 {
                quiet += 1;
            }
        }
    }
    found
}

/// By how many seconds each beep comes after the flash that belongs to it. Flashes without a beep near them do not
/// count, so look at how many there are.
pub fn offsets(flashes: &[f64], onsets: &[f64]) -> Vec<f64> {
    flashes
        .iter()
        .filter_map(|f| onsets.iter().map(|o| o - f).min_by(|a, b| a.abs().total_cmp(&b.abs())))
        .filter(|o| o.abs() < 0.5)
        .collect()
}

/// The amplitude of `frequency` in the samples (Goertzel), 1.0 for a sine at full scale.
pub fn tone(samples: &[f32], rate: u32, frequency: f64) -> f64 {
    let n = samples.len() as f64;
    let k = (n * frequency / f64::from(rate)).round();
    let w = 2.0 * std::f64::consts::PI * k / n;
    let (mut s1, mut s2) = (0.0, 0.0);
    for &x in samples {
        (s1, s2) = (f64::from(x) + 2.0 * w.cos() * s1 - s2, s1);
    }
    2.0 * (s1 * s1 + s2 * s2 - 2.0 * w.cos() * s1 * s2).max(0.0).sqrt() / n
}

/// Runs ffmpeg to its end, to make a file.
pub async fn make<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) {
    let out = Command::new(ffmpeg())
        .args(["-hide_banner", "-nostdin", "-v", "error", "-y"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("ffmpeg starts");
    assert!(out.status.success(), "ffmpeg failed:\n{}", String::from_utf8_lossy(&out.stderr));
}
