//! `admin policy`: the whole set of roles as a file that can be kept under version control.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::roles;
use crate::cli::args::admin::{Apply, FileFormat, Policy};
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::shell_word;
use crate::cli::table::{Lines, plain};
use crate::proto::admin::v1::{ApplyPolicyRequest, ApplyPolicyResponse, Role};

/// More than a request may have.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Roles that come with Postern are not part of the policy.
const BUILT_IN: &str = "postern.";

/// A policy file. `roles` is required: an empty file must not read as "delete all roles".
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    roles: Vec<RoleEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RoleEntry {
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inherits: Vec<String>,
}

pub(super) async fn run(caller: &Caller, command: Policy) -> Result<Answer, Failure> {
    match command {
        Policy::Apply(args) => apply(caller, args).await,
        Policy::Export { format } => {
            let answer = roles::list(caller).await?;
            let text = export(&answer.roles, format)?;
            Ok(Answer::new(answer, text))
        }
    }
}

pub(super) async fn apply(caller: &Caller, args: Apply) -> Result<Answer, Failure> {
    let request = ApplyPolicyRequest {
        roles: read(&args.file)?,
        validate_only: args.dry_run,
        expected_policy_revision: args.expect,
    };
    let answer = caller.admin(request, async |mut client, request| client.apply_policy(request).await).await?;
    let dry_run_of = args.dry_run.then(|| args.file.display().to_string());
    let text = render(&answer, dry_run_of.as_deref(), caller.to_admin());
    Ok(Answer::new(answer, text))
}

fn read(path: &Path) -> Result<Vec<Role>, Failure> {
    let shown = plain(&path.display().to_string());
    let text = read_text(path).map_err(|error| Failure::local(format!("{shown} cannot be read: {error}")))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let file = parse(&text, if is_json { FileFormat::Json } else { FileFormat::Toml });
    let file = file.map_err(|error| {
        Failure::local(format!("{shown} is not a policy file"))
            .advise(error)
            .advise("Its form: postern admin policy --help")
    })?;
    let role = |entry: RoleEntry| Role {
        id: entry.id,
        description: entry.description,
        patterns: entry.patterns,
        inherits: entry.inherits,
        etag: String::new(),
    };
    Ok(file.roles.into_iter().map(role).collect())
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn parse(text: &str, format: FileFormat) -> Result<PolicyFile, String> {
    match format {
        FileFormat::Json => serde_json::from_str(text).map_err(|error| plain(&error.to_string())),
        FileFormat::Toml => toml::from_str(text).map_err(|error| {
            let offset = error.span().unwrap_or_default().start;
            let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
            plain(&format!("line {line}: {}", error.message()))
        }),
    }
}

fn export(roles: &[Role], format: FileFormat) -> Result<String, Failure> {
    let entry = |role: &Role| RoleEntry {
        id: role.id.clone(),
        description: role.description.clone(),
        patterns: role.patterns.clone(),
        inherits: role.inherits.clone(),
    };
    let file = PolicyFile { roles: roles.iter().filter(|role| !role.id.starts_with(BUILT_IN)).map(entry).collect() };
    let text = match format {
        FileFormat::Json => serde_json::to_string_pretty(&file).map_err(|error| error.to_string()),
        FileFormat::Toml => toml::to_string_pretty(&file).map_err(|error| error.to_string()),
    };
    text.map_err(|error| Failure::local(format!("the roles cannot be written as a file: {error}")))
}

fn render(answer: &ApplyPolicyResponse, dry_run_of: Option<&str>, at: &str) -> String {
    let (created, changed, deleted) = (answer.created.len(), answer.changed.len(), answer.deleted.len());
    let is_dry = dry_run_of.is_some();
    if created + changed + deleted == 0 {
        return if is_dry { "Nothing would change.\n" } else { "Nothing changed.\n" }.to_owned();
    }
    let bindings = match answer.affected_bindings {
        1 => "1 binding".to_owned(),
        count => format!("{count} bindings"),
    };
    let mut out = Lines::default();
    if is_dry {
        out.add(format_args!(
            "Would create {created}, change {changed} and delete {deleted} roles; {bindings} would feel it."
        ));
    } else {
        out.add(format_args!(
            "Created {created}, changed {changed} and deleted {deleted} roles; {bindings} feel it at once."
        ));
    }
    for (mark, roles) in [("+", &answer.created), ("~", &answer.changed), ("-", &answer.deleted)] {
        for role in roles {
            out.add(format_args!("  {mark} {}", plain(role)));
        }
    }
    if let Some(file) = dry_run_of {
        let revision = match answer.policy_revision.as_str() {
            "" => String::new(),
            revision => format!(" --expect {}", shell_word(&plain(revision))),
        };
        let file = shell_word(&plain(file));
        out.add(format_args!("To do just this:  postern admin policy apply {file}{revision}{at}"));
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clerk() -> Role {
        Role {
            id: "clerk".to_owned(),
            description: "Takes \"orders\"".to_owned(),
            patterns: vec!["orders:*".to_owned()],
            inherits: vec!["base".to_owned()],
            etag: "9".to_owned(),
        }
    }

    #[test]
    fn what_is_exported_can_be_applied() {
        let built_in = Role { id: "postern.admin".to_owned(), ..Role::default() };
        for format in [FileFormat::Toml, FileFormat::Json] {
            let text = export(&[built_in.clone(), clerk()], format).unwrap();
            let roles = parse(&text, format).unwrap().roles;
            assert_eq!(roles.len(), 1, "{text}");
            assert_eq!(roles[0].id, "clerk");
            assert_eq!(roles[0].description, "Takes \"orders\"");
            assert_eq!(roles[0].inherits, ["base"]);
        }
    }

    #[test]
    fn an_empty_file_is_not_an_empty_policy() {
        assert!(parse("", FileFormat::Toml).unwrap_err().contains("roles"));
        assert!(parse("{}", FileFormat::Json).unwrap_err().contains("roles"));
        assert!(parse("roles = []", FileFormat::Toml).unwrap().roles.is_empty());
    }

    #[test]
    fn a_typo_is_refused_with_its_line() {
        let error = parse("[[roles]]\nid = \"a\"\npatern = []\n", FileFormat::Toml).unwrap_err();
        assert!(error.starts_with("line 3: ") && error.contains("patern"), "{error}");
    }

    #[test]
    fn a_file_is_read_by_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("roles.JSON");
        std::fs::write(&json, r#"{"roles":[{"id":"a","patterns":["x:y"]}]}"#).unwrap();
        assert_eq!(read(&json).unwrap()[0].patterns, ["x:y"]);
        let missing = read(&folder.path().join("none")).unwrap_err().text(crate::cli::view::Paint::Off);
        assert!(missing.contains("cannot be read"), "{missing}");
    }

    #[test]
    fn a_dry_run_says_how_to_do_just_that() {
        let answer = ApplyPolicyResponse {
            created: vec!["clerk".to_owned()],
            deleted: vec!["old".to_owned()],
            affected_bindings: 3,
            policy_revision: "AbC".to_owned(),
            ..ApplyPolicyResponse::default()
        };
        insta::assert_snapshot!(format!("{}\n{}", render(&answer, Some("roles.toml"), ""), render(&answer, None, "")));
        assert_eq!(render(&ApplyPolicyResponse::default(), None, ""), "Nothing changed.\n");
    }
}
