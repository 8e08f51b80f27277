//! The Starling engine: conversations, delivery, store, discovery
