//! An interceptor that lets everything pass, with something that looks at it on the way.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{Interceptor, StreamInfo, TaggedPacket},
    sansio::Protocol,
    shared::error::Error,
};

/// What is done besides letting packets pass.
pub(super) trait Look: Send + Sync {
    /// A packet came from the other side; what is changed in it is what the rest sees.
    fn came(&mut self, _: &mut TaggedPacket) {}

    /// When [`Look::due`] wants to be called.
    fn next(&self) -> Option<Instant> {
        None
    }

    /// What is to be sent now.
    fn due(&mut self, _: Instant) -> Vec<TaggedPacket> {
        Vec::new()
    }

    /// A stream of ours begins.
    fn sends(&mut self, _: &StreamInfo) {}

    /// A stream of the other side begins.
    fn begins(&mut self, _: &StreamInfo) {}

    /// It ends.
    fn ends(&mut self, _: &StreamInfo) {}
}

/// Nothing: takes the place of an interceptor that is not wanted.
impl Look for () {}

/// The interceptor.
pub(super) struct PassthroughInterceptor<L> {
    look: L,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl<L> PassthroughInterceptor<L> {
    pub fn with(look: L) -> Self {
        Self { look, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl<L: Look> Protocol<TaggedPacket, TaggedPacket, ()> for PassthroughInterceptor<L> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        self.look.came(&mut message);
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.writes.extend(self.look.due(now));
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.look.next()
    }
}

impl<L: Look> Interceptor for PassthroughInterceptor<L> {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.look.sends(info);
    }

    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.look.begins(info);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.look.ends(info);
    }
}
