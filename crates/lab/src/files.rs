//! Files of records: read with care, written so that a kill loses nothing.

use crate::record::{Record, SCHEMA};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Records that were read, and lines that were none.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// In the order of files, and of lines in each.
    pub records: Vec<Record>,
    /// What was skipped, and why.
    pub damaged: Vec<Damage>,
    /// The files, and how many of the records stand in each.
    pub files: Vec<(PathBuf, usize)>,
}

/// A line that is no record of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {why}", file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// What to do with damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Leave the line out and go on.
    #[default]
    Skip,
    /// Give up at the first.
    Fail,
}

impl Records {
    /// Reads files, and all files `*.jsonl` of folders, in the order of their names. A record that stands there twice, as after two
    /// machines ran the same job, counts once.
    ///
    /// # Errors
    /// A path that cannot be read, a folder without records, and with [`OnDamage::Fail`] a damaged line.
    pub fn read(paths: &[PathBuf], on_damage: OnDamage) -> anyhow::Result<Records> {
        let mut files = Vec::new();
        for path in paths {
            let found = files_of(path)?;
            if found.is_empty() {
                bail!("{} holds no records: no file `*.jsonl` is in it", path.display());
            }
            files.extend(found);
        }
        Records::read_files(files, on_damage)
    }

    /// Reads what is in a folder, if anything is.
    ///
    /// # Errors
    /// The system's.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Records> {
        Records::read_files(files_of(folder)?, OnDamage::Skip)
    }

    fn read_files(files: Vec<PathBuf>, on_damage: OnDamage) -> anyhow::Result<Records> {
        let mut all = Records::default();
        let mut seen = std::collections::HashSet::new();
        for file in files {
            let first = all.records.len();
            all.read_file(&file, on_damage)?;
            let mut records = all.records.split_off(first);
            records.retain(|record| {
                seen.insert((record.purpose, record.cell.clone(), record.invocation, record.build.sha256.clone()))
            });
            all.files.push((file, records.len()));
            all.records.append(&mut records);
        }
        Ok(all)
    }

    fn read_file(&mut self, path: &Path, on_damage: OnDamage) -> anyhow::Result<()> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        for (i, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.with_context(|| path.display().to_string())?;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(&line) {
                Ok(record) => self.records.push(record),
                Err(why) => {
                    let damage = Damage { file: path.into(), line: i + 1, why };
                    if on_damage == OnDamage::Fail {
                        return Err(damage.into());
                    }
                    self.damaged.push(damage);
                }
            }
        }
        Ok(())
    }
}

/// One record, or what is wrong with it.
fn parse(line: &[u8]) -> Result<Record, String> {
    /// What tells whether it is a record of this version.
    #[derive(Deserialize)]
    struct Head {
        schema: Option<String>,
    }
    let head: Head = serde_json::from_slice(line).map_err(|error| match error.is_eof() {
        true => "the line breaks off: what wrote it was stopped".to_string(),
        false => format!("no JSON object: {error}"),
    })?;
    match head.schema.as_deref() {
        Some(SCHEMA) => serde_json::from_slice(line).map_err(|error| format!("no whole record: {error}")),
        Some(other) => Err(format!("its schema is `{other}`, and `{SCHEMA}` is what is read here")),
        None => Err(format!("no record: it has no `schema`, which would be `{SCHEMA}`")),
    }
}

/// A file, or the files of a folder.
fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let meta = fs::metadata(path).with_context(|| format!("{}: no records", path.display()))?;
    if !meta.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| path.display().to_string())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl") && file.is_file());
    files.sort();
    Ok(files)
}

/// A file that records are added to.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
}

impl Writer {
    /// Opens a file, makes it if it is not there, and takes off the half line that a kill may have left at its end.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> anyhow::Result<Writer> {
        let open = || -> io::Result<Writer> {
            let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
            // A pipe or a device has no lines that could be taken off.
            let text = if file.metadata()?.is_file() { fs::read(path)? } else { Vec::new() };
            let len = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) as u64;
            if len < text.len() as u64 {
                file.set_len(len)?;
            }
            Ok(Writer { path: path.into(), file, len })
        };
        open().with_context(|| path.display().to_string())
    }

    /// Adds a record: all of it, or nothing.
    ///
    /// # Errors
    /// The system's, a full disk among them.
    pub fn add(&mut self, record: &Record) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written of the line goes; should that fail, the next one to open the file takes it off.
            let _ = self.file.set_len(self.len);
            return Err(error).with_context(|| {
                format!(
                    "{}: this record is lost, those before it are not; the same command goes on from here",
                    self.path.display()
                )
            });
        }
        self.len += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::record;

    #[test]
    fn damage_is_named_and_skipped_or_fatal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let good = serde_json::to_string(&record("p", "a", 0)).unwrap();
        let other = good.replacen(SCHEMA, "gleaner.record/0", 1);
        let cut = &good[..good.len() / 2];
        fs::write(&path, format!("{good}\n\nnonsense\n{{}}\n{other}\n{{\"schema\":\"{SCHEMA}\"}}\n{cut}")).unwrap();
        let read = Records::read(&[folder.path().into()], OnDamage::Skip).unwrap();
        assert_eq!(read.records, [record("p", "a", 0)]);
        let lines: Vec<usize> = read.damaged.iter().map(|damage| damage.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7]);
        for (damage, why) in
            read.damaged.iter().zip(["no JSON", "no `schema`", "record/0", "missing field", "breaks off"])
        {
            let text = damage.to_string();
            assert!(text.contains(why) && text.contains("a.jsonl:"), "{text}");
        }
        let error = Records::read(&[path], OnDamage::Fail).unwrap_err().to_string();
        assert!(error.contains("a.jsonl:3"), "{error}");
    }

    #[test]
    fn a_record_that_stands_twice_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "b.jsonl"] {
            let mut writer = Writer::open(&folder.path().join(name)).unwrap();
            writer.add(&record("p", "a", 0)).unwrap();
            writer.add(&record("p", "a", 1)).unwrap();
        }
        let read = Records::read(&[folder.path().into()], OnDamage::Fail).unwrap();
        assert_eq!(read.records.len(), 2);
        assert_eq!(read.files, [(folder.path().join("a.jsonl"), 2), (folder.path().join("b.jsonl"), 0)]);
    }

    #[test]
    fn half_a_line_goes_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        Writer::open(&path).unwrap().add(&record("p", "a", 0)).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..100]].concat()).unwrap();
        Writer::open(&path).unwrap().add(&record("p", "a", 1)).unwrap();
        let read = Records::read(&[path], OnDamage::Fail).unwrap();
        assert_eq!(read.records, [record("p", "a", 0), record("p", "a", 1)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said() {
        let mut writer = Writer::open(Path::new("/dev/full")).unwrap();
        let error = format!("{:#}", writer.add(&record("p", "a", 0)).unwrap_err());
        assert!(error.contains("/dev/full") && error.contains("goes on from here"), "{error}");
    }

    #[test]
    fn a_folder_without_records_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = Records::read(&[folder.path().into()], OnDamage::Skip).unwrap_err().to_string();
        assert!(error.contains("no file `*.jsonl`"), "{error}");
        let error = Records::read(&[folder.path().join("x")], OnDamage::Skip).unwrap_err();
        assert!(format!("{error:#}").contains("no records"), "{error:#}");
    }
}
