//! Names on the wire: in two fields, so that programs of version 0.1 go on reading them.
//!
//! Those take at most [`MAX_SHORT_NAME`] bytes, and refuse the whole message otherwise. A longer name is cut for them, and is in a second field that
//! they do not know.

use starling_text::{MAX_NAME_BYTES, received_name, shortened};

use crate::limits::MAX_SHORT_NAME;

/// The two fields of a name: cut to what every version reads, and whole where it was cut, else empty.
pub(crate) fn to_fields(name: &str) -> (String, String) {
    let short = shortened(name, MAX_SHORT_NAME);
    let full = if short.len() < name.len() { name.to_owned() } else { String::new() };
    (short.trim_end().to_owned(), full)
}

/// The name in two fields, without what does not belong into a name; `None` if one is beyond its bound.
pub(crate) fn from_fields(short: &str, full: &str) -> Option<String> {
    if short.len() > MAX_SHORT_NAME || full.len() > MAX_NAME_BYTES {
        return None;
    }
    Some(received_name(if full.is_empty() { short } else { full }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_older_programs_read_its_beginning() {
        for name in ["", "alice", &"x".repeat(MAX_SHORT_NAME), &"🇨🇦".repeat(64), &format!("{} tail", "é".repeat(31))]
        {
            let (short, full) = to_fields(name);
            assert!(short.len() <= MAX_SHORT_NAME && name.starts_with(&short));
            assert_eq!(full.is_empty(), name.len() <= MAX_SHORT_NAME);
            assert_eq!(from_fields(&short, &full).as_deref(), Some(name));
            assert_eq!(from_fields(&short, "").as_deref(), Some(short.as_str()), "from an older program");
        }
    }

    #[test]
    fn a_name_beyond_its_bound_is_refused_and_controls_are_left_out() {
        assert_eq!(from_fields(&"x".repeat(MAX_SHORT_NAME + 1), ""), None);
        assert_eq!(from_fields("x", &"x".repeat(MAX_NAME_BYTES + 1)), None);
        assert_eq!(from_fields("bo\u{1b}]0;x\u{7}", "").as_deref(), Some("bo]0;x"));
    }
}
