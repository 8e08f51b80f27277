//! What somebody would look for who wants an account, and the memory of a process, where they would look.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
};

use bip39::{Language, Mnemonic};
use starling_keys::RecoveryPhrase;

/// Keys are looked for in pieces of so many bytes: a block of memory that was freed has lost its first ones.
const PIECE: usize = 16;
/// So many words in a row are a part of the phrase, wherever they stand.
const ROW: usize = 4;
/// So far apart are two words in a row at most: numbers, spaces, and sequences of a terminal are between them.
const GAP: usize = 32;
/// Bytes that belong together are looked for so far apart, too: in cells of a screen, and in wider numbers.
const STRIDES: [usize; 9] = [2, 4, 8, 16, 24, 32, 40, 48, 64];
/// What is so far apart or farther begins at a multiple of this.
const ALIGNMENT: usize = 8;

enum Form {
    /// These bytes, and what they are.
    Bytes(&'static str, Vec<u8>),
    /// A row of words that begins with the one at this place.
    Words(usize),
}

/// What somebody would look for who wants the account.
pub struct Secret {
    words: Vec<String>,
    forms: Vec<Form>,
    /// Which of them begin with two bytes.
    starts: Vec<Vec<usize>>,
}

impl Secret {
    /// The phrase, and the root that follows from it.
    pub fn of(words: &str) -> Self {
        let key = RecoveryPhrase::parse(words).unwrap().account_key();
        let mut secret = Self::of_phrase(words);
        secret.add_pieces("the seed of the root", &*key.seed(), PIECE);
        secret.add_pieces("the seed of the recovery key", &*key.recovery_seed(), PIECE);
        secret
    }

    /// The phrase alone: the root is needed until an account is taken back.
    pub fn of_phrase(words: &str) -> Self {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let joined = words.join(" ");
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &joined).unwrap();
        let (entropy, length) = mnemonic.to_entropy_array();
        let entropy = &entropy[..length];
        let places: Vec<u8> = mnemonic.word_indices().flat_map(|at| (at as u16).to_le_bytes()).collect();
        let bits: Vec<u8> = entropy.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)).collect();

        let mut secret = Self { words, forms: Vec::new(), starts: vec![Vec::new(); 1 << 16] };
        secret.add_pieces("the words", joined.as_bytes(), joined.len());
        for place in 0..=secret.words.len() - ROW {
            let first = secret.words[place].clone();
            secret.add(first.as_bytes(), Form::Words(place));
        }
        secret.add_pieces("the entropy", entropy, PIECE);
        secret.add_pieces("the seed of BIP-39", &mnemonic.to_seed_normalized(""), PIECE);
        secret.add_pieces("the places of the words in the list", &places, PIECE);
        secret.add_pieces("the bits of the entropy", &bits, 4 * PIECE);
        secret
    }

    fn add_pieces(&mut self, name: &'static str, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks_exact(piece) {
            self.add(piece, Form::Bytes(name, piece.to_vec()));
        }
    }

    fn add(&mut self, bytes: &[u8], form: Form) {
        self.starts[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))].push(self.forms.len());
        self.forms.push(form);
    }

    /// What of it is there.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let apart =
            |stride: usize, offset: usize| -> Vec<u8> { bytes.iter().skip(offset).step_by(stride).copied().collect() };
        let offsets = |stride: usize| (0..stride).step_by(if stride < ALIGNMENT { 1 } else { ALIGNMENT });
        let mut all = STRIDES.into_iter().flat_map(|stride| offsets(stride).map(move |offset| (stride, offset)));
        self.found_together_in(bytes)
            .or_else(|| all.find_map(|(stride, offset)| self.found_together_in(&apart(stride, offset))))
    }

    fn found_together_in(&self, bytes: &[u8]) -> Option<&'static str> {
        bytes.windows(2).enumerate().find_map(|(at, two)| {
            let rest = &bytes[at..];
            let forms = &self.starts[usize::from(u16::from_be_bytes([two[0], two[1]]))];
            forms.iter().find_map(|form| match &self.forms[*form] {
                Form::Bytes(name, form) => rest.starts_with(form).then_some(*name),
                Form::Words(place) => self.is_row(rest, *place).then_some("words in a row"),
            })
        })
    }

    /// Whether bytes begin with the word at this place, and those after it follow.
    fn is_row(&self, mut rest: &[u8], place: usize) -> bool {
        let mut gap = 0;
        for word in &self.words[place..place + ROW] {
            let near = &rest[..rest.len().min(gap + word.len())];
            let Some(at) = near.windows(word.len()).position(|bytes| bytes == word.as_bytes()) else { return false };
            rest = &rest[at + word.len()..];
            gap = GAP;
        }
        true
    }
}

/// Everything that a process has in its memory, without the code: what a core dump would have of it.
pub fn memory_of(pid: u32) -> Vec<u8> {
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().map_while(Result::ok) {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().unwrap(), parts.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut part = vec![0; 4096];
        for at in (from..to).step_by(part.len()) {
            // Guard pages, and what was unmapped meanwhile.
            if memory.read_exact_at(&mut part, at).is_ok() {
                all.extend_from_slice(&part);
            }
        }
    }
    assert!(all.len() > 1_000_000, "{} bytes of memory were read", all.len());
    all
}

/// The largest core dump that a process leaves, in bytes; as text, because it may be `unlimited`.
pub fn core_limit_of(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    core.split_whitespace().next().unwrap().to_owned()
}
