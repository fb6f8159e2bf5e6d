//! `admin import`: people of another system, from a file.

mod keycloak;
mod lines;
mod report;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read};
use std::path::Path;

use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::cli::args::import::{Import, ImportFormat};
use crate::cli::caller::{Admin, Caller};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Answer, Output};
use crate::cli::table::plain;
use crate::proto::admin::v1::admin_service_client::AdminServiceClient;
use crate::proto::admin::v1::{ImportUsersRequest, ImportUsersResponse};
use report::Report;

/// In one call: short enough that the access token outlives it, and that little is sent twice after a broken connection.
const ROWS_IN_A_CALL: usize = 500;
/// The server knows within one call what a rehearsal would have taken.
const REHEARSED_IN_A_CALL: usize = 50_000;
/// How often the person is told how far it is.
const ROWS_BETWEEN_NEWS: u64 = 5_000;
/// What the server takes of one row.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// A row, or its number and why it cannot be sent.
type Row = Result<ImportUsersRequest, (i64, String)>;

/// Rows in their order; an error ends the reading.
type Rows = Box<dyn Iterator<Item = io::Result<Row>>>;

pub(super) async fn run(caller: &Caller, args: Import) -> Result<Answer, Failure> {
    let shown = plain(&args.file.display().to_string());
    let unreadable = |error: &dyn std::fmt::Display| Failure::local(format!("{shown} cannot be read: {error}"));
    let mut left_out = Vec::new();
    let rows = open(&args.file).and_then(|file| rows(&args, file, &mut left_out));
    let rows = rows.map_err(|error| unreadable(&error).advise("Its form: postern admin import --help"))?;
    let mut report = Report::new(args.dry_run, args.report.as_deref())?;
    report.left_out(left_out);
    let most = if args.dry_run { REHEARSED_IN_A_CALL } else { ROWS_IN_A_CALL };
    let mut batch = Vec::new();
    let mut news = News::new(caller.output);
    for row in rows {
        let row = row.map_err(|error| stopped(unreadable(&error), &report))?;
        match fit(row) {
            Err((number, problem)) => report.unsent(number, problem)?,
            Ok(mut row) => {
                row.validate_only = args.dry_run;
                batch.push(row);
            }
        }
        if batch.len() == most {
            send(caller, std::mem::take(&mut batch), &mut report).await?;
            news.tell(report.rows());
        }
    }
    send(caller, batch, &mut report).await?;
    news.end();
    report.finish()?;
    let exit = if report.refused() > 0 { Exit::Refused } else { Exit::Done };
    Ok(Answer::of_value(report.json(), report.text()).with_exit(exit))
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

fn rows(args: &Import, file: Box<dyn Read>, left_out: &mut Vec<String>) -> io::Result<Rows> {
    let file = BufReader::new(file);
    Ok(match args.format {
        ImportFormat::Jsonl => Box::new(lines::rows(file)),
        ImportFormat::Keycloak => {
            Box::new(keycloak::rows(file, &args.role, &args.provider, left_out)?.into_iter().map(Ok))
        }
    })
}

fn fit(row: Row) -> Row {
    let row = row?;
    if row.encoded_len() > ROW_BYTES_MAX - 16 {
        return Err((row.row, format!("is larger than {ROW_BYTES_MAX} bytes")));
    }
    Ok(row)
}

/// Sends rows; those that a broken call left without an answer go once more, and if it is still broken, say so.
async fn send(caller: &Caller, rows: Vec<ImportUsersRequest>, report: &mut Report) -> Result<(), Failure> {
    let mut rest = rows;
    while !rest.is_empty() {
        let (answers, broke) = caller.admin(rest.clone(), import).await.map_err(|why| stopped(why, report))?;
        let done = answers.len();
        for answer in answers {
            report.answered(answer)?;
        }
        rest.drain(..done.min(rest.len()));
        if !broke && !rest.is_empty() {
            return Err(stopped(Failure::local("the server ended the call without answering all rows"), report));
        }
    }
    Ok(())
}

/// What came back, and whether the call broke after it.
type Answers = (Vec<ImportUsersResponse>, bool);

async fn import(
    mut client: AdminServiceClient<Admin>,
    request: Request<Vec<ImportUsersRequest>>,
) -> Result<Response<Answers>, Status> {
    let (metadata, extensions, rows) = request.into_parts();
    let request = Request::from_parts(metadata, extensions, tokio_stream::iter(rows));
    let mut stream = client.import_users(request).await?.into_inner();
    let mut answers = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return Ok(Response::new((answers, false))),
            Err(status) if answers.is_empty() => return Err(status),
            Err(_told_by_the_next_call) => return Ok(Response::new((answers, true))),
        }
    }
}

/// What was answered is done, and may be sent again.
fn stopped(why: Failure, report: &Report) -> Failure {
    match report.rows() {
        0 => why,
        rows => why.advise(format!(
            "{rows} rows are answered; run the same command again: who is there already is left as they are"
        )),
    }
}

/// How far it is, for who watches.
struct News {
    output: Output,
    next: u64,
    told: bool,
}

impl News {
    fn new(output: Output) -> Self {
        Self { output, next: ROWS_BETWEEN_NEWS, told: false }
    }

    fn tell(&mut self, rows: u64) {
        if io::stderr().is_terminal() {
            self.output.ask(&format!("\r{rows} rows"));
            self.told = true;
        } else if rows >= self.next {
            self.output.tell(&format!("{rows} rows"));
            self.next = rows + ROWS_BETWEEN_NEWS;
        }
    }

    fn end(&self) {
        if self.told {
            self.output.tell("");
        }
    }
}
