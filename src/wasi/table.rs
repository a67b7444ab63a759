//! A program's descriptors.

use super::abi::{Errno, FileType, rights};
use crate::output::Output;
use cap_std::fs::{Dir, File};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Descriptors by number. A new one gets the lowest number that is free.
pub struct Table(Vec<Option<Descriptor>>);

/// Something open.
pub struct Descriptor {
    pub object: Object,
    pub file_type: FileType,
    /// What may be done with it.
    pub rights: u64,
    /// What may be done with what is opened below it.
    pub inheriting: u64,
    /// The program's name for it, when it was given to the program.
    pub preopened: Option<Vec<u8>>,
}

/// What is open.
pub enum Object {
    /// Standard input.
    Input(Box<dyn Read + Send>),
    /// Standard output.
    Output(Output),
    /// Standard error, not buffered.
    Error(Box<dyn Write + Send>),
    File(File),
    Dir(Dir, Listing),
}

/// What a program that reads a directory sees of it: what was there when it began. Empty before.
pub type Listing = Option<Vec<Entry>>;

/// An entry of a directory.
pub struct Entry {
    pub name: Vec<u8>,
    pub inode: u64,
    pub file_type: FileType,
}

/// The process's standard input, unbuffered, so that waiting for it knows what there is.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), into)?)
    }
}

impl Table {
    /// The process's streams, with the given output.
    pub fn new(output: Output) -> Table {
        let stream = |object, terminal, rights| {
            let file_type = if terminal { FileType::CharacterDevice } else { FileType::Unknown };
            Some(Descriptor { object, file_type, rights, inheriting: 0, preopened: None })
        };
        Table(vec![
            stream(Object::Input(Box::new(Stdin)), io::stdin().is_terminal(), rights::INPUT),
            stream(Object::Output(output), io::stdout().is_terminal(), rights::OUTPUT),
            stream(Object::Error(Box::new(io::stderr())), io::stderr().is_terminal(), rights::OUTPUT),
        ])
    }

    /// The descriptor of this number.
    pub fn get(&mut self, fd: u64) -> Result<&mut Descriptor, Errno> {
        self.slot(fd)?.as_mut().ok_or(Errno::BadF)
    }

    /// What the descriptor of this number stands for.
    pub fn object(&self, fd: u64) -> Result<&Object, Errno> {
        let descriptor = usize::try_from(fd).ok().and_then(|fd| self.0.get(fd)?.as_ref());
        Ok(&descriptor.ok_or(Errno::BadF)?.object)
    }

    /// The directory of this number.
    pub fn dir(&self, fd: u64) -> Result<&Dir, Errno> {
        match self.object(fd)? {
            Object::Dir(dir, _) => Ok(dir),
            _ => Err(Errno::NotDir),
        }
    }

    /// Takes the descriptor of this number out.
    pub fn remove(&mut self, fd: u64) -> Result<Descriptor, Errno> {
        self.slot(fd)?.take().ok_or(Errno::BadF)
    }

    /// Puts a descriptor in, and gives its number.
    pub fn insert(&mut self, descriptor: Descriptor) -> usize {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(descriptor);
        free
    }

    /// Writes out what is buffered of standard output, wherever it is now.
    pub fn flush(&self) -> io::Result<()> {
        self.0.iter().flatten().try_for_each(|descriptor| match &descriptor.object {
            Object::Output(output) => output.flush(),
            _ => Ok(()),
        })
    }

    fn slot(&mut self, fd: u64) -> Result<&mut Option<Descriptor>, Errno> {
        usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd)).ok_or(Errno::BadF)
    }
}

impl Descriptor {
    /// A directory of the host's that is given to the program under the name `guest`.
    pub fn preopened(host: &Path, guest: &str) -> io::Result<Descriptor> {
        let directory = rustix::fs::OFlags::DIRECTORY.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(directory).open(host)?;
        let mut descriptor = Descriptor::directory(Dir::from_std_file(file), !0, !0);
        descriptor.preopened = Some(guest.into());
        Ok(descriptor)
    }

    /// A directory, with these rights as far as they fit one.
    pub fn directory(dir: Dir, rights: u64, inheriting: u64) -> Descriptor {
        Descriptor {
            object: Object::Dir(dir, None),
            file_type: FileType::Directory,
            rights: rights & rights::DIRECTORY,
            inheriting: inheriting & (rights::DIRECTORY | rights::FILE),
            preopened: None,
        }
    }

    /// A file, with these rights as far as they fit one.
    pub fn file(file: File, file_type: FileType, rights: u64) -> Descriptor {
        Descriptor {
            object: Object::File(file),
            file_type,
            rights: rights & rights::FILE,
            inheriting: 0,
            preopened: None,
        }
    }

    /// The open file.
    ///
    /// # Errors
    /// `EISDIR` for a directory; `otherwise` for a stream.
    pub fn as_file(&mut self, otherwise: Errno) -> Result<&mut File, Errno> {
        match &mut self.object {
            Object::File(file) => Ok(file),
            Object::Dir(..) => Err(Errno::IsDir),
            _ => Err(otherwise),
        }
    }

    /// Refuses what the descriptor is not open for.
    pub fn need(&self, right: u64) -> Result<(), Errno> {
        if self.rights & right == right { Ok(()) } else { Err(Errno::BadF) }
    }
}
