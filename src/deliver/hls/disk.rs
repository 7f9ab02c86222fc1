//! Complete segments on disk, and the index that lists them.
//!
//! **Layout.** `{root}/{event}/{rendition}/{number}.m4s`, and beside them `index.jsonl`: a line per header and per
//! segment, appended after the segment's file is complete. A line whose file is missing or short is a gap; a torn
//! line (kill −9 while writing) is skipped; a file without a line is deleted. So what is listed after a restart is there.
//! Nothing is synced: a power cut may cost DVR segments, which then are gaps. Recordings are the place for safety.
//! **Bound.** Files leave when the window says so; the index is rewritten when it has [`SPARE_LINES`] lines too many.
//! All calls block: they belong on a blocking thread.

use crate::media::{AudioCodec, AudioFormat, Media, Track, TrackId, VideoCodec, VideoFormat};
use crate::package::{Entry, Init};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest line that is read: a header with the largest decoder configurations that ingest admits, in base64.
const MAX_LINE: u64 = 512 << 10;
/// Most segments that are read from an index: four weeks of two-second segments.
const MAX_ENTRIES: usize = 1_300_000;
/// Lines of segments that are gone which an index may hold before it is rewritten.
const SPARE_LINES: usize = 4096;

const INDEX: &str = "index.jsonl";

/// How bytes get onto the disk; tests put a full one here.
pub trait Medium: Send + Sync + 'static {
    /// Creates `path` with `pieces` one after another.
    ///
    /// # Errors
    /// As the system says; a file that was begun may be left.
    fn write(&self, path: &Path, pieces: &[Bytes]) -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends `line` to `file`.
    ///
    /// # Errors
    /// As the system says.
    fn append(&self, mut file: &File, line: &[u8]) -> io::Result<()> {
        file.write_all(line)
    }
}

/// The system's file system.
pub struct System;

impl Medium for System {}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Init(InitLine),
    Segment(Entry),
}

#[derive(Serialize, Deserialize)]
struct InitLine {
    version: u32,
    codecs: String,
    /// Base64.
    data: String,
    track: u16,
    media: MediaLine,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MediaLine {
    Video {
        codec: String,
        config: String,
        width: u32,
        height: u32,
        frame_rate: Option<(u32, u32)>,
        sample_aspect: Option<(u16, u16)>,
    },
    Audio {
        codec: String,
        config: String,
        sample_rate: u32,
        channels: u8,
    },
}

impl InitLine {
    fn new(init: &Init) -> InitLine {
        let media = match &init.track.media {
            Media::Video(v) => MediaLine::Video {
                codec: v.codec.to_string(),
                config: BASE64.encode(&v.config),
                width: v.width,
                height: v.height,
                frame_rate: v.frame_rate,
                sample_aspect: v.sample_aspect,
            },
            Media::Audio(a) => MediaLine::Audio {
                codec: a.codec.to_string(),
                config: BASE64.encode(&a.config),
                sample_rate: a.sample_rate,
                channels: a.channels,
            },
        };
        InitLine {
            version: init.version,
            codecs: init.codecs.clone(),
            data: BASE64.encode(&init.data),
            track: init.track.id.0,
            media,
        }
    }

    fn into_init(self) -> Option<Init> {
        let bytes = |text: &str| BASE64.decode(text).ok().map(Bytes::from);
        let media = match self.media {
            MediaLine::Video { codec, config, width, height, frame_rate, sample_aspect } => {
                let codec = [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1]
                    .into_iter()
                    .find(|c| c.to_string() == codec)?;
                let config = bytes(&config)?;
                Media::Video(VideoFormat { codec, config, width, height, frame_rate, sample_aspect })
            }
            MediaLine::Audio { codec, config, sample_rate, channels } => {
                let codec = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3, AudioCodec::Ac3]
                    .into_iter()
                    .find(|c| c.to_string() == codec)?;
                Media::Audio(AudioFormat { codec, config: bytes(&config)?, sample_rate, channels })
            }
        };
        let track = Arc::new(Track { id: TrackId(self.track), media });
        Some(Init { version: self.version, track, codecs: self.codecs, data: bytes(&self.data)? })
    }
}

