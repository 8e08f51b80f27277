//! Stories of several people, told by their engines and a real server in one thread.

mod account_state_tests;
mod call_tests;
mod chain_tests;
mod clock_tests;
mod contact_device_tests;
mod device_tests;
mod engine_tests;
mod epoch_tests;
mod find_tests;
mod fixture_tests;
mod group_tests;
mod history_tests;
mod imports_tests;
mod invite_tests;
mod permission_tests;
mod promise_tests;
mod removed_device_tests;
mod rival_tests;
mod sas_tests;
mod search_tests;
mod signal_tests;
mod silent_tests;
mod synced_tests;
mod waiting_tests;
mod work_tests;
mod world;
