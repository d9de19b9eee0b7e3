//! Reading files, gzip'd or not.

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes an input may have, unpacked. A northbound database of a million ports is about
/// 700 MB; whatever is larger is more likely a mistake, or an archive made to fill the memory.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;

/// The first bytes of a gzip stream (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why an input could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It starts like a gzip stream and is none, or is cut short.
    #[error("{} is a damaged gzip file: {source}; copy it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has more than [`INPUT_BYTES_MAX`] bytes.
    #[error("{} has more than {max} bytes unpacked: is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        max: u64,
    },
}

/// The content of a file; `-` is standard input. What starts like a gzip stream is unpacked.
pub fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let packed = if path == Path::new("-") {
        read_limited(&mut std::io::stdin().lock(), path, &io)?
    } else {
        read_limited(&mut File::open(path).map_err(io)?, path, &io)?
    };
    unpack(packed, path)
}

/// Unpacks bytes that start like a gzip stream, and gives back all others as they are. The path
/// is for messages.
pub fn unpack(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>, ReadError> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let gzip = |source| ReadError::Gzip { path: path.to_owned(), source };
    read_limited(&mut MultiGzDecoder::new(bytes.as_slice()), path, &gzip)
}

fn read_limited(
    reader: &mut dyn Read,
    path: &Path,
    error: &dyn Fn(std::io::Error) -> ReadError,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    reader.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned(), max: INPUT_BYTES_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_known_by_its_magic() {
        let path = Path::new("x.json");
        assert_eq!(unpack(b"{}".to_vec(), path).unwrap(), b"{}");
        assert_eq!(unpack(packed(b"{}"), path).unwrap(), b"{}");
        assert_eq!(unpack(Vec::new(), path).unwrap(), b"");
    }

    #[test]
    fn damage_is_named() {
        let mut cut = packed(&[b'x'; 1000]);
        cut.truncate(cut.len() - 9);
        let error = unpack(cut, Path::new("x.gz")).unwrap_err().to_string();
        assert!(error.starts_with("x.gz is a damaged gzip file"), "{error}");
        let error = unpack(vec![0x1f, 0x8b], Path::new("x.gz")).unwrap_err().to_string();
        assert!(error.starts_with("x.gz is a damaged gzip file"), "{error}");
        let error = read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /no/such/file"), "{error}");
    }
}