/// What was on disk when a rendition was opened.
#[derive(Default)]
pub struct Loaded {
    /// Headers, by version.
    pub inits: Vec<Arc<Init>>,
    /// Segments by number, `gap` set where the file is missing or short.
    pub entries: Vec<Entry>,
    /// Bytes of the segments' files.
    pub bytes: u64,
}

/// The folder of one rendition.
pub struct Folder {
    path: PathBuf,
    medium: Arc<dyn Medium>,
    index: File,
    /// Length of the index up to the last whole line.
    length: u64,
    lines: usize,
    inits: BTreeMap<u32, Arc<Init>>,
    entries: BTreeMap<u64, Entry>,
}

impl Folder {
    /// Opens or makes the folder at `path` and reads what is in it.
    ///
    /// # Errors
    /// As the system says. A damaged index is no error: what cannot be read is left out.
    pub fn open(path: PathBuf, medium: Arc<dyn Medium>) -> io::Result<(Folder, Loaded)> {
        fs::create_dir_all(&path)?;
        let (inits, mut entries) = read_index(&path.join(INDEX))?;
        let mut files = HashSet::new();
        let mut bytes = 0;
        for file in fs::read_dir(&path)? {
            let file = file?;
            let name = file.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".m4s")).and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let length = file.metadata().map(|m| m.len()).unwrap_or(0);
            if entries.get(&number).is_some_and(|e| !e.gap && e.bytes == length && length > 0) {
                files.insert(number);
                bytes += length;
            } else {
                remove(&file.path());
            }
        }
        for entry in entries.values_mut() {
            entry.gap |= !files.contains(&entry.number);
        }
        // Lines of segments that were deleted long ago. The newest stays whatever it is: numbers go on from it.
        while entries.len() > 1
            && let Some(first) = entries.first_entry()
            && first.get().gap
        {
            first.remove();
        }
        let index = OpenOptions::new().append(true).create(true).open(path.join(INDEX))?;
        let mut folder = Folder { path, medium, index, length: 0, lines: 0, inits, entries };
        // Heals torn lines and drops what is gone. With the disk full the old index stays as it is and is read again.
        if let Err(error) = folder.rewrite() {
            folder.length = folder.index.metadata()?.len();
            tracing::warn!(folder = %folder.path.display(), %error, "index not rewritten");
        }
        let loaded = Loaded {
            inits: folder.inits.values().cloned().collect(),
            entries: folder.entries.values().copied().collect(),
            bytes,
        };
        Ok((folder, loaded))
    }

    /// Writes a header to the index.
    ///
    /// # Errors
    /// As the system says; the header can be written again.
    pub fn store_init(&mut self, init: &Arc<Init>) -> io::Result<()> {
        self.line(&Line::Init(InitLine::new(init)))?;
        self.inits.insert(init.version, init.clone());
        Ok(())
    }

    /// Writes a complete segment, then its line.
    ///
    /// # Errors
    /// As the system says; nothing of the segment is left then.
    pub fn store(&mut self, entry: Entry, pieces: &[Bytes]) -> io::Result<()> {
        let path = segment_path(&self.path, entry.number);
        let result = self.medium.write(&path, pieces).and_then(|()| self.line(&Line::Segment(entry)));
        if let Err(error) = result {
            remove(&path);
            return Err(error);
        }
        self.entries.insert(entry.number, entry);
        Ok(())
    }

    /// Deletes segments and headers that no player can ask for any more; says how many bytes that freed.
    pub fn remove(&mut self, segments: &[u64], inits: &[u32]) -> u64 {
        let mut freed = 0;
        for number in segments {
            if let Some(entry) = self.entries.remove(number) {
                remove(&segment_path(&self.path, *number));
                freed += if entry.gap { 0 } else { entry.bytes };
            }
        }
        for version in inits {
            self.inits.remove(version);
        }
        if self.lines > self.entries.len() + self.inits.len() + SPARE_LINES
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(folder = %self.path.display(), %error, "index not rewritten");
        }
        freed
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if let Err(error) = self.medium.append(&self.index, &text) {
            // Half a line would spoil the next one.
            let _ = self.index.set_len(self.length);
            return Err(error);
        }
        self.length += text.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Writes the index anew with what still counts, beside the old one, and puts it in its place.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        let inits = self.inits.values().map(|i| Line::Init(InitLine::new(i)));
        for line in inits.chain(self.entries.values().map(|e| Line::Segment(*e))) {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        let length = text.len() as u64;
        let new = self.path.join("index.jsonl.new");
        self.medium.write(&new, &[Bytes::from(text)])?;
        fs::rename(&new, self.path.join(INDEX))?;
        self.index = OpenOptions::new().append(true).open(self.path.join(INDEX))?;
        self.length = length;
        self.lines = self.entries.len() + self.inits.len();
        Ok(())
    }
}

