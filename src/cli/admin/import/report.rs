//! What became of each row, for the person and for a file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::table::{Lines, plain};
use crate::proto::admin::v1::{ImportOutcome, ImportUsersResponse};

/// On the screen. The file has them all.
const SHOWN_MAX: usize = 50;

/// Counts, and what is to be shown.
pub(super) struct Report {
    dry_run: bool,
    created: u64,
    existing: u64,
    refused: u64,
    shown: Vec<ImportUsersResponse>,
    left_out: Vec<String>,
    file: Option<BufWriter<File>>,
}

impl Report {
    pub(super) fn new(dry_run: bool, path: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| {
            OpenOptions::new().write(true).create_new(true).open(path).map(BufWriter::new).map_err(|error| {
                let path = plain(&path.display().to_string());
                Failure::local(format!("the report {path} cannot be made: {error}")).advise("Choose another file")
            })
        };
        let file = path.map(open).transpose()?;
        let (shown, left_out) = (Vec::new(), Vec::new());
        Ok(Self { dry_run, created: 0, existing: 0, refused: 0, shown, left_out, file })
    }

    /// What of the file does not come along.
    pub(super) fn left_out(&mut self, what: Vec<String>) {
        self.left_out = what;
    }

    /// A row that was not sent.
    pub(super) fn unsent(&mut self, row: i64, problem: String) -> Result<(), Failure> {
        let outcome = ImportOutcome::Refused.into();
        self.answered(ImportUsersResponse { row, user_id: String::new(), outcome, problem })
    }

    pub(super) fn answered(&mut self, answer: ImportUsersResponse) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", told(&answer))
                .map_err(|error| Failure::local(format!("the report cannot be written: {error}")))?;
        }
        match answer.outcome() {
            ImportOutcome::Created => self.created += 1,
            ImportOutcome::Exists => self.existing += 1,
            ImportOutcome::Refused | ImportOutcome::Unspecified => self.refused += 1,
        }
        if answer.outcome() != ImportOutcome::Created && self.shown.len() < SHOWN_MAX {
            self.shown.push(answer);
        }
        Ok(())
    }

    pub(super) const fn rows(&self) -> u64 {
        self.created + self.existing + self.refused
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// All that is buffered, into the file.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.file.as_mut().map_or(Ok(()), BufWriter::flush);
        flushed.map_err(|error| Failure::local(format!("the report cannot be written: {error}")))
    }

    pub(super) fn text(&self) -> String {
        let mut lines = Lines::default();
        for answer in &self.shown {
            lines.add(format_args!("row {}: {}: {}", answer.row, name(answer.outcome()), plain(&answer.problem)));
        }
        let others = self.existing + self.refused - u64::try_from(self.shown.len()).unwrap_or(u64::MAX);
        if others > 0 {
            lines.add(format_args!("… and {others} more: --report FILE writes them all"));
        }
        for what in &self.left_out {
            lines.add(format_args!("left out: {}", plain(what)));
        }
        let Self { created, existing, refused, .. } = self;
        let rows = self.rows();
        if self.dry_run {
            lines.add(format_args!(
                "Of {rows} rows {created} would be created, {existing} are there already, {refused} refused."
            ));
            lines.add("Nothing was changed. Next: the same without --dry-run");
        } else {
            lines.add(format_args!(
                "Of {rows} rows {created} were created, {existing} are there already, {refused} refused."
            ));
        }
        lines.finish()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "dryRun": self.dry_run,
            "rows": self.rows(),
            "created": self.created,
            "existing": self.existing,
            "refused": self.refused,
            "problems": self.shown.iter().map(told).collect::<Vec<_>>(),
            "leftOut": self.left_out,
        })
    }
}

fn told(answer: &ImportUsersResponse) -> Value {
    let mut told = json!({ "row": answer.row, "outcome": name(answer.outcome()) });
    for (key, value) in [("userId", &answer.user_id), ("problem", &answer.problem)] {
        if !value.is_empty()
            && let Some(members) = told.as_object_mut()
        {
            members.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    told
}

const fn name(outcome: ImportOutcome) -> &'static str {
    match outcome {
        ImportOutcome::Created => "created",
        ImportOutcome::Exists => "exists",
        ImportOutcome::Refused | ImportOutcome::Unspecified => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(row: i64, outcome: ImportOutcome, problem: &str) -> ImportUsersResponse {
        let user_id = if outcome == ImportOutcome::Refused { String::new() } else { format!("user-{row}") };
        ImportUsersResponse { row, user_id, outcome: outcome.into(), problem: problem.to_owned() }
    }

    #[test]
    fn who_came_is_counted_and_who_did_not_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.jsonl");
        let mut report = Report::new(false, Some(&path)).unwrap();
        report.left_out(vec!["credentials of type otp".to_owned()]);
        report.answered(answer(1, ImportOutcome::Created, "")).unwrap();
        report.answered(answer(2, ImportOutcome::Exists, "email: this user has it")).unwrap();
        report.unsent(3, "is not JSON, at column \u{1b}7".to_owned()).unwrap();
        report.finish().unwrap();
        insta::assert_snapshot!(report.text());
        let lines = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], json!({ "row": 1, "outcome": "created", "userId": "user-1" }));
        assert_eq!(report.json()["existing"], 1);
        assert!(Report::new(false, Some(&path)).is_err(), "a report is not written over");
    }

    #[test]
    fn a_screen_has_an_end() {
        let mut report = Report::new(true, None).unwrap();
        for row in 0..100 {
            report.answered(answer(row, ImportOutcome::Refused, "password_hash: unknown")).unwrap();
        }
        let text = report.text();
        assert!(text.contains("… and 50 more") && text.contains("Nothing was changed"), "{text}");
    }
}
