//! Compiles the contract in `proto/` with protox, so that no `protoc` is needed, and gives every message that holds a
//! secret a `Debug` that does not print it.

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, MessageDescriptor, OneofDescriptor};
use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

const FILES: [&str; 4] = [
    "postern/auth/v1/auth.proto",
    "postern/auth/v1/reason.proto",
    "postern/admin/v1/admin.proto",
    "postern/account/v1/account.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // protox's own encoding, because prost-types would drop `debug_redact`, which the tests read back.
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let secret_holders = secret_holders(&pool);
    fs::write(out_dir.join("redaction.rs"), redaction(&secret_holders)?)?;
    tonic_prost_build::configure()
        .skip_debug(secret_holders.iter().map(|message| format!(".{}", message.full_name())))
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The messages with a `[debug_redact = true]` field of their own. One that merely contains such a message keeps the
/// derived `Debug`, which asks the inner one. Messages nested in a secret holder are among them, because prost-build
/// skips by prefix.
fn secret_holders(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages().filter(|message| !message.is_map_entry() && holds_secret(message)).collect()
}

fn holds_secret(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_secret(&field))
        || message.parent_message().is_some_and(|outer| holds_secret(&outer))
}

fn is_secret(field: &FieldDescriptor) -> bool {
    let option = field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool());
    option == Some(true)
}

fn redaction(messages: &[MessageDescriptor]) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    for message in messages {
        struct_debug(&mut code, message)?;
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            oneof_debug(&mut code, &oneof)?;
        }
    }
    Ok(code)
}

fn struct_debug(code: &mut String, message: &MessageDescriptor) -> Result<(), Box<dyn Error>> {
    let path = format!("{}::{}", module_of(message), message.name());
    let mut body = format!("f.debug_struct({:?})", message.name());
    for field in message.fields() {
        let name = field.name();
        match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            // A oneof is one field of the struct; it appears where its first arm stands.
            Some(oneof) if oneof.fields().next().as_ref() == Some(&field) => {
                write!(body, ".field({0:?}, &self.{0})", oneof.name())?;
            }
            Some(_) => {}
            None if is_secret(&field) => {
                write!(body, ".field({name:?}, &Secret {{ absent: self.{name}.{}() }})", absence(&field))?;
            }
            None => write!(body, ".field({name:?}, &self.{name})")?,
        }
    }
    debug_impl(code, &path, &format!("{body}.finish()"))
}

fn oneof_debug(code: &mut String, oneof: &OneofDescriptor) -> Result<(), Box<dyn Error>> {
    let message = oneof.parent_message();
    let path = format!("{}::{}::{}", module_of(message), snake_case(message.name()), camel_case(oneof.name()));
    let mut arms = String::new();
    for field in oneof.fields() {
        let arm = camel_case(field.name());
        let shown = if is_secret(&field) { "&Secret { absent: value.is_empty() }" } else { "value" };
        write!(arms, "Self::{arm}(value) => f.debug_tuple({arm:?}).field({shown}).finish(),")?;
    }
    debug_impl(code, &path, &format!("match self {{ {arms} }}"))
}

fn debug_impl(code: &mut String, path: &str, body: &str) -> Result<(), Box<dyn Error>> {
    writeln!(code, "impl fmt::Debug for {path} {{")?;
    writeln!(code, "    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{ {body} }}\n}}")?;
    Ok(())
}

fn absence(field: &FieldDescriptor) -> &'static str {
    if field.supports_presence() && field.cardinality() != Cardinality::Repeated { "is_none" } else { "is_empty" }
}

/// Where prost puts a message: `super::auth::v1` for package `postern.auth.v1`, then one module per outer message.
/// Names that prost would spell otherwise do not compile, so no secret holder is missed in silence.
fn module_of(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(outer) => format!("{}::{}", module_of(&outer), snake_case(outer.name())),
        None => message.package_name().replacen("postern", "super", 1).replace('.', "::"),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn camel_case(name: &str) -> String {
    let mut camel = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
