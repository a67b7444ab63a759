//! Files that are complete or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that is written beside its place and gets its name when it is complete: until then what stood there stands there, and if it
/// never is, nothing is left of it. What is no file, such as a terminal or a pipe, is written to as it is.
pub struct WholeFile {
    path: PathBuf,
    to: BufWriter<Place>,
}

enum Place {
    Beside(NamedTempFile),
    Itself(File),
}

impl WholeFile {
    /// Begins to write the file that is to be at `path`.
    ///
    /// # Errors
    /// The system's: a folder that is not there or cannot be written to, a folder in the file's place.
    ///
    /// ```
    /// use gleaner::whole_file::WholeFile;
    /// use std::{fs, io::Write};
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("page.html");
    /// let mut file = WholeFile::create(&path)?;
    /// file.write_all(b"all")?;
    /// assert!(!path.exists());
    /// file.finish()?;
    /// assert_eq!(fs::read(&path)?, b"all");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn create(path: &Path) -> io::Result<WholeFile> {
        // Where a link leads, so that it remains one.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let place = if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            Place::Itself(File::options().write(true).open(&path)?)
        } else {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // Who may read it is for the process's mask to say, as for any other file.
            let permissions = fs::Permissions::from_mode(0o666);
            let mut file = tempfile::Builder::new();
            Place::Beside(file.prefix(".").suffix(".partial").permissions(permissions).tempfile_in(folder)?)
        };
        Ok(WholeFile { path, to: BufWriter::new(place) })
    }

    /// It is complete: gives it its name.
    ///
    /// # Errors
    /// The system's, as from a full disk.
    pub fn finish(self) -> io::Result<()> {
        match self.to.into_inner()? {
            Place::Beside(file) => file.persist(self.path).map(drop).map_err(io::Error::from),
            Place::Itself(mut file) => file.flush(),
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Place::Beside(file) => file.write(bytes),
            Place::Itself(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Place::Beside(file) => file.flush(),
            Place::Itself(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        fs::write(&path, "old").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn links_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let [page, link] = ["page", "link"].map(|name| folder.path().join(name));
        fs::write(&page, "old").unwrap();
        std::os::unix::fs::symlink(&page, &link).unwrap();
        let mut file = WholeFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&page).unwrap(), b"new");
    }

    #[test]
    fn devices_stay_what_they_are() {
        let mut file = WholeFile::create(Path::new("/dev/full")).unwrap();
        file.write_all(b"lost").unwrap();
        assert_eq!(file.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(WholeFile::create(folder.path()).err().unwrap().kind(), io::ErrorKind::IsADirectory);
    }
}
