//! The wire types, generated from `proto/` by `build.rs`. This room owns nothing but their names and how they print:
//! fields marked `[debug_redact = true]` never show what they hold. It must not know any other room.

/// Sign-in, sessions, decisions, and the reasons for every refusal.
pub mod auth {
    #[expect(
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("postern.auth.v1");
    }
}

/// Administration of users, roles, bindings and keys.
pub mod admin {
    #[expect(
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("postern.admin.v1");
    }
}

/// What people do with their own account.
pub mod account {
    #[expect(
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("postern.account.v1");
    }
}

/// The whole contract as a serialized `FileDescriptorSet` with comments and options, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");

/// The contract as it is written, each file under the name by which the others import it.
pub const SOURCES: [(&str, &str); 4] = [
    ("postern/auth/v1/auth.proto", include_str!("../proto/postern/auth/v1/auth.proto")),
    ("postern/auth/v1/reason.proto", include_str!("../proto/postern/auth/v1/reason.proto")),
    ("postern/admin/v1/admin.proto", include_str!("../proto/postern/admin/v1/admin.proto")),
    ("postern/account/v1/account.proto", include_str!("../proto/postern/account/v1/account.proto")),
];

/// How gRPC clients should call: balancing, health, deadlines and retries.
pub const SERVICE_CONFIG: &str = include_str!("../proto/service-config.json");

/// `Debug` for the messages whose derived one would print a secret.
mod redaction {
    use super::Secret;
    use std::fmt;

    include!(concat!(env!("OUT_DIR"), "/redaction.rs"));
}

/// Stands for the value of a secret field. Absence is worth seeing; a length would help a guesser.
struct Secret {
    absent: bool,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.absent { "\"\"" } else { "[redacted]" })
    }
}

#[cfg(test)]
mod tests;
