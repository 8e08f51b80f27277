//! Why there is no connection to a server.

/// Why a server cannot be connected, or is not any more. What people read about it is said by the front end; `Display` is for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionProblem {
    /// This machine has no network.
    #[error("no network")]
    Offline,
    /// A name server says that its name does not exist.
    #[error("no such name")]
    NoSuchName,
    /// Its name cannot be looked up: no name server answers.
    #[error("no name server")]
    NoNameServer,
    /// Its name cannot be looked up.
    #[error("name lookup failed")]
    NameLookup,
    /// Its address, or what its name stands for, is in a network that this machine is not in.
    #[error("address in a foreign network")]
    ForeignNetwork,
    /// The proxy does not answer.
    #[error("proxy unreachable")]
    ProxyUnreachable,
    /// The proxy does not take the user name and password.
    #[error("refused by the proxy")]
    ProxyCredentials,
    /// The proxy cannot connect to it.
    #[error("not connected by the proxy")]
    ProxyRefused,
    /// It has no address that a proxy could connect to: they are for UDP.
    #[error("no address for a proxy")]
    NotByProxy,
    /// Another server answers at its address.
    #[error("another server")]
    OtherServer,
    /// Something that is no server of ours answers at its address, as in a network that wants its users to sign in first.
    #[error("intercepted")]
    Intercepted,
    /// Nothing listens at its address.
    #[error("refused")]
    Refused,
    /// There is no route to it.
    #[error("no route")]
    NoRoute,
    /// It does not answer.
    #[error("no answer")]
    NoAnswer,
    /// It cannot be reached, and nobody says why.
    #[error("unreachable")]
    Unreachable,
    /// What listens at its address does not speak our protocol.
    #[error("another protocol")]
    OtherProtocol,
    /// It has closed the connection.
    #[error("closed")]
    Closed,
    /// The connection broke.
    #[error("broken")]
    Broken,
    /// It does not take what we write.
    #[error("does not read")]
    NotReading,
    /// It is being restarted, and asked us to come again.
    #[error("restarting")]
    Restarting,
    /// It runs a version that does not know what we ask for.
    #[error("older version")]
    OlderVersion,
    /// We use it no longer.
    #[error("not needed")]
    NotNeeded,
}
