//! The Starling rendezvous server: directory, log, relay, presence
