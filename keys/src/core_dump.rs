//! No core dumps of a process that has secrets: a core is a file with all of its memory, kept or sent by whatever collects the cores of a system.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// From now on this process leaves no core dump. To be called before there is a secret.
///
/// On Linux its memory is closed to other processes of the same user, too: a debugger that attaches to it has to be root's, one that starts it does
/// not. Programs that this one starts are not closed, and may raise the limit of their cores again.
pub fn prevent_core_dumps() {
    let limit = getrlimit(Resource::Core);
    // Where neither works, what is wiped from memory is in no core all the same: no reason not to start.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
    // A limit does not hold for cores that the system hands to a program.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_have_its_core_dumps_prevented() {
        prevent_core_dumps();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior(), Ok(rustix::process::DumpableBehavior::NotDumpable));
    }
}
