//! Keys as file names. An ordinary key is its own path, so that people find their objects; what a
//! file system cannot hold is written with `%`, so that no key leaves its bucket or meets another.

use std::path::{Path, PathBuf};

/// The longest file name of common file systems, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The path of a key inside its bucket; `None` if one of its names is too long to be a file.
pub(crate) fn to_path(key: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for name in key.split('/') {
        let name = match name {
            // A bare `%` cannot come from elsewhere, since every other one is followed by digits.
            "" => "%".to_owned(),
            "." => "%2E".to_owned(),
            ".." => "%2E%2E".to_owned(),
            other => other.replace('%', "%25").replace('\0', "%00"),
        };
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        path.push(name);
    }
    Some(path)
}

/// The key of a path inside a bucket; `None` for a path that [`to_path`] never makes.
pub(crate) fn from_path(path: &Path) -> Option<String> {
    let mut names = Vec::new();
    for component in path.components() {
        let name = component.as_os_str().to_str()?;
        let plain = match name {
            "%" => String::new(),
            other => other
                .replace("%2E", ".")
                .replace("%00", "\0")
                .replace("%25", "%"),
        };
        names.push(plain);
    }
    let key = names.join("/");
    (to_path(&key)? == path).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_keys_are_their_own_path() {
        let key = "audit/org_id=a.b/date=2026-01-31/00001-00002-x.jsonl.gz";
        assert_eq!(to_path(key), Some(PathBuf::from(key)));
    }

    #[test]
    fn every_key_comes_back() {
        for key in [
            "a/b",
            "a//b",
            "/a",
            "a/",
            "../../etc/passwd",
            "./a",
            "%2E/%",
            "a%25",
            "ä/日",
            "a/../b",
            "%",
        ] {
            let path = to_path(key).expect("short names");
            assert!(path.is_relative(), "{key}");
            assert!(
                path.components()
                    .all(|one| matches!(one, std::path::Component::Normal(_))),
                "{key}"
            );
            assert_eq!(from_path(&path).as_deref(), Some(key));
        }
    }

    #[test]
    fn foreign_paths_and_long_names_have_no_key() {
        assert_eq!(from_path(Path::new("a/%zz")), None);
        assert_eq!(to_path(&"x".repeat(256)), None);
    }
}
