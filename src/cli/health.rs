//! `health`: the standard gRPC health check, for people, containers and scripts.

use std::time::Duration;

use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::args::HealthArgs;
use super::caller::Caller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Answer;
use super::table::plain;
use super::view::Paint;

const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(args: HealthArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let mut request = Request::new(HealthCheckRequest { service: args.service.clone() });
    request.set_timeout(TIMEOUT);
    let status = match HealthClient::new(caller.channel()).check(request).await {
        Ok(answer) => answer.into_inner().status(),
        Err(status) if status.code() == Code::NotFound => ServingStatus::ServiceUnknown,
        Err(status) => return Err(caller.failure(&status, None)),
    };
    let paint = caller.output.view(&caller.clock).paint;
    let value = serde_json::json!({ "status": status.as_str_name() });
    let text = render(status, &args.service, caller.server(), paint);
    Ok(Answer::of_value(value, text).with_exit(exit(status)))
}

/// An orchestrator asks for nothing but yes or no.
const fn exit(status: ServingStatus) -> Exit {
    match status {
        ServingStatus::Serving => Exit::Done,
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => Exit::Unavailable,
    }
}

fn render(status: ServingStatus, service: &str, server: &str, paint: Paint) -> String {
    let what = if service.is_empty() { plain(server) } else { format!("{} at {}", plain(service), plain(server)) };
    match status {
        ServingStatus::Serving => format!("{}   {what}\n", paint.good("SERVING")),
        ServingStatus::NotServing => {
            format!("{}   {what} is starting, stopping, or missing an engine\n", paint.warn("NOT SERVING"))
        }
        ServingStatus::ServiceUnknown | ServingStatus::Unknown => {
            format!("{}   {what}: the server has no such service\n", paint.warn("UNKNOWN"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_healthy() {
        let server = "http://127.0.0.1:7301";
        assert_eq!(exit(ServingStatus::Serving), Exit::Done);
        assert_eq!(render(ServingStatus::Serving, "", server, Paint::Off), "SERVING   http://127.0.0.1:7301\n");
        for status in [ServingStatus::NotServing, ServingStatus::Unknown, ServingStatus::ServiceUnknown] {
            assert_eq!(exit(status), Exit::Unavailable);
            assert!(!render(status, "x", server, Paint::Off).starts_with("SERVING"));
        }
    }
}