/// Where a segment's file is.
pub fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.m4s"))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "not deleted");
    }
}

type Index = (BTreeMap<u32, Arc<Init>>, BTreeMap<u64, Entry>);

fn read_index(path: &Path) -> io::Result<Index> {
    let (mut inits, mut entries) = Index::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((inits, entries)),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while entries.len() < MAX_ENTRIES {
        line.clear();
        if io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(Line::Init(init)) => {
                if let Some(init) = init.into_init() {
                    inits.insert(init.version, Arc::new(init));
                }
            }
            Ok(Line::Segment(entry)) => {
                entries.insert(entry.number, entry);
            }
            Err(error) => tracing::warn!(index = %path.display(), %error, "line of the index left out"),
        }
    }
    Ok((inits, entries))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A disk that can be full.
    #[derive(Default)]
    pub struct Fillable {
        pub full: AtomicBool,
        /// Lines of the index are torn when full, as a real disk does.
        pub torn: AtomicBool,
    }

    impl Medium for Fillable {
        fn write(&self, path: &Path, pieces: &[Bytes]) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) {
                fs::write(path, &pieces[0][..1])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            System.write(path, pieces)
        }

        fn append(&self, mut file: &File, line: &[u8]) -> io::Result<()> {
            if self.torn.load(Ordering::SeqCst) {
                file.write_all(&line[..line.len() / 2])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            System.append(file, line)
        }
    }

    fn init(version: u32) -> Arc<Init> {
        let format = VideoFormat {
            codec: VideoCodec::H264,
            config: Bytes::from_static(b"\x01\x64"),
            width: 1920,
            height: 1080,
            frame_rate: Some((25, 1)),
            sample_aspect: None,
        };
        Arc::new(Init {
            version,
            track: Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(format) }),
            codecs: "avc1.640028".into(),
            data: Bytes::from_static(b"ftypmoov"),
        })
    }

    fn entry(number: u64, bytes: u64) -> Entry {
        Entry {
            number,
            start: number as i64 * 100,
            duration: 100,
            discontinuity: number == 7,
            timeline: 3,
            init: 0,
            bytes,
            iframe: Some((24, 1000)),
            gap: false,
            target: 2,
        }
    }

    fn pieces(text: &'static str) -> Vec<Bytes> {
        text.split_inclusive(' ').map(|s| Bytes::from_static(s.as_bytes())).collect()
    }

    fn open(dir: &Path, medium: Arc<dyn Medium>) -> (Folder, Loaded) {
        Folder::open(dir.join("ev/1080p"), medium).expect("opens")
    }

    fn numbers(loaded: &Loaded) -> Vec<(u64, bool)> {
        loaded.entries.iter().map(|e| (e.number, e.gap)).collect()
    }

    #[test]
    fn what_was_stored_is_there_again_and_what_was_damaged_is_a_gap() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (mut folder, loaded) = open(dir.path(), Arc::new(System));
        assert!(loaded.entries.is_empty() && loaded.inits.is_empty());
        folder.store_init(&init(0)).expect("stored");
        for n in 5..10 {
            folder.store(entry(n, 11), &pieces("one two six")).expect("stored");
        }
        assert_eq!(fs::read(segment_path(&folder.path, 5)).expect("file"), b"one two six");
        assert_eq!(folder.remove(&[5, 77], &[]), 11);
        let path = folder.path.clone();
        drop(folder);
        // A short file, a missing one, one without a line, a torn line.
        fs::write(segment_path(&path, 7), b"one").expect("write");
        fs::remove_file(segment_path(&path, 8)).expect("remove");
        fs::write(segment_path(&path, 99), b"orphan").expect("write");
        let mut index = fs::read(path.join(INDEX)).expect("index");
        index.extend_from_slice(b"{\"segment\":{\"number\":10,\"sta");
        fs::write(path.join(INDEX), index).expect("write");

        let (mut folder, loaded) = open(dir.path(), Arc::new(System));
        assert_eq!(numbers(&loaded), [(6, false), (7, true), (8, true), (9, false)]);
        assert_eq!(loaded.bytes, 22);
        assert_eq!(loaded.entries[0], entry(6, 11), "every field comes back");
        let back = &loaded.inits[0];
        assert_eq!(
            (back.version, &back.track, &back.codecs, &back.data),
            (0, &init(0).track, &init(0).codecs, &init(0).data)
        );
        assert!(!segment_path(&path, 99).exists());
        folder.store(entry(10, 11), &pieces("one two six")).expect("the index takes lines again");
        drop(folder);
        assert_eq!(numbers(&open(dir.path(), Arc::new(System)).1).last(), Some(&(10, false)));
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind_and_heals() {
        let dir = tempfile::tempdir().expect("tempdir");
        let medium = Arc::new(Fillable::default());
        let (mut folder, _) = open(dir.path(), medium.clone());
        folder.store(entry(1, 3), &pieces("one")).expect("stored");
        medium.full.store(true, Ordering::SeqCst);
        assert_eq!(folder.store(entry(2, 3), &pieces("two")).expect_err("full").kind(), io::ErrorKind::StorageFull);
        medium.full.store(false, Ordering::SeqCst);
        medium.torn.store(true, Ordering::SeqCst);
        assert!(folder.store(entry(3, 3), &pieces("six")).is_err());
        for n in [2, 3] {
            assert!(!segment_path(&folder.path, n).exists());
        }
        medium.torn.store(false, Ordering::SeqCst);
        folder.store(entry(4, 3), &pieces("ten")).expect("there is room again");
        drop(folder);
        assert_eq!(numbers(&open(dir.path(), medium).1), [(1, false), (4, false)]);
    }

    #[test]
    fn an_index_does_not_grow_without_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (mut folder, _) = open(dir.path(), Arc::new(System));
        folder.store_init(&init(4)).expect("stored");
        for n in 0..(SPARE_LINES as u64 * 2) {
            folder.store(entry(n, 3), &pieces("one")).expect("stored");
            if n >= 5 {
                folder.remove(&[n - 5], &[]);
            }
        }
        assert!(folder.lines < SPARE_LINES + 100, "{}", folder.lines);
        let text = fs::read_to_string(folder.path.join(INDEX)).expect("index");
        assert_eq!(text.lines().count(), folder.lines);
        let path = folder.path.clone();
        drop(folder);
        let (folder, loaded) = open(dir.path(), Arc::new(System));
        assert_eq!((loaded.entries.len(), loaded.inits.len(), folder.lines), (5, 1, 6));
        assert_eq!(fs::read_dir(path).expect("dir").count(), 6);
    }
}
