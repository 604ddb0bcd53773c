//! Finds and reads unit files: search path, masks, boot set, and the refusals of files that must not be trusted.
//!
//! Shared by the daemon (strict: root-owned files only) and the client (`check`, `show`, `enable` need no daemon).
#![forbid(unsafe_code)]
