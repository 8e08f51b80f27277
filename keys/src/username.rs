//! What a server is told of a user name: it leads to an account by it, and never learns the name.

use argon2::{Algorithm, Argon2, Params, Version};

/// Argon2id cost: 8 MiB and 3 passes, some ten milliseconds. A user does this once for a name; whoever wants to know which names a server has does it for
/// each that there may be, and for each server again.
const MEMORY_KIB: u32 = 8 * 1024;
const PASSES: u32 = 3;

/// The key of a user name at a server: nothing that tells it to who does not guess it, and another one at each server.
pub fn username_key(server: &[u8; 32], name: &str) -> [u8; 32] {
    let salt = blake3::derive_key("starling 2026 user name salt v1", server);
    let mut key = [0; 32];
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(key.len()));
    let made = params.and_then(|params| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(name.as_bytes(), &salt, &mut key)
    });
    match made {
        Ok(()) => key,
        Err(_) => unreachable!("the constants are valid Argon2 parameters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_key_at_each_server() {
        let key = username_key(&[1; 32], "alice");
        assert_eq!(username_key(&[1; 32], "alice"), key);
        assert_ne!(username_key(&[2; 32], "alice"), key);
        assert_ne!(username_key(&[1; 32], "alicf"), key);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "3c97872f43a2859ca87ba5018d929282bd716e648c17c8fdd6dbed899f73a670");
    }
}
