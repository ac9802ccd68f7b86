//! What must not lie in a file in the clear, looked for byte by byte.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// What to look for, each under a name that may be shown.
pub type Needles<'a> = [(&'a str, &'a [u8])];

/// Every find in the files below a folder: which file, and the name of what it holds. Also how many bytes were looked at.
pub fn find(folder: &Path, needles: &Needles<'_>) -> Result<(Vec<(PathBuf, String)>, u64)> {
    let heads = heads(needles)?;
    let (mut found, mut looked_at, mut folders) = (Vec::new(), 0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                // A server at work may take a file away.
                let Ok(bytes) = fs::read(&path) else { continue };
                looked_at += bytes.len() as u64;
                let names = search(&bytes, needles, &heads);
                found.extend(names.into_iter().map(|name| (path.clone(), name.to_owned())));
            }
        }
    }
    Ok((found, looked_at))
}

/// The first bytes of needles: the one thing that is looked at for every byte of a large file.
fn heads(needles: &Needles<'_>) -> Result<[bool; 256]> {
    let mut heads = [false; 256];
    for (name, needle) in needles {
        ensure!(needle.len() >= 5, "{name} is so short that it is found anywhere");
        heads[usize::from(*needle.first().context("empty")?)] = true;
    }
    Ok(heads)
}

fn search<'a>(bytes: &[u8], needles: &Needles<'a>, heads: &[bool; 256]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if heads[usize::from(*byte)] {
            let here = needles.iter().filter(|(_, needle)| bytes[at..].starts_with(needle));
            found.extend(here.map(|(name, _)| *name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("below/file"), b"\0\0secret\0sec\xffend of it").unwrap();
        let needles: [(&str, &[u8]); 3] = [("first", b"secret"), ("last", b"\xffend of it"), ("absent", b"secrets")];
        let (found, looked_at) = find(folder.path(), &needles).unwrap();
        let names: Vec<_> = found.iter().map(|(path, name)| (path.ends_with("below/file"), name.as_str())).collect();
        assert_eq!((names, looked_at), (vec![(true, "first"), (true, "last")], 22));
    }
}
